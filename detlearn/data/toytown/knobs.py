"""The knobs of a town, the scenarios that set them for one lesson each, and their checks."""

from typing import NamedTuple

import numpy as np

SCENARIOS: dict[str, dict] = {
    "default": {},
    "tiny": {"scale": (1 / 16, 1 / 9)},
    "crowd": {
        "num_objects": (10, 18),
        "scale": (1 / 12, 1 / 3),
        "max_overlap": 0.5,
        "crowding": 0.7,
    },
    "nested": {"num_objects": (0, 2), "nested_pairs": (1, 3)},
    "group": {"num_objects": (0, 2), "groups": (1, 2)},
    "elongated": {"stretch": 3.0, "scale": (1 / 6, 3 / 4)},
    "truncated": {"truncation": 0.7},
    "imbalanced": {"imbalance": 100.0},
    "noisy_labels": {"label_noise": 0.2, "box_noise": 0.08},
}


class Knobs(NamedTuple):
    """The settings of a town; ``ToyTown`` says what each one means."""

    num_objects: tuple[int, int]
    scale: tuple[float, float]
    max_overlap: float
    crowding: float
    nested_pairs: tuple[int, int]
    groups: tuple[int, int]
    stretch: float
    truncation: float
    imbalance: float
    label_noise: float
    box_noise: float
    clutter: tuple[int, int]


def check_knobs(knobs: Knobs) -> None:
    """Raise a ValueError or TypeError that names the first knob out of its range."""
    for name in ("num_objects", "nested_pairs", "groups", "clutter"):
        fewest, most = _pair(name, getattr(knobs, name), "(fewest, most)")
        check_whole(f"{name}[0]", fewest, 0)
        check_whole(f"{name}[1]", most, int(fewest))

    smallest, largest = _pair("scale", knobs.scale, "(smallest, largest)")
    _check_number("scale[0]", smallest, 1e-3, 1.0)
    _check_number("scale[1]", largest, smallest, 1.0)

    for name in ("max_overlap", "crowding", "truncation", "label_noise"):
        _check_number(name, getattr(knobs, name), 0.0, 1.0)
    _check_number("stretch", knobs.stretch, 1.0, 10.0)
    _check_number("imbalance", knobs.imbalance, 1.0, 1e6)
    _check_number("box_noise", knobs.box_noise, 0.0, 0.15)  # beyond, boxes turn inside out


def check_whole(name: str, value: int, least: int) -> None:
    """Raise TypeError unless a value is a whole number, ValueError if it is under the least."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")


def _pair(name: str, value: tuple, form: str) -> tuple:
    """Return a value as a tuple, or raise ValueError if it is no pair."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name} must be a pair {form}, not {value!r}")
    return tuple(value)


def _check_number(name: str, value: float, least: float, most: float) -> None:
    """Raise TypeError unless a value is a number, ValueError if it is out of its range."""
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not least <= value <= most:  # so that NaN fails
        raise ValueError(f"{name} must lie in [{least:g}, {most:g}], not {value!r}")

"""The nested form of an answer: in which tuples, lists and dictionaries its tensors stand.

A form is written like the answer itself, with `TENSOR` where a tensor stands and `NONE` where None
does: ``[{"boxes": TENSOR, "labels": TENSOR}]`` is a list of one dictionary. A check compares the
tensors one by one and calls each by its place: ``targets[0]["boxes"]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

TENSOR, NONE = "tensor", "None"

Place = tuple[int | str, ...]


def leaf_names(form: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return what each tensor of a form is called.

    Args:
        form: of the whole answer.
        names: of a tuple's parts, one for each; else one name, of the whole.
    """
    parts = zip(names, form, strict=True) if isinstance(form, tuple) else [(names[0], form)]
    return tuple(f"{name}{written_place(place)}" for name, part in parts for place in _leaves(part))


def _leaves(form: Any) -> Iterator[Place]:
    """The places of the tensors in a form, in their order."""
    if isinstance(form, dict):
        for key, part in form.items():
            yield from ((key, *place) for place in _leaves(part))
    elif isinstance(form, (list, tuple)):
        for i, part in enumerate(form):
            yield from ((i, *place) for place in _leaves(part))
    elif form == TENSOR:
        yield ()


def written_place(place: Place) -> str:
    """Return a place as Python indexes it: ``[0]["boxes"]``."""
    return "".join(f'["{key}"]' if isinstance(key, str) else f"[{key}]" for key in place)


def unfolded(value: Any, form: Any, place: Place = ()) -> tuple[list[Any], str]:
    """Return what stands in an answer at the places of its form's tensors.

    No method of the answer's own is called: it may be an object of the learner's.

    Args:
        value: the answer.
        form: what it should look like.
        place: where in the whole answer this is.

    Returns:
        The values, which may be anything, and "". Or, of an answer of another form, none, and what
        it is instead and should be.
    """
    if form == TENSOR:
        return [value], ""
    if form == NONE:
        return [], "" if value is None else f"{_at(place)}{named(value)}; expected None"

    parts, text = _parts_of_dict(value, form) if isinstance(form, dict) else _parts(value, form)
    if text:
        return [], f"{_at(place)}{text}"

    values = []
    keys = form if isinstance(form, dict) else range(len(form))
    for key, part in zip(keys, parts):
        found, text = unfolded(part, form[key], (*place, key))
        if text:
            return [], text
        values += found
    return values, ""


def _parts(value: Any, form: list | tuple) -> tuple[list[Any], str]:
    """The entries of a list or tuple, either of which will do."""
    expected = f"{'tuple' if isinstance(form, tuple) else 'list'} of {len(form)}"
    kind = next((kind for kind in (list, tuple) if issubclass(type(value), kind)), None)
    if kind is None:
        return [], f"{named(value)}; expected a {expected}"

    if kind.__len__(value) != len(form):
        return [], f"a {kind.__name__} of {kind.__len__(value)}; expected a {expected}"
    return list(kind.__getitem__(value, slice(len(form)))), ""


def _parts_of_dict(value: Any, form: dict[str, Any]) -> tuple[list[Any], str]:
    """The entries of a dictionary, in the order of the form's keys."""
    expected = f"expected a dictionary with {', '.join(map(repr, form))}"
    if not issubclass(type(value), dict):
        return [], f"{named(value)}; {expected}"

    # Keys of the learner's own kinds could answer anything when they are compared.
    entries = {key: entry for key, entry in dict.items(value) if type(key) is str}
    missing = [key for key in form if key not in entries]
    if missing:
        return [], f"a dictionary without {', '.join(map(repr, missing))}; {expected}"
    if dict.__len__(value) != len(form):
        others = [repr(key[:30]) for key in entries if key not in form][:3]
        also = ", ".join(others) or "keys that are no strings"
        return [], f"a dictionary that also has {also}; {expected}"
    return [entries[key] for key in form], ""


def _at(place: Place) -> str:
    return f"at {written_place(place)} " if place else ""


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors that an argument holds, itself or in its lists and dictionaries."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for each in value for tensor in tensors_in(each)]
    return []


# ---- what a value is called ----


def named(value: Any) -> str:
    """What a value is, with its article: "a list", "an int", "a numpy array"."""
    name = "numpy array" if type(value) is np.ndarray else class_name(type(value))
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def class_name(kind: type) -> str:
    """The name of a class, past a metaclass of the learner's, which may answer anything."""
    return str.__str__(type.__dict__["__name__"].__get__(kind))[:60] or "nameless thing"

"""Fewer bytes, the same drawing: paths, shared forms and styles, points that become one path."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest

from detlearn import plotting
from detlearn.plotting import inline
from detlearn.plotting.compact import MANY, SHADES, diameter_of, stepwise

SIZES = {"M": 2, "L": 2, "H": 1, "V": 1, "Q": 4, "C": 6, "Z": 0}


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    """The book's style, and no figure left open."""
    with plt.rc_context():
        plotting.use_style()
        yield
    plt.close("all")


def drawn(path: str) -> list[tuple[str, list[float]]]:
    """An independent reader of SVG paths, by the grammar: each segment in absolute coordinates."""
    tokens = re.findall(r"[a-zA-Z]|[-+]?(?:\d*\.\d+|\d+)(?:[eE][-+]?\d+)?", path)
    here, start, found, command, at = [0.0, 0.0], [0.0, 0.0], [], "", 0
    while at < len(tokens):
        if tokens[at].isalpha():
            command, at = tokens[at], at + 1
        kind, size = command.upper(), SIZES[command.upper()]
        numbers = [float(token) for token in tokens[at : at + size]]
        assert len(numbers) == size
        at += size
        if kind == "Z":
            found.append(("Z", []))
            here = list(start)
            continue

        if kind in "HV":
            axis = "HV".index(kind)
            end = list(here)
            end[axis] = numbers[0] + (here[axis] if command.islower() else 0)
            kind, numbers = "L", end
        elif command.islower():
            numbers = [value + here[index % 2] for index, value in enumerate(numbers)]
        here = numbers[-2:]
        if kind == "M":
            start = list(here)
            command = "l" if command == "m" else "L"
        found.append((kind, numbers))
    return found


def random_path(generator: np.random.Generator, digits: int) -> str:
    """Commands as matplotlib writes them; steps along the axes, pauses and returns are frequent."""
    parts, here = [], np.zeros(2)
    for _ in range(generator.integers(1, 5)):
        here = start = generator.uniform(-500, 500, 2)
        parts.append(f"M {here[0]:.6f} {here[1]:.6f}")
        for _ in range(generator.integers(0, 30)):
            command = generator.choice(list("LLLLQC"))
            points = []
            for _ in range({"L": 1, "Q": 2, "C": 3}[command]):
                step = generator.normal(0, generator.choice([0.004, 1, 300]), 2)
                step *= generator.integers(0, 2, 2)  # one axis only, or none, half of the time
                points.append(here + step)
            here = points[-1] if generator.random() < 0.95 else start
            points[-1] = here
            parts.append(command + " " + " ".join(f"{x:.6f} {y:.6f}" for x, y in points))
        if generator.random() < 0.5:
            parts.append("z")
            here = start
    return " ".join(parts)


def outline(segments: list[tuple[str, list[float]]], digits: int) -> list:
    """What is drawn, without what changes nothing: pauses, corners on a straight line, z's line."""
    unit = 10.0**-digits
    paths: list[list] = []
    for kind, numbers in segments:
        numbers = [round(value / unit) for value in numbers]
        if kind == "M":
            paths.append([("M", numbers)])
            continue
        path = paths[-1]
        last = next(values for _, values in reversed(path) if values)[-2:]
        if kind == "L" and numbers == last and path[-1][0] != "M":
            continue
        if kind == "L" and path[-1][0] == "L" and len(path) > 1:
            before = next(values for _, values in reversed(path[:-1]) if values)[-2:]
            for axis in (0, 1):
                steps = [numbers[axis] - last[axis], last[axis] - before[axis]]
                level = numbers[1 - axis] == last[1 - axis] == before[1 - axis]
                if level and steps[0] * steps[1] > 0:
                    path.pop()
                    break
        if kind == "Z" and path[-1][0] == "L" and path[-1][1] == path[0][1] and len(path) > 2:
            path.pop()
        path.append((kind, numbers))
    return paths


@pytest.mark.parametrize("digits", [0, 2])
def test_a_path_by_steps_draws_the_same(digits: int) -> None:
    generator = np.random.default_rng(digits)
    for _ in range(400):
        path = random_path(generator, digits)
        short = stepwise(path, digits)
        assert outline(drawn(short), digits) == outline(drawn(path), digits), path
        assert len(short) < len(path)


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("M 0 0 L 10 0 L 10 5 L 0 5 z", "M0 0h10v5h-10z"),
        ("M 0 0 L 10 0 L 10 5 L 0 5 L 0 0 z", "M0 0h10v5h-10z"),
        ("M 1.5 -0.25 L 2 0.5", "M1.5-.25l.5.75"),
        ("M 0 0 L 1 0 L 3 0 L 2 0", "M0 0h3-1"),
        ("M 5 5 L 5 5", "M5 5h0"),
        ("M 0.004 0 L 0.006 0 L 1 1", "M0 0h.01l.99 1"),
        ("M 0 0 C 1 2 3 4 5 6 C 6 7 8 9 10 11", "M0 0c1 2 3 4 5 6 1 1 3 3 5 5"),
        ("M 0 0 Q 1 1 2 0 M 9 9 L 8 8", "M0 0q1 1 2 0M9 9l-1-1"),
        ("", ""),
    ],
)
def test_paths_by_hand(path: str, short: str) -> None:
    assert stepwise(path) == short


def test_rounding_is_not_carried_along() -> None:
    """A thousand steps of 0.0049 end where they should, not 0 or 10 away."""
    path = "M 0 0 " + " ".join(f"L {0.0049 * n:.6f} {(n % 2) * 3}" for n in range(1, 1001))
    assert drawn(stepwise(path))[-1][1] == pytest.approx([4.9, 0], abs=1e-6)


# ---- charts ----


def parsed(text: str) -> ElementTree.Element:
    """A chart's HTML, which is XML as well."""
    return ElementTree.fromstring(text)


def test_letters_and_styles_stand_once_for_both_drawings() -> None:
    figure, ax = plt.subplots()
    ax.plot([0, 1], label="a line")
    ax.legend()
    text = inline.chart_html(figure)
    assert text.count('class="detlearn-wide"') == text.count('class="detlearn-narrow"') == 1

    letters = re.findall(r'<path id="[^"]*" (d="[^"]*")', text)
    assert len(letters) == len(set(letters)) > 5
    assert text.count("<defs>") == 1
    rules = re.findall(r"\.s\d+\{([^}]*)\}", text)
    assert len(rules) == len(set(rules)) > 3

    # Nothing leads nowhere, and nothing stands there unused.
    root = parsed(text)
    ids = {e.attrib["id"] for e in root.iter() if "id" in e.attrib}
    used = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert ids == used
    classes = {name for e in root.iter() for name in e.get("class", "").split()}
    assert set(re.findall(r"\.(s\d+)\{", text)) <= classes


def test_hatches_are_there() -> None:
    """Styles refer to them, and styles stand in the sheet."""
    figure, ax = plt.subplots()
    ax.bar([0, 1], [1, 2], hatch="//", color="#540090", edgecolor="white")
    text = inline.chart_html(figure)
    (used,) = set(re.findall(r"fill:url\(#([^)]+)\)", text))
    (pattern,) = re.findall(rf'<pattern id="{used}".*?</pattern>', text)
    assert re.search(r'<rect [^>]*style="fill:var\(--c\d+\)"', pattern)  # seen on a dark page, too


def places_in(text: str) -> list[tuple[float, float]]:
    """Where the joint paths of a chart begin anew."""
    (row,) = re.findall(r'<svg class="[^"]*" viewBox.*?</svg>', text, re.S)
    paths = [d for d in re.findall(r' d="([^"]*)"', row) if d.count("M") > 2]
    return [tuple(numbers) for d in paths for kind, numbers in drawn(d) if kind == "M"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"alpha": 0.4},
        {"marker": "^", "s": 9, "lw": 0},
        {"marker": "s", "s": 9, "lw": 0, "alpha": 0.5},
    ],
)
def test_many_points_are_few_paths_at_the_same_places(settings: dict) -> None:
    figure, ax = plt.subplots(figsize=(4.5, 3))  # no second drawing
    points = np.random.default_rng(0).random((300, 2))
    ax.scatter(*points.T, **settings)
    text = inline.chart_html(figure)
    assert len(text) < 15_000

    shades = SHADES if "alpha" in settings else 1
    order = np.concatenate([np.arange(first, 300, shades) for first in range(shades)])
    found, given = np.array(places_in(text)), points[order]
    assert len(found) == 300

    # Each axis is a scale and an offset, up to the last decimal.
    for axis, sign in ((0, 1), (1, -1)):
        scale, offset = np.polyfit(given[:, axis], found[:, axis], 1)
        assert sign * scale > 100
        assert np.abs(scale * given[:, axis] + offset - found[:, axis]).max() < 0.0101


def test_translucent_points_still_darken_each_other() -> None:
    figure, ax = plt.subplots(figsize=(4.5, 3))
    ax.scatter(np.zeros(100), np.zeros(100), alpha=0.3)
    rows = [d for d in re.findall(r' d="([^"]*)"', inline.chart_html(figure)) if "h0M" in d]
    assert [d.count("M") for d in rows] == [100 // SHADES] * SHADES


@pytest.mark.parametrize(
    "settings", [{"edgecolor": "black"}, {"facecolor": "none", "edgecolor": "C0"}]
)
def test_points_with_an_outline_stay_apart(settings: dict) -> None:
    figure, ax = plt.subplots(figsize=(4.5, 3))
    ax.scatter(*np.random.default_rng(0).random((2, 50)), **settings)
    assert inline.chart_html(figure).count("<use") >= 50


def test_few_points_stay_as_they_are() -> None:
    figure, ax = plt.subplots(figsize=(4.5, 3))
    ax.scatter(*np.random.default_rng(0).random((2, MANY - 1)))
    assert "h0M" not in inline.chart_html(figure)


def test_a_circle_is_known_and_nothing_else() -> None:
    figure, ax = plt.subplots(figsize=(4.5, 3))
    for marker in "o^sDv*P":
        ax.scatter(range(3), range(3), s=36, marker=marker, lw=0)
    forms = re.findall(r'<path id="[^"]*" d="([^"]*)"/>', inline.chart_html(figure))
    found = [diameter_of(re.sub(r"^M[-\d.]+ ?[-\d.]*\d", "", form)) for form in forms]
    assert [size for size in found if size] == [pytest.approx(6, abs=0.1)]


def test_a_column_that_ends_early_takes_less_room() -> None:
    figure, axes = plt.subplots(2, 2, figsize=(7, 5))
    for ax in axes.flat:
        ax.plot([0, 1])
    axes[1, 1].remove()
    heights = [
        float(height)
        for height in re.findall(r'viewBox="[-\d.]+ 0 [\d.]+ ([\d.]+)"', inline.chart_html(figure))
    ]
    assert len(heights) == 2
    assert heights[1] < 0.65 * heights[0]

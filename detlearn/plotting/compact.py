"""The same drawing in fewer bytes: what a chart says many times is said once.

What matplotlib writes names every style anew and every place in absolute coordinates, and a chart
is drawn twice, for wide and for narrow pages. Here

* a path goes from point to point in steps (`stepwise`), which are shorter numbers than places;
* a letter, a tick or a clipping frame stands once in the chart, whichever drawing uses it, and so
  does a style (`Shared`);
* points of one form and colour become one path (`join_marks`): a thousand of them weigh 15 kB.

A chart of the book weighs about a third of what matplotlib writes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import groupby
from xml.etree.ElementTree import Element

from detlearn.plotting.page_colours import Colours

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
NAME = "detlearn-name"  # stands for the chart's own name until all of the chart is written
REFERENCE = re.compile(r"url\(#([^)]+)\)")
STEP = re.compile(r"([MLHVCQZz])|(-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)")
PAIRS = {"M": 1, "L": 1, "Q": 2, "C": 3}  # how many points follow a command

MANY = 12  # marks of one kind that become one path
SHADES = 5  # paths for translucent marks, which are darker where they overlap
LONGEST_FORM = 26  # characters of a mark's form that are repeated for every mark

Tree = Element
Point = tuple[int, int]


class Shared:
    """What all drawings of one chart share: colours, styles, and forms that are used again.

    All names begin with `NAME`, which the chart exchanges for a name of its own in the end.
    """

    def __init__(self) -> None:
        self.colours = Colours(NAME)
        self.styles: dict[str, str] = {}  # style -> class
        self.forms: dict[str, tuple[str, str]] = {}  # (an element without its id) -> (id, element)

    def class_of(self, style: str) -> str:
        """Return the class of a style; the same style has the same class."""
        return self.styles.setdefault(style, f"s{len(self.styles)}")

    def id_of(self, element: Tree) -> str:
        """Return the id under which an element stands in the chart; the same form has the same."""
        element.attrib.pop("id", None)
        key = written(element)
        if key not in self.forms:
            name = f"{NAME}-{len(self.forms)}"
            attributes = {"id": name} | element.attrib
            element.attrib.clear()
            element.attrib.update(attributes)
            self.forms[key] = (name, written(element))
        return self.forms[key][0]

    def sheet(self) -> str:
        """Return the rules of the style sheet."""
        rules = (f".{NAME} .{name}{{{style}}}" for style, name in self.styles.items())
        return self.colours.sheet() + "".join(rules)

    def definitions(self, users: str) -> str:
        """Return an SVG of no size with the forms that drawings and their style sheet use.

        What lies in an SVG that is not displayed would not be found by every browser.
        """
        used = set(re.findall(rf"#({NAME}-\d+)", users))
        forms = "".join(text for name, text in self.forms.values() if name in used)
        size = 'width="0" height="0" style="position:absolute"'
        return f'<svg class="{NAME}" {size} aria-hidden="true"><defs>{forms}</defs></svg>'


def drop_repeated_styles(root: Tree) -> None:
    """Drop the part of a mark's style that its form repeats; where it is used, it stands whole."""
    rules: dict[str, set[str]] = {}
    for element in root.iter():
        if LINK in element.attrib:
            name = element.attrib[LINK][1:]
            rules[name] = rules.get(name, rules_of(element)) & rules_of(element)

    for element in root.iter():
        if rules_of(element) <= rules.get(element.get("id", ""), set()):
            element.attrib.pop("style", None)


def rules_of(element: Tree) -> set[str]:
    """Return the rules of an element's own style."""
    return {rule.strip() for rule in element.get("style", "").split(";") if rule.strip()}


def compact(root: Tree, shared: Shared) -> None:
    """Make a drawing smaller, in place; its numbers are rounded and its colours chosen already."""
    for path in root.iter(SVG + "path"):
        # A glyph has no decimals, everything else two.
        path.set("d", stepwise(path.get("d", ""), 0 if "transform" in path.attrib else 2))

    forms = shorten_references(root, take_definitions(root), shared)
    drop_unseen(root, forms)
    join_groups(root)
    join_marks(root, forms)

    for element in root.iter():
        style = element.attrib.pop("style", None)
        if style:
            element.set("class", shared.class_of(style))


# ---- paths ----


def stepwise(path: str, digits: int = 2) -> str:
    """Return a path in relative coordinates, without segments that draw nothing new.

    Args:
        path: with the absolute commands M, L, H, V, C, Q and Z.
        digits: decimals that count. They are counted off in whole units, so that the rounding of
            one step is not carried into the next.
    """
    out = _Writer(digits)
    here = start = (0, 0)
    for command, numbers in segments(path):
        values = [round(number * 10**digits) for number in numbers]
        if command == "Z":
            out.close(here, start)
            here = start
            continue

        if command in "HV":
            values = [values[0], here[1]] if command == "H" else [here[0], values[0]]
            command = "L"
        points = list(zip(values[::2], values[1::2]))
        if command == "M":
            start = points[-1]
            out.move(start)
        elif command == "L":
            out.line(here, points[-1])
        else:
            out.curve(command.lower(), here, points)
        here = points[-1]
    return str(out)


def segments(path: str) -> Iterator[tuple[str, list[float]]]:
    """Split a path into its commands, each with the numbers that it needs."""
    command, numbers = "M", []
    for letter, number in STEP.findall(path):
        if letter:
            command = letter.upper()
            if command == "Z":
                yield command, []
            continue

        numbers.append(float(number))
        if len(numbers) == (1 if command in "HV" else 2 * PAIRS[command]):
            yield command, numbers
            numbers = []
            command = "L" if command == "M" else command  # more points after M are lines


class _Writer:
    """Writes a path command by command; numbers are whole units of the last decimal."""

    def __init__(self, digits: int) -> None:
        self.digits = digits
        self.steps: list[tuple[str, list[int]]] = []

    def move(self, to: Point) -> None:
        self.steps.append(("M", list(to)))

    def line(self, here: Point, to: Point) -> None:
        across, down = to[0] - here[0], to[1] - here[1]
        before, last = self.steps[-1] if self.steps else ("", [0])

        # A point drawn as a line without length is seen; a pause on the way is not.
        if not across and not down and before != "M":
            return

        if across and down:
            self.steps.append(("l", [across, down]))
            return

        command, length = ("h", across) if not down else ("v", down)
        if before == command and length * last[0] > 0:
            last[0] += length  # straight on
        else:
            self.steps.append((command, [length]))

    def curve(self, command: str, here: Point, points: list[Point]) -> None:
        numbers = [number for x, y in points for number in (x - here[0], y - here[1])]
        self.steps.append((command, numbers))

    def close(self, here: Point, start: Point) -> None:
        # The last line back to the start is what z draws.
        command, numbers = self.steps[-1] if self.steps else ("", [])
        if here == start and command in ("l", "h", "v") and any(numbers):
            self.steps.pop()
        self.steps.append(("z", []))

    def __str__(self) -> str:
        text, last = "", ""
        for command, numbers in self.steps:
            words = [self.number(value) for value in numbers]
            letter = "" if command == last and command not in "Mz" else command
            text += joined("" if letter else text[-20:], letter, words)
            last = command
        return text

    def number(self, value: int) -> str:
        """Return so many units as a decimal number in as few characters as it can have."""
        text = f"{abs(value) / 10**self.digits:.{self.digits}f}"
        if "." in text:
            text = text.rstrip("0").rstrip(".")
        text = text.removeprefix("0") or "0"
        return f"-{text}" if value < 0 and text != "0" else text


def joined(before: str, letter: str, words: list[str]) -> str:
    """Return a command with its numbers; between two of them a blank where they would run on."""
    text = letter
    for word in words:
        ending = re.search(r"[\d.]+$", text or before)
        runs_on = ending is not None and (
            word[0].isdigit() or (word[0] == "." and "." not in ending[0])
        )
        text += (" " if runs_on else "") + word
    return text


# ---- forms and what refers to them ----


def take_definitions(root: Tree) -> dict[str, Tree]:
    """Take what stands in ``defs`` out of a drawing; return it by its id."""
    forms = {}
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag == SVG + "defs"]:
            forms.update((form.get("id", ""), form) for form in child)
            parent.remove(child)
    return forms


def shorten_references(root: Tree, forms: dict[str, Tree], shared: Shared) -> dict[str, Tree]:
    """Have every reference lead to the chart's own forms; return these by their new ids."""
    names: dict[str, str] = {}

    def new_name(old: str) -> str:
        if old in forms and old not in names:
            names[old] = shared.id_of(forms[old])
        return names.get(old, old)

    for element in root.iter():
        element.attrib.pop("id", None)
        if LINK in element.attrib:
            move_to(element)
            element.set("href", "#" + new_name(element.attrib.pop(LINK)[1:]))
        for key, value in element.attrib.items():
            if "url(" in value:
                element.set(key, REFERENCE.sub(lambda m: f"url(#{new_name(m[1])})", value))
    return {new: forms[old] for old, new in names.items()}


def move_to(element: Tree) -> None:
    """Write where something is used as x and y in place of a transform."""
    place = re.fullmatch(r"translate\((\S+) (\S+)\)", element.get("transform", ""))
    if place is None or {"x", "y"} & element.attrib.keys():
        return

    del element.attrib["transform"]
    for key, value in zip("xy", place.groups()):
        if value != "0":
            element.set(key, value)


def drop_unseen(root: Tree, forms: dict[str, Tree]) -> None:
    """Take out what draws nothing: paths without fill and stroke, blanks between words."""
    for parent in list(root.iter()):
        for child in list(parent):
            form = forms.get(child.get("href", "")[1:])
            blank = form is not None and form.tag == SVG + "path" and not form.get("d")
            if blank or (child.tag == SVG + "path" and child.get("style") == "fill:none"):
                parent.remove(child)


def join_groups(root: Tree) -> None:
    """Make one group of neighbours that have the same attributes: a clipping frame, say."""
    for parent in list(root.iter()):
        last = None
        for child in list(parent):
            same = last is not None and child.tag == last.tag == SVG + "g"
            if same and child.attrib == last.attrib and set(child.attrib) == {"clip-path"}:
                last.extend(child)
                parent.remove(child)
            else:
                last = child


# ---- marks ----


def join_marks(root: Tree, forms: dict[str, Tree]) -> None:
    """Draw marks of one form and style that follow each other as one path, or as a few."""
    for parent in list(root.iter()):
        children: list[Tree] = []
        for key, run in groupby(list(parent), key=kind_of_mark):
            marks = list(run)
            joint = [] if key is None or len(marks) < MANY else joint_paths(marks, forms)
            children += joint or marks
        if len(children) != len(parent):
            parent[:] = children


def kind_of_mark(element: Tree) -> tuple[str, str] | None:
    """Return form and style of a mark, or None for what is none."""
    if element.tag != SVG + "use" or set(element.attrib) != {"href", "x", "y", "style"}:
        return None
    return element.attrib["href"], element.attrib["style"]


def joint_paths(marks: list[Tree], forms: dict[str, Tree]) -> list[Tree]:
    """Return the paths that draw some marks of one form and style; none where they cannot."""
    href, style = kind_of_mark(marks[0])
    rules = dict(rule.split(":", 1) for rule in style.split(";") if ":" in rule)
    fill, line = rules.get("fill", "currentColor"), rules.get("stroke", "none")

    # An outline of another colour lies over the mark before, and in one path it would not.
    form = forms.get(href[1:])
    if form is None or form.attrib.keys() - {"id", "d"}:
        return []
    if fill == "none" or line not in ("none", fill):
        return []

    offset, steps = begin_and_steps(form.get("d", ""))
    diameter = diameter_of(steps)
    if diameter is not None:
        # A round dot is the end of a line without length.
        width = diameter + (float(rules.get("stroke-width", 1)) if line == fill else 0)
        opacity = rules.get("fill-opacity", rules.get("opacity"))
        style = f"fill:none;stroke:{fill};stroke-width:{width:.2f};stroke-linecap:round"
        style += "" if opacity is None else f";stroke-opacity:{opacity}"
        offset, steps = (0.0, 0.0), "h0"
    elif len(steps) > LONGEST_FORM:
        return []

    places = [
        (float(mark.attrib["x"]) + offset[0], float(mark.attrib["y"]) + offset[1]) for mark in marks
    ]
    shades = SHADES if "opacity" in style else 1
    return [
        Element(SVG + "path", {"d": at_each(places[first::shades], steps), "style": style})
        for first in range(shades)
    ]


def begin_and_steps(path: str) -> tuple[tuple[float, float], str]:
    """Split a path in relative coordinates into the place where it begins and the rest."""
    _, x, y, *_ = (*STEP.finditer(path), None, None, None)
    if y is None:
        return (0.0, 0.0), ""
    return (float(x[0]), float(y[0])), path[y.end() :]


def at_each(places: list[tuple[float, float]], steps: str) -> str:
    """Return the path that takes the same steps from each place."""
    writer = _Writer(2)
    return "".join(
        joined("", "M", [writer.number(round(100 * value)) for value in place]) + steps
        for place in places
    )


def diameter_of(steps: str) -> float | None:
    """Return the diameter of a circle as matplotlib draws it, in eight curves; else None."""
    numbers = [float(number) for _, number in STEP.findall(steps[1:]) if number]
    if not steps.startswith("c") or len(numbers) != 8 * 6:
        return None

    # It begins at its lowest point: how far it goes up is its diameter, and across the same.
    sizes = []
    for axis in (4, 5):
        place, places = 0.0, [0.0]
        for step in numbers[axis::6]:
            place += step
            places.append(place)
        sizes.append(max(places) - min(places))
    return sizes[1] if abs(sizes[0] - sizes[1]) < 0.1 else None


# ---- writing ----


def written(element: Tree) -> str:
    """Return an element as HTML, without groups that are empty or say nothing."""
    tag = element.tag.removeprefix(SVG)
    inside = "".join(written(child) for child in element)
    if tag == "g" and not inside:
        return ""

    attributes = "".join(
        f' {key}="{html.escape(value, quote=True)}"' for key, value in element.attrib.items()
    )
    if tag == "g" and not attributes:
        return inside
    return f"<{tag}{attributes}>{inside}</{tag}>" if inside else f"<{tag}{attributes}/>"

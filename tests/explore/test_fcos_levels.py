"""FCOS and ATSS on one scene: the numbers are the package's, and the figure says why."""

import random
import re

import pytest
import torch

from detlearn import explore
from detlearn.boxes import box_iou
from detlearn.explore.fcos_levels import size_ranges
from detlearn.explore.pictures import OBJECT_COLOURS
from detlearn.explore.yolo_assignment import SIDE, STRIDES, locations
from detlearn.matching import atss_assign, atss_positives
from detlearn.models.fcos import centerness, fcos_candidates, fcos_targets
from detlearn.models.yolov8 import boxes_to_distances

CLOSE = {"rtol": 1e-6, "atol": 1e-9}
LEVEL_SIZES = [(SIDE // stride) ** 2 for stride in STRIDES]


def random_state(numbers: random.Random, rule: str) -> dict:
    """A state that a reader can reach, and objects at other places."""
    boxes = []
    for _ in range(5):
        width, height = numbers.randint(2, 90), numbers.randint(2, 90)
        x, y = numbers.randint(0, SIDE - width), numbers.randint(0, SIDE - height)
        boxes.append([x, y, x + width, y + height])
    if numbers.random() < 0.6:  # one in another, one twice, and one as large elsewhere
        x1, y1, x2, y2 = boxes[0]
        inner = min(x2 - x1, y2 - y1) // 4
        boxes[3] = [x1 + inner, y1 + inner, x2 - inner, y2 - inner]
        boxes[numbers.randint(1, 2)] = boxes[numbers.choice([0, 3])]
        boxes[4] = [min(y1, 128 - x2 + x1), x1 // 2, 0, 0]
        boxes[4][2:] = [boxes[4][0] + x2 - x1, min(x1 // 2 + y2 - y1, SIDE)]
    ends = sorted([numbers.randint(4, 128), numbers.choice([32, 64, numbers.randint(4, 128)])])
    return {
        "rule": rule,
        "boxes": boxes,
        "level": numbers.randint(0, 2),
        "shaded": numbers.random() < 0.3,
        "sampled": numbers.random() < 0.7,
        "radius": numbers.choice([0.25, 0.5, 1.0, 1.5, 4.0, round(4 * numbers.random(), 2)]),
        "ends": ends,
        "k": numbers.randint(1, 25),
        "anchorSide": numbers.choice([1.0, 4.0, 8.0, 12.0, round(1 + 11 * numbers.random(), 1)]),
    }


def as_tensor(numbers: list) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def says_what_is_learnt(got: dict, boxes: torch.Tensor) -> None:
    """Distances, centerness, counts and what is lost follow from who learns what."""
    points, strides = locations()
    assigned = torch.tensor(got["assigned"])
    learnt = assigned >= 0
    wanted = torch.zeros(len(points), 4, dtype=torch.float64)
    wanted[learnt] = boxes_to_distances(points[learnt], boxes[assigned[learnt]])
    wanted /= strides[:, None]
    torch.testing.assert_close(as_tensor(got["distances"]), wanted, **CLOSE)
    torch.testing.assert_close(as_tensor(got["centerness"]), centerness(wanted), **CLOSE)

    counts = torch.tensor(got["counts"])
    for n in range(len(boxes)):
        for level, of_level in enumerate(assigned.split(LEVEL_SIZES)):
            assert counts[n, level] == (of_level == n).sum()
    assert got["without"] == (counts.sum(dim=1) == 0).nonzero()[:, 0].tolist()


def test_fcos_s_targets_are_the_packages(open_figures) -> None:
    numbers = random.Random(1)
    given = [random_state(numbers, "fcos") for _ in range(70)]
    figure = open_figures(explore.fcos_levels())
    points, strides = locations()
    learnt = shared = ties = lost = 0
    for state, got in zip(given, figure.in_states(given), strict=True):
        boxes = as_tensor(state["boxes"])
        radius = state["radius"] if state["sampled"] else None
        ranges = size_ranges(state["ends"])

        near = fcos_candidates(points, boxes, strides, radius)
        assert got["near"] == near.tolist()
        assigned, distances = fcos_targets(points, strides, ranges, boxes, radius=radius)
        assert got["assigned"] == assigned.tolist()
        torch.testing.assert_close(as_tensor(got["distances"]), distances, **CLOSE)
        says_what_is_learnt(got, boxes)

        # Who wants a location: alone, each object would have it.
        alone = [
            fcos_targets(points, strides, ranges, box[None], radius=radius)[0] for box in boxes
        ]
        wanted = torch.stack(alone, dim=1) >= 0
        assert got["wanted"] == wanted.tolist()
        several = wanted.sum(dim=1) > 1
        assert got["ambiguous"] == several.nonzero()[:, 0].tolist()
        learnt += int((assigned >= 0).sum())
        shared += int(several.sum())
        lost += len(got["without"])
        area = ((boxes[:, 2:] - boxes[:, :2]).prod(dim=1) * wanted).masked_fill(~wanted, torch.inf)
        smallest = area.amin(dim=1, keepdim=True)
        ties += int((several & ((area == smallest).sum(dim=1) > 1)).sum())
    assert learnt > 1000 and shared > 300 and ties > 50 and lost > 10


def anchors_of(side: float) -> torch.Tensor:
    points, strides = locations()
    half = side / 2 * strides[:, None]
    return torch.cat((points - half, points + half), dim=1)


def test_atss_is_the_packages(open_figures) -> None:
    numbers = random.Random(2)
    given = [random_state(numbers, "atss") for _ in range(60)]
    figure = open_figures(explore.fcos_levels())
    learnt = shared = lost = 0
    for state, got in zip(given, figure.in_states(given), strict=True):
        boxes = as_tensor(state["boxes"])
        anchors = anchors_of(state["anchorSide"])
        torch.testing.assert_close(as_tensor(got["iou"]), box_iou(boxes, anchors), **CLOSE)

        real = torch.ones(1, len(boxes), dtype=torch.bool)
        assigned = atss_assign(anchors, LEVEL_SIZES, boxes[None], real, state["k"])[0]
        assert got["assigned"] == assigned.tolist()
        says_what_is_learnt(got, boxes)

        alone = [atss_positives(anchors, LEVEL_SIZES, box, state["k"]) for box in boxes]
        wanted = torch.stack(alone, dim=1)
        assert got["wanted"] == wanted.tolist()
        several = wanted.sum(dim=1) > 1
        assert got["ambiguous"] == several.nonzero()[:, 0].tolist()

        # The k nearest of each level are the candidates, and from these comes the threshold.
        near = torch.tensor(got["near"])
        counts = [of_level.sum(dim=0) for of_level in near.split(LEVEL_SIZES)]
        assert all((count == state["k"]).all() for count in counts)
        for n, box in enumerate(boxes):
            iou = box_iou(box[None], anchors[near[:, n]])[0]
            threshold = (iou.mean() + iou.std()).item()
            assert got["thresholds"][n] == pytest.approx(threshold, rel=1e-9, abs=1e-12)
        learnt += int((assigned >= 0).sum())
        shared += int(several.sum())
        lost += len(got["without"])
    assert learnt > 500 and shared > 30 and lost > 0


# Two squares around one centre, one that is as large as the first elsewhere, two small ones.
NESTED = {
    "rule": "fcos",
    "boxes": [
        [20, 20, 68, 68],
        [32, 32, 56, 56],
        [70, 70, 118, 118],
        [2, 100, 8, 103],
        [0, 0, 1, 9],
    ],
    "level": 0,
    "sampled": True,
    "radius": 1.5,
    "ends": [32, 64],
}


def test_it_says_why(open_figures) -> None:
    figure = open_figures(explore.fcos_levels())
    says, wants, counts = (figure.page.locator(f"p.{name}") for name in ("why", "wanted", "totals"))

    # A location beside the common centre: both squares want it, the inner one has it.
    figure.set({**NESTED, "cell": [10, 11]})
    assert "Column 11, row 12 of stride 4, at (42, 46): it learns B (person)" in says.inner_text()
    assert "the farthest side, 14.0 px away, is in the range of this level, 0 to 32 px." in (
        says.inner_text()
    )
    assert "A (boat) wants it, too; B is smaller." in says.inner_text()
    assert "1 for person, 0 for other classes; 2.50 strides to the left side, 3.50 to the top" in (
        wants.inner_text()
    )
    assert "3.50 to the right, 2.50 to the bottom; centerness 0.71." in wants.inner_text()
    assert figure.page.locator(".distances").count() == 1

    # Three by three locations around (44, 44) lie less than 6 pixels away from it: at 42 and 46.
    assert "wanted by several: 4 (4 to B), on all levels 4 of 1344" in counts.inner_text()
    assert "No location at all learns E (person)." in counts.inner_text()

    # Only the level's range is in the way.
    figure.set({"ends": [13, 64]})
    assert "the farthest side, 26.0 px to A (boat) and 14.0 px to B (person), is not in the" in (
        says.inner_text()
    )
    assert "0 to 13 px" in says.inner_text()
    assert "Target: 0 for every class; no box." in wants.inner_text()
    assert figure.page.locator(".distances").count() == 0

    # Only the radius is; and nothing at all is there.
    figure.set({"ends": [32, 64], "cell": [9, 9]})
    assert "lies inside A (boat) and B (person), but not within 1.50 strides of their" in (
        says.inner_text()
    )
    figure.set({"sampled": False, "cell": [30, 2]})
    assert "it lies inside no object" in says.inner_text()
    figure.set({"cell": [9, 9]})
    assert "it learns B (person): inside, and the farthest" in says.inner_text()

    # Alike to the last digit: the first has it.
    figure.set(
        {"boxes": [NESTED["boxes"][0]] * 2 + NESTED["boxes"][2:], "level": 1, "cell": [5, 3]}
    )
    assert figure.get()["assigned"][1024 + 3 * 16 + 5] == 0
    assert "B (person) wants it, too; A" in says.inner_text()
    assert "comes first" in says.inner_text()
    figure.set({"level": 2, "cell": [2, 2]})
    assert "range of this level, from 64 px on" in says.inner_text()


def test_it_says_why_under_atss(open_figures) -> None:
    figure = open_figures(explore.fcos_levels(rule="atss"))
    says = figure.page.locator("p.why")
    figure.set({**NESTED, "rule": "atss", "k": 1, "anchorSide": 8, "level": 1, "cell": [5, 5]})

    # With one candidate a level the IoUs of B (24 × 24 at 44, 44) are, at strides 4, 8 and 16:
    # (42, 42) ± 16: 576 / 1024; (44, 44) ± 32: 576 / 4096; (40, 40) ± 64: 576 / 16384.
    got = figure.get()
    ious = as_tensor([576 / 1024, 576 / 4096, 576 / 16384])
    assert got["thresholds"][1] == pytest.approx((ious.mean() + ious.std()).item())
    assert got["counts"][1] == [1, 0, 0]

    # A (48 × 48): 1024 / 2304, 2304 / 4096, and 2304 / 16384.
    ious = as_tensor([1024 / 2304, 2304 / 4096, 2304 / 16384])
    threshold = (ious.mean() + ious.std()).item()
    assert got["counts"][0] == [0, int(0.5625 >= threshold), 0]
    assert "too low an IoU: 0.563 with A (boat), which asks for" in says.inner_text()
    assert f"asks for {threshold:.3f}" in says.inner_text()
    assert "0.141 with B (person)" in says.inner_text()

    figure.set({"level": 0, "cell": [10, 10]})
    assert (
        "it learns B (person): one of its 1 nearest on this level, inside it" in says.inner_text()
    )
    assert "an IoU of 0.563 with it" in says.inner_text()
    figure.set({"cell": [31, 0]})
    assert "it is not among the nearest of any object" in says.inner_text()

    # The one candidate of the tiny E lies beside it, at (2, 6): overlapped enough, but outside.
    figure.set({"cell": [0, 1]})
    assert figure.get()["near"][32][4] is True
    assert "its box overlaps E (person) enough, but it does not lie inside" in says.inner_text()

    # Two objects alike want the same: the first has it.
    figure.set({"boxes": [NESTED["boxes"][1]] * 2 + NESTED["boxes"][2:], "cell": [10, 10]})
    assert "B (person) wants it, too; A overlaps its box more, or" in says.inner_text()


def test_dots_rings_and_shades(open_figures) -> None:
    """What is drawn is what is learnt on the level that is shown."""
    figure = open_figures(explore.fcos_levels())
    page = figure.page
    numbers = random.Random(3)
    for _ in range(8):
        state = random_state(numbers, numbers.choice(["fcos", "atss"]))
        figure.set({**state, "shaded": False, "cell": [0, 0]})
        got = figure.get()
        stride = STRIDES[state["level"]]
        start = sum(LEVEL_SIZES[: state["level"]])
        own = range(start, start + LEVEL_SIZES[state["level"]])
        points = locations()[0].tolist()

        drawn = page.evaluate(
            "() => [...document.querySelectorAll('circle.learner')].map((dot) => ["
            "Number(dot.getAttribute('cx')), Number(dot.getAttribute('cy')),"
            "dot.getAttribute('fill')])"
        )
        assert drawn == [
            [*points[p], OBJECT_COLOURS[got["assigned"][p]]] for p in own if got["assigned"][p] >= 0
        ]
        rings = page.evaluate(
            "() => [...document.querySelectorAll('circle.shared')].map((dot) => ["
            "Number(dot.getAttribute('cx')), Number(dot.getAttribute('cy'))])"
        )
        assert rings == [points[p] for p in got["ambiguous"] if p in own]
        hollow = [p for p in own if got["assigned"][p] < 0 and any(got["near"][p])]
        assert page.locator("circle.nearly").count() == len(hollow)

        # In the shades the dots give way; the fuller, the more central.
        figure.set({"shaded": True})
        assert page.locator("circle.learner, circle.nearly, circle.shared").count() == 0
        shades = page.evaluate(
            "() => [...document.querySelectorAll(\"svg[aria-label='the scene'] g > rect\")]"
            ".filter((rect) => rect.hasAttribute('fill-opacity') && rect.getAttribute('fill') "
            "!== '#111').map((rect) => ['x', 'y', 'width', 'fill-opacity']"
            ".map((name) => Number(rect.getAttribute(name))))"
        )
        assert shades == [
            [points[p][0] - stride / 2, points[p][1] - stride / 2, stride, got["centerness"][p]]
            for p in own
            if got["assigned"][p] >= 0
        ]


def test_regions_and_objects_that_nothing_learns(open_figures) -> None:
    """The square about the centre is cut by the box; boxes that nobody learns are dotted."""
    figure = open_figures(explore.fcos_levels())
    figure.set(NESTED)
    rects = (
        "() => [...document.querySelectorAll(\"svg[aria-label='the scene'] rect[fill-opacity]\")]"
        ".map((rect) => ['x', 'y', 'width', 'height'].map((n) => Number(rect.getAttribute(n))))"
    )
    regions = figure.page.evaluate(rects)
    assert regions[0] == [38, 38, 12, 12] and regions[3] == [2, 100, 6, 3]
    figure.set({"sampled": False})
    assert figure.page.evaluate(rects)[0] == [20, 20, 48, 48]
    figure.set({"rule": "atss"})
    assert figure.page.evaluate(rects) == []

    dashes = (
        "() => [...document.querySelectorAll(\"svg[aria-label='the scene'] > rect\")]"
        ".map((rect) => rect.getAttribute('stroke-dasharray')).filter(Boolean)"
    )
    figure.set(NESTED)
    assert figure.page.evaluate(dashes) == ["3 2"] * 4 + ["0.9 2.2"]


def test_the_tables(open_figures) -> None:
    figure = open_figures(explore.fcos_levels())
    figure.set({**NESTED, "cell": [10, 11]})

    def rows(number: int) -> list[list[str]]:
        found = figure.page.locator("table").nth(number).locator("tr")
        return [row.locator("th, td").all_inner_texts() for row in found.all()]

    assert rows(0)[0] == ["object", "inside", "near centre", "farthest side", "in range", "area"]
    assert rows(0)[1] == ["A boat", "yes", "yes", "26.0", "yes", "2304"]
    assert rows(0)[3] == ["C phone", "no", "no", "76.0", "no", "2304"]
    assert rows(1)[0] == ["object", "stride 4", "stride 8", "stride 16", "all"]
    got = figure.get()["counts"]
    assert [row[1:] for row in rows(1)[1:]] == [
        [str(count) for count in (*counts, sum(counts))] for counts in got
    ]

    # Without centre sampling no such question is asked.
    figure.set({"sampled": False})
    assert rows(0)[1][2] == "–"
    figure.set({"rule": "atss", "k": 5, "level": 1, "cell": [5, 5]})
    assert rows(0)[0] == ["object", "one of the 5", "IoU", "threshold", "inside"]
    assert rows(0)[1][:3] == ["A boat", "yes", "0.563"]
    assert rows(0)[3] == ["C phone", "no", rows(0)[3][2], rows(0)[3][3], "no"]


def test_a_location_is_asked_by_mouse_finger_and_keys(open_figures) -> None:
    figure = open_figures(explore.fcos_levels())
    scene = figure.page.locator("svg[aria-label='the scene'] image").bounding_box()
    cell = scene["width"] / 32

    figure.page.mouse.move(scene["x"] + 2.5 * cell, scene["y"] + 3.5 * cell)
    assert figure.get()["cell"] == [2, 3]
    figure.page.touchscreen.tap(scene["x"] + 20.5 * cell, scene["y"] + 25.5 * cell)
    assert figure.get()["cell"] == [20, 25]

    cursor = figure.page.locator("[aria-label='the location that is asked']")
    cursor.focus()
    figure.page.keyboard.press("ArrowRight")
    figure.page.keyboard.press("ArrowUp")
    assert figure.get()["cell"] == [21, 24]
    assert cursor.get_attribute("aria-valuetext") == "column 22, row 25"
    assert "Column 22, row 25 of stride 4, at (86, 98)" in (
        figure.page.locator("p.why").inner_text()
    )

    # The same place on the coarser levels, and not beyond their last cell.
    figure.page.get_by_role("radio", name="16", exact=True).check()
    assert (figure.get()["cell"], figure.get()["level"]) == ([5, 6], 2)
    cursor.focus()
    figure.page.keyboard.press("Shift+ArrowRight")
    assert figure.get()["cell"] == [7, 6]


def test_an_object_is_moved_by_its_letter(open_figures) -> None:
    figure = open_figures(explore.fcos_levels())
    before = figure.get()["boxes"]
    handle = figure.page.locator("[aria-label='object D, bus']")
    at = handle.bounding_box()
    pixel = figure.page.locator("svg[aria-label='the scene'] image").bounding_box()["width"] / SIDE

    figure.page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    figure.page.mouse.down()
    figure.page.mouse.move(
        at["x"] + at["width"] / 2 + 12 * pixel, at["y"] + at["height"] / 2 - 5 * pixel
    )
    figure.page.mouse.up()
    x1, y1, x2, y2 = before[3]
    assert figure.get()["boxes"][3] == [x1 + 12, y1 - 5, x2 + 12, y2 - 5]
    handle.focus()
    figure.page.keyboard.press("Shift+ArrowDown")
    assert figure.get()["boxes"][3] == [x1 + 12, y1 + 5, x2 + 12, y2 + 5]
    assert figure.get()["boxes"][:3] == before[:3]


def test_the_controls(open_figures) -> None:
    figure = open_figures(explore.fcos_levels())
    page = figure.page
    radius = page.get_by_role("slider", name="radius in strides")
    radius.fill("2.25")
    assert figure.get()["radius"] == 2.25
    page.get_by_role("radio", name="in all of its box").check()
    assert figure.get()["sampled"] is False and radius.is_disabled()

    # One end takes the other along.
    first, second = (page.get_by_role("slider", name=f"stride {s} up to") for s in STRIDES[:2])
    first.fill("80")
    assert figure.get()["ends"] == [80, 80]
    second.fill("40")
    assert figure.get()["ends"] == [40, 40]
    second.fill("60")
    assert figure.get()["ends"] == [40, 60]
    assert second.get_attribute("aria-valuetext") == "60 px"
    page.get_by_role("radio", name="centerness").check()
    assert figure.get()["shaded"] is True

    page.get_by_role("radio", name="ATSS", exact=True).check()
    assert not radius.is_visible()
    page.get_by_role("slider", name="candidates a level").fill("3")
    page.get_by_role("slider", name="side of the boxes").fill("4.5")
    assert (figure.get()["k"], figure.get()["anchorSide"]) == (3, 4.5)
    page.get_by_text("back to the start").click()
    got = figure.get()
    assert (got["rule"], got["ends"], got["k"], got["shaded"]) == ("fcos", [32, 64], 9, False)
    assert not page.get_by_role("slider", name="candidates a level").is_visible()


def test_what_readers_are_to_see_at_the_start(open_figures) -> None:
    """Every object has a positive; without the radius some locations are wanted by several."""
    figure = open_figures(explore.fcos_levels(), explore.fcos_levels(radius=None))
    assert figure.get(0)["without"] == [] and figure.get(0)["ambiguous"] == []
    assert figure.get(1)["sampled"] is False and len(figure.get(1)["ambiguous"]) > 5
    assert figure.get(0)["assigned"][14 * 32 + 24] == 2  # the phone, where the cursor stands
    assert figure.get(0)["cell"] == [24, 14]


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    figure = open_figures(explore.fcos_levels(), width=width)
    for rule in ("fcos", "atss"):
        figure.set({"rule": rule, "k": 25})
        assert figure.page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_has_a_still_picture() -> None:
    figure = explore.fcos_levels()
    assert len(figure._repr_html_().encode()) <= 60_000
    assert figure.still.count("<circle") == 33


def test_colours_are_those_of_still_pictures() -> None:
    script = (explore.page.FOLDER / "scene.js").read_text(encoding="utf-8")
    (line,) = re.findall(r"const COLOURS = \[(.*?)\]", script)
    assert tuple(re.findall(r'"(.*?)"', line)) == OBJECT_COLOURS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rule": "yolo"}, "rule is 'yolo': expected one of fcos, atss"),
        ({"radius": 0.0}, "radius is 0.0: the slider goes from 0.25 to 4; None for no bound"),
    ],
)
def test_what_it_cannot_be_is_refused(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explore.fcos_levels(**given)

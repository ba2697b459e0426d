"""Anchors and objects: the numbers are the package's, and the figure answers hand and keys."""

import random
import re

import pytest
import torch

from detlearn import explore
from detlearn.anchors import make_anchors
from detlearn.boxes import box_iou
from detlearn.matching import match_anchors

STRIDES = (4, 8, 16, 32)
SIZES = (6, 11, 16, 24, 34, 50)
RATIOS = (1 / 3, 0.5, 1.0, 2.0, 3.0)


def random_state(numbers: random.Random) -> dict:
    """A state that a reader can reach; few anchors a cell where there are many cells."""
    stride = numbers.choice(STRIDES)
    most = 1 if stride == 4 else 3
    low = numbers.choice([0.0, 0.3, round(numbers.random(), 2)])
    boxes = []
    for _ in range(4):
        width, height = numbers.randint(4, 80), numbers.randint(4, 80)
        x, y = numbers.randint(0, 128 - width), numbers.randint(0, 128 - height)
        boxes.append([x, y, x + width, y + height])
    return {
        "boxes": boxes,
        "stride": stride,
        "sizes": sorted(numbers.sample(SIZES, numbers.randint(1, most))),
        "ratios": sorted(numbers.sample(RATIOS, numbers.randint(1, most))),
        "low": low,
        "high": numbers.choice([low, 0.5, 0.7]) if low <= 0.5 else 1.0,
        "lowQuality": numbers.random() < 0.6,
    }


# Both objects claim an anchor of 16 pixels that overlaps the second more; the first goes without.
TWO_CLAIM_ONE = {
    "boxes": [[0, 0, 16, 10], [0, 0, 16, 12], [100, 100, 116, 116], [60, 60, 76, 76]],
    "stride": 16,
    "sizes": [16],
    "ratios": [1.0],
    "high": 0.9,
    "low": 0.3,
    "lowQuality": True,
    "cell": [0, 0],
}


# Two objects in one place: the first has the anchors. A cell's anchor on its border with the third.
TWINS = {
    **TWO_CLAIM_ONE,
    "boxes": [[64, 64, 80, 80], [64, 64, 80, 80], [0, 0, 16, 32], [0, 64, 32, 80]],
    "high": 0.5,
    "low": 0.5,
}


def test_who_learns_what_is_the_packages(open_figures) -> None:
    numbers = random.Random(0)
    given = [TWO_CLAIM_ONE, TWINS] + [random_state(numbers) for _ in range(70)]
    forced = 0
    for state, got in zip(given, open_figures(explore.anchors_and_objects()).in_states(given)):
        cells = 128 // state["stride"]
        anchors = make_anchors(cells, cells, state["stride"], state["sizes"], state["ratios"])
        assert torch.equal(torch.tensor(got["anchors"]), anchors)

        boxes = torch.tensor(state["boxes"], dtype=torch.float64)
        iou = box_iou(boxes, anchors.double())
        assert torch.equal(torch.tensor(got["iou"], dtype=torch.float64), iou)

        limits = state["high"], state["low"]
        matched = match_anchors(iou, *limits, state["lowQuality"])
        assert got["matched"] == matched.tolist()
        assert got["bestObject"] == iou.argmax(dim=0).tolist()
        assert got["bestIou"] == iou.amax(dim=0).tolist()

        # What is called forced is what the matches of low quality add.
        without = match_anchors(iou, *limits, allow_low_quality_matches=False)
        added = (matched >= 0) & (without < 0)
        assert [found is not None for found in got["forcedBy"]] == added.tolist()
        for i, one in enumerate(got["objects"]):
            assert one["learned"] == int((matched == i).sum())
            assert one["forced"] == int(((matched == i) & added).sum())
            assert one["bestIou"] == float(iou[i].max())
        forced += int(added.sum())

    assert forced > 100


def test_it_says_why(open_figures) -> None:
    figure = open_figures(explore.anchors_and_objects())
    reason = figure.page.get_by_text("Cell in column")

    figure.set(TWO_CLAIM_ONE)
    assert (
        "no other overlaps A (person) more, but it overlaps B (house) more" in reason.inner_text()
    )
    figure.set({"boxes": [[4, 0, 16, 10], *TWO_CLAIM_ONE["boxes"][1:]]})
    assert "no other overlaps A" in reason.inner_text()
    figure.set({"high": 0.7})
    assert "learns B (house): IoU 0.75 ≥ 0.70" in reason.inner_text()
    figure.set({"high": 0.8, "lowQuality": False})
    assert "in no loss: 0.30 ≤ IoU 0.75 < 0.80" in reason.inner_text()
    figure.set({"low": 0.8})
    assert "the best IoU is 0.75 < 0.80" in reason.inner_text()
    figure.set({"cell": [7, 0]})
    assert "touches an object" in reason.inner_text()


def test_a_cell_is_asked_by_mouse_finger_and_keys(open_figures) -> None:
    figure = open_figures(explore.anchors_and_objects())
    scene = figure.page.locator("svg[aria-label='the scene'] image").bounding_box()
    cell = scene["width"] / 16

    figure.page.mouse.move(scene["x"] + 2.5 * cell, scene["y"] + 3.5 * cell)
    assert figure.get()["cell"] == [2, 3]
    figure.page.touchscreen.tap(scene["x"] + 9.5 * cell, scene["y"] + 12.5 * cell)  # over a box
    assert figure.get()["cell"] == [9, 12]

    cursor = figure.page.locator("[aria-label='the cell that is asked']")
    cursor.focus()
    figure.page.keyboard.press("ArrowRight")
    figure.page.keyboard.press("ArrowUp")
    assert figure.get()["cell"] == [10, 11]
    assert cursor.get_attribute("aria-valuetext") == "column 11, row 12"
    figure.page.keyboard.press("Shift+ArrowRight")
    assert figure.get()["cell"] == [15, 11]

    figure.set({"stride": 32})  # the same place on a coarser grid
    assert figure.get()["cell"] == [3, 2]
    figure.set({"stride": 8})  # the middle of that cell on a finer one
    assert figure.get()["cell"] == [14, 10]


def test_boxes_are_dragged_and_resized(open_figures) -> None:
    figure = open_figures(explore.anchors_and_objects())
    before, cell = figure.get()["boxes"], figure.get()["cell"]
    x1, y1, x2, y2 = before[0]
    assert cell == [int((x1 + x2) / 2 // 8), int((y1 + y2) / 2 // 8)]
    scene = figure.page.locator("svg[aria-label='the scene'] image").bounding_box()
    pixel = scene["width"] / 128

    x, y = scene["x"] + (before[0][0] + 2) * pixel, scene["y"] + (before[0][1] + 20) * pixel
    figure.page.mouse.move(x, y)
    figure.page.mouse.down()
    figure.page.mouse.move(x - 30 * pixel, y + 4 * pixel)
    figure.page.mouse.up()
    moved = figure.get()["boxes"]
    asked = [int((before[0][0] + 2) // 8), int((before[0][1] + 20) // 8)]
    assert figure.get()["cell"] == asked  # where the pointer came down: a drag asks nothing
    assert moved[0] == [at + by for at, by in zip(before[0], (-30, 4, -30, 4))]
    assert moved[1:] == before[1:]

    figure.page.locator("[aria-label='object B, house, bottom right corner']").focus()
    figure.page.keyboard.press("Shift+ArrowRight")
    figure.page.keyboard.press("ArrowUp")
    x1, y1, x2, y2 = before[1]
    assert figure.get()["boxes"][1] == [x1, y1, x2 + 10, y2 - 1]
    for _ in range(5):
        figure.page.keyboard.press("Shift+ArrowLeft")
    assert figure.get()["boxes"][1] == [x1, y1, x1 + 4, y2 - 1]  # it keeps an area

    figure.page.get_by_text("back to the start").click()
    assert figure.get()["boxes"] == before
    assert figure.get()["cell"] == cell


def marks_of(got: dict, state: dict) -> set[tuple]:
    """What is to be drawn in the cells: place, kind, and the object that gives the colour."""
    per_cell = len(state["sizes"]) * len(state["ratios"])
    marks = set()
    for cell in range(len(got["matched"]) // per_cell):
        anchors = range(cell * per_cell, (cell + 1) * per_cell)
        kinds = {"positive": [], "forced": [], "ignored": []}
        for a in anchors:
            if got["matched"][a] >= 0:
                kinds["positive" if got["forcedBy"][a] is None else "forced"].append(a)
            elif got["matched"][a] == -2:
                kinds["ignored"].append(a)
        kind = next((kind for kind, found in kinds.items() if found), None)
        if kind:
            best = max(kinds[kind], key=lambda a: got["bestIou"][a])
            row, column = divmod(cell, got["cells"])
            place = (column + 0.5) * state["stride"], (row + 0.5) * state["stride"]
            marks.add((*place, kind, None if kind == "ignored" else got["bestObject"][best]))
    return marks


DRAWN_MARKS = """
() => {
  const colours = ["#fca800", "#90fcfc", "#e49cff", "#e4f090", "none"];
  const scene = document.querySelector("svg[aria-label='the scene']");
  const marks = scene.querySelectorAll(":scope > g:not([fill]):not([class]):not([style]) > *");
  return [...marks].map((mark) => {
    const object = colours.indexOf(mark.getAttribute("fill"));
    if (mark.tagName === "path") {
      const [, x, y] = mark.getAttribute("d").match(/^M(\\S+) (\\S+?)l/);
      return [Number(x), Number(y) + 2.3, "forced", object];
    }
    const place = [Number(mark.getAttribute("cx")), Number(mark.getAttribute("cy"))];
    return object === 4 ? [...place, "ignored", null] : [...place, "positive", object];
  });
}
"""


def test_what_is_drawn_and_written_is_what_was_worked_out(open_figures) -> None:
    numbers = random.Random(5)
    figure = open_figures(explore.anchors_and_objects())
    kinds = set()
    for _ in range(12):
        state = random_state(numbers)
        figure.set(state)
        got = figure.get()

        drawn = {
            (round(x, 2), round(y, 2), *rest) for x, y, *rest in figure.page.evaluate(DRAWN_MARKS)
        }
        assert drawn == marks_of(got, state)
        kinds |= {kind for _, _, kind, _ in drawn}

        positive = sum(found >= 0 for found in got["matched"])
        ignored = got["matched"].count(-2)
        background = got["matched"].count(-1)
        totals = f"{positive} positive, {ignored} ignored, {background} background."
        assert figure.page.locator("p.note", has_text=totals).is_visible()

        (objects,) = figure.page.locator("table", has_text="best IoU").all()
        for row, one in zip(objects.locator("tbody tr").all(), got["objects"]):
            _, best, learned, forced = row.locator("td").all_inner_texts()
            assert best == f"{one['bestIou']:.2f}"
            assert learned == (str(one["learned"]) if one["learned"] else "none")
            assert forced == str(one["forced"])

        chosen = figure.page.locator("input:checked").evaluate_all(
            "inputs => inputs.map((input) => input.closest('label').textContent)"
        )
        words = {1 / 3: "⅓", 0.5: "½", 1.0: "1", 2.0: "2", 3.0: "3"}
        assert chosen == [
            str(state["stride"]),
            *map(str, state["sizes"]),
            *(words[ratio] for ratio in state["ratios"]),
            "on" if state["lowQuality"] else "off",
        ]
    assert kinds == {"positive", "forced", "ignored"}


def test_the_anchors_of_a_cell_are_listed_best_first(open_figures) -> None:
    figure = open_figures(explore.anchors_and_objects())
    figure.set({"sizes": [16, 24, 34], "ratios": [0.5, 1, 2]})
    got = figure.get()
    column, row = got["cell"]
    first = (row * got["cells"] + column) * 9
    best = sorted(got["bestIou"][first : first + 9], reverse=True)

    table = figure.page.locator("table", has_text="what it learns")
    listed = [cells.locator("td").nth(1).inner_text() for cells in table.locator("tbody tr").all()]
    assert listed == [f"{iou:.2f}" for iou in best[:6]]
    assert figure.page.get_by_text("and 3 more with less overlap").is_visible()

    figure.set({"sizes": [16], "ratios": [1]})
    assert table.locator("tbody tr").count() == 1
    assert figure.page.get_by_text("more with less overlap").count() == 0


def test_the_cell_that_is_asked_is_said(open_figures) -> None:
    figure = open_figures(explore.anchors_and_objects())
    cursor = figure.page.locator("[aria-label='the cell that is asked']")
    cursor.focus()
    figure.page.keyboard.press("ArrowRight")
    column, row = figure.get()["cell"]
    figure.page.wait_for_function(
        "text => document.querySelector('[aria-live]').textContent.startsWith(text)",
        arg=f"Cell in column {column + 1}, row {row + 1}: ",
        timeout=3000,
    )


def test_the_controls(open_figures) -> None:
    figure = open_figures(explore.anchors_and_objects())
    figure.page.get_by_label("34").check()
    figure.page.get_by_label("⅓").check()
    assert figure.get()["sizes"] == [16, 24, 34]
    assert figure.get()["ratios"] == [1 / 3, 0.5, 1, 2]
    for size in ("16", "24", "34"):
        box = figure.page.get_by_role("checkbox", name=size, exact=True)
        box.focus()
        figure.page.keyboard.press("Space")
    assert figure.get()["sizes"] == [34]  # the last one stays
    figure.page.get_by_role("radio", name="16", exact=True).check()
    figure.page.get_by_role("radio", name="off").check()
    assert figure.get()["stride"] == 16
    assert figure.get()["lowQuality"] is False

    # One threshold takes the other along.
    figure.page.get_by_label("low: background below").fill("0.8")
    assert (figure.get()["low"], figure.get()["high"]) == (0.8, 0.8)
    figure.page.get_by_label("high: positive from").fill("0.6")
    assert (figure.get()["low"], figure.get()["high"]) == (0.6, 0.6)


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    page = open_figures(explore.anchors_and_objects(), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_has_a_still_picture() -> None:
    figure = explore.anchors_and_objects()
    assert len(figure._repr_html_().encode()) <= 60_000
    assert figure.still.count('fill="#fca800"') >= 20  # cells that learn something


def test_the_still_picture_marks_the_cells_that_the_living_one_marks(open_figures) -> None:
    figure = explore.anchors_and_objects()
    still = {
        *(
            (float(x), float(y), "positive")
            for x, y in re.findall(r'<circle cx="(\S+)" cy="(\S+)" r="1.6"', figure.still)
        ),
        *(
            (float(x), round(float(y) + 2.2, 2), "forced")
            for x, y in re.findall(r'd="M(\S+) (\S+)l2.2 2.2', figure.still)
        ),
        *(
            (float(x), float(y), "ignored")
            for x, y in re.findall(r'<circle cx="(\S+)" cy="(\S+)" r="1.2"', figure.still)
        ),
    }
    living = open_figures(figure)
    marks = marks_of(living.get(), figure.data["state"])
    assert still == {(x, y, kind) for x, y, kind, _ in marks}
    assert {kind for _, _, kind in still} == {"positive", "forced", "ignored"}


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"stride": 5}, "strides"),
        ({"sizes": (16, 17)}, "sizes"),
        ({"sizes": ()}, "sizes"),
        ({"aspect_ratios": (4,)}, "aspect_ratios"),
        ({"high": 0.2}, "low_threshold"),
    ],
)
def test_what_cannot_be_chosen_is_refused(choices: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        explore.anchors_and_objects(**choices)

"""Four rules on one scene: the numbers are the package's, and the figure says why."""

import random

import pytest
import torch

from detlearn import explore, results
from detlearn.data import ToyTown
from detlearn.explore.yolo_assignment import SIDE, STRIDES, V1_STRIDE, locations, read_moment
from detlearn.models.small import SMALL_YOLO_ANCHORS
from detlearn.models.yolov1 import cell_objects
from detlearn.models.yolov3 import responsible_places
from detlearn.models.yolov8 import task_aligned_assign

# Person, house, boat, house: as numbers among the three classes of the scene.
CLASSES = ToyTown(4, seed=20)[3][1]["labels"]
LABELS = torch.tensor([sorted(set(CLASSES.tolist())).index(label) for label in CLASSES.tolist()])


def random_state(numbers: random.Random, rule: str) -> dict:
    """A state that a reader can reach, and objects at other places."""
    boxes = []
    for _ in range(4):
        width, height = numbers.randint(4, 80), numbers.randint(4, 80)
        x, y = numbers.randint(0, SIDE - width), numbers.randint(0, SIDE - height)
        boxes.append([x, y, x + width, y + height])
    if numbers.random() < 0.4:  # two objects with one centre, or alike
        x1, y1, x2, y2 = boxes[0]
        inner = numbers.choice([0, min(x2 - x1, y2 - y1) // 4])
        boxes[numbers.randint(1, 3)] = [x1 + inner, y1 + inner, x2 - inner, y2 - inner]
    return {
        "rule": rule,
        "boxes": boxes,
        "moment": numbers.randint(0, 1),
        "topk": numbers.randint(1, 30),
        "alpha": numbers.choice([0.0, 0.5, 1.0, round(3 * numbers.random(), 1)]),
        "beta": numbers.choice([0.0, 1.0, 6.0, round(10 * numbers.random(), 1)]),
        "level": numbers.randint(0, 2),
    }


@pytest.mark.parametrize("rule", ["one_to_many", "one_to_one"])
def test_the_modern_head_s_assignment_is_the_packages(open_figures, rule: str) -> None:
    numbers = random.Random(rule)
    given = [random_state(numbers, rule) for _ in range(60)]
    stored = results.load("yolo_moments")
    points, _ = locations()
    learnt = 0
    figure = open_figures(explore.yolo_assignment())
    for state, got in zip(given, figure.in_states(given), strict=True):
        scores, boxes = read_moment(stored, state["moment"])
        said = got["said"]
        assert torch.equal(torch.tensor(said["points"]).double(), points)
        close = {"rtol": 1e-12, "atol": 1e-9}
        torch.testing.assert_close(
            torch.tensor(said["scores"], dtype=torch.float64), scores, **close
        )
        torch.testing.assert_close(
            torch.tensor(said["predicted"], dtype=torch.float64), boxes, **close
        )

        gt_boxes = torch.tensor(state["boxes"], dtype=torch.float64)
        assigned, targets = task_aligned_assign(
            scores[None], boxes[None], points, gt_boxes[None], LABELS[None],
            topk=1 if rule == "one_to_one" else state["topk"],
            alpha=state["alpha"], beta=state["beta"],
        )  # fmt: skip
        assert got["assigned"] == assigned[0].tolist()
        torch.testing.assert_close(
            torch.tensor(got["targets"], dtype=torch.float64), targets[0], rtol=1e-6, atol=1e-6
        )
        learnt += int((assigned >= 0).sum())
    assert learnt > 100


def test_yolov1_s_cells_are_the_packages(open_figures) -> None:
    numbers = random.Random(1)
    given = [random_state(numbers, "v1") for _ in range(60)]
    for state, got in zip(given, open_figures(explore.yolo_assignment()).in_states(given)):
        boxes = torch.tensor(state["boxes"], dtype=torch.float64)[None]
        real = torch.ones(1, 4, dtype=torch.bool)
        wanted = cell_objects(boxes, real, SIDE // V1_STRIDE, (SIDE, SIDE))
        assert got["assigned"] == wanted.flatten().tolist()


def test_yolov3_s_anchors_are_the_packages(open_figures) -> None:
    numbers = random.Random(2)
    given = [random_state(numbers, "v3") for _ in range(60)]
    anchors = [torch.tensor(level, dtype=torch.float64) for level in SMALL_YOLO_ANCHORS]
    sizes = [(SIDE // stride, SIDE // stride) for stride in STRIDES]
    for state, got in zip(given, open_figures(explore.yolo_assignment()).in_states(given)):
        boxes = torch.tensor(state["boxes"], dtype=torch.float64)
        places = responsible_places(boxes, anchors, STRIDES, sizes).tolist()
        assert [one["place"] for one in got["places"]] == places
        wanted = {place: object for object, place in enumerate(places)}  # the last one stays
        assert {p: n for p, n in enumerate(got["assigned"]) if n >= 0} == wanted


def test_it_says_why(open_figures) -> None:
    figure = open_figures(explore.yolo_assignment())
    says = figure.page.locator(".stage p").first

    # A and B have their centre in one cell of YOLOv1; B is smaller.
    figure.set(
        {
            "rule": "v1",
            "boxes": [[10, 10, 30, 30], [16, 16, 24, 24], [60, 60, 90, 90], [100, 0, 110, 10]],
            "cell": [2, 2],
        }
    )
    assert "Column 3, row 3 of stride 8: learns B (house)" in says.inner_text()
    assert "So does that of A (person), which is not smaller" in says.inner_text()
    figure.set({"cell": [0, 0]})
    assert "no centre lies in this cell" in says.inner_text()

    figure.set({"rule": "v3", "level": 0, "cell": [5, 5]})
    assert "its anchor 6 × 10 learns B (house)" in says.inner_text()
    figure.set({"level": 2, "cell": [4, 4]})
    assert "its anchor 33 × 33 learns C (boat)" in says.inner_text()
    figure.set({"level": 0, "cell": [18, 18]})
    assert "the centre of C (boat) lies here, but of all nine anchors 33 × 33 at" in (
        says.inner_text()
    )

    figure.set({"rule": "one_to_many", "cell": [31, 31]})
    assert "background: it lies inside no object" in says.inner_text()
    got = figure.get()
    place = got["ranks"][2].index(1)
    assert place < 1024 + 256 + 64
    for topk, words in ((1, "learns C (boat) with target"), (30, "learns C (boat) with target")):
        figure.set({"topk": topk, **cell_of(place)})
        assert words in says.inner_text() and "number 1 of those inside it" in says.inner_text()
    second = got["ranks"][2].index(2)
    figure.set({"topk": 1, **cell_of(second)})
    assert "number 2 for C (boat), and only the first 1 learn" in says.inner_text()


def cell_of(place: int) -> dict:
    """Level and cell of a location."""
    for level, stride in enumerate(STRIDES):
        cells = SIDE // stride
        if place < cells**2:
            return {"level": level, "cell": [place % cells, place // cells]}
        place -= cells**2
    raise AssertionError


def test_a_location_is_asked_by_mouse_finger_and_keys(open_figures) -> None:
    figure = open_figures(explore.yolo_assignment())
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

    # The same place under the coarser cells of YOLOv1, and back.
    figure.page.get_by_role("radio", name="YOLOv1", exact=True).check()
    assert figure.get()["cell"] == [10, 12] and figure.get()["level"] == 1


def test_the_controls(open_figures) -> None:
    figure = open_figures(explore.yolo_assignment())
    before = sum(object >= 0 for object in figure.get()["assigned"])
    figure.page.get_by_label("locations an object").fill("2")
    assert 0 < sum(object >= 0 for object in figure.get()["assigned"]) <= 8 < before
    figure.page.get_by_label("exponent of the score").fill("1.5")
    figure.page.get_by_label("exponent of the IoU").fill("2.5")
    assert (figure.get()["alpha"], figure.get()["beta"]) == (1.5, 2.5)
    figure.page.get_by_role("radio", name="one-to-one", exact=True).check()
    assert sum(object >= 0 for object in figure.get()["assigned"]) <= 4
    assert figure.page.get_by_label("locations an object").is_disabled()
    figure.page.get_by_role("radio", name="YOLOv3", exact=True).check()
    assert not figure.page.get_by_label("exponent of the score").is_visible()
    assert sum(object >= 0 for object in figure.get()["assigned"]) == 4
    figure.page.get_by_text("back to the start").click()
    assert figure.get()["rule"] == "one_to_many" and figure.get()["topk"] == 10


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    page = open_figures(explore.yolo_assignment(), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_has_a_still_picture() -> None:
    figure = explore.yolo_assignment()
    assert len(figure._repr_html_().encode()) <= 150_000  # it holds what a network said
    assert figure.still.count("<circle") >= 20


def test_another_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="rule is 'v2': expected one of v1, v3"):
        explore.yolo_assignment(rule="v2")

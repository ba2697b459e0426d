"""Four rules on one scene: the numbers are the package's, and the figure says why."""

import random

import pytest
import torch
from torch.testing import assert_close

from detlearn import explore, results
from detlearn.anchors import shape_iou
from detlearn.data import ToyTown
from detlearn.explore.yolo_assignment import SIDE, STRIDES, V1_STRIDE, locations, read_moment
from detlearn.models import yolov1, yolov3, yolov8
from detlearn.models.small import SMALL_YOLO_ANCHORS

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
        "moment": numbers.randint(0, 2),
        "topk": numbers.randint(1, 30),
        "alpha": numbers.choice([0.0, 0.5, 1.0, round(3 * numbers.random(), 1)]),
        "beta": numbers.choice([0.0, 1.0, 6.0, round(10 * numbers.random(), 1)]),
        "ignore": numbers.choice([0.5, 0.7, round(0.3 + 0.7 * numbers.random(), 2)]),
        "level": numbers.randint(0, 2),
    }


def learnt_numbers(got: dict) -> torch.Tensor:
    """What those that learn an object are to say of its box, (M, 4)."""
    return as_tensor([learner["numbers"] for learner in got["learners"]]).view(-1, 4)


def as_tensor(numbers: list) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize("rule", ["one_to_many", "one_to_one"])
def test_the_modern_head_s_assignment_is_the_packages(open_figures, rule: str) -> None:
    numbers = random.Random(rule)
    given = [random_state(numbers, rule) for _ in range(60)]
    stored = results.load("yolo_moments")
    points, strides = locations()
    learnt = 0
    figure = open_figures(explore.yolo_assignment())
    for state, got in zip(given, figure.in_states(given), strict=True):
        scores, boxes = read_moment(stored, state["moment"])
        said = got["said"]
        close = {"rtol": 1e-12, "atol": 1e-9}
        assert torch.equal(as_tensor(said["points"]), points)
        torch.testing.assert_close(as_tensor(said["scores"]), scores, **close)
        torch.testing.assert_close(as_tensor(said["predicted"]), boxes, **close)

        gt_boxes = torch.tensor(state["boxes"], dtype=torch.float64)
        assigned, targets = yolov8.task_aligned_assign(
            scores[None], boxes[None], points, gt_boxes[None], LABELS[None],
            topk=1 if rule == "one_to_one" else state["topk"],
            alpha=state["alpha"], beta=state["beta"],
        )  # fmt: skip
        assert got["assigned"] == assigned[0].tolist()
        torch.testing.assert_close(as_tensor(got["targets"]), targets[0], rtol=1e-6, atol=1e-6)

        # What each of them is to say of its box.
        place = (assigned[0] >= 0).nonzero().flatten()
        assert [learner["place"] for learner in got["learners"]] == place.tolist()
        distances = yolov8.boxes_to_distances(points[place], gt_boxes[assigned[0, place]])
        wanted = distances / strides[place, None]
        torch.testing.assert_close(learnt_numbers(got), wanted, **close)
        learnt += len(place)
    assert learnt > 100


def test_yolov1_s_cells_are_the_packages(open_figures) -> None:
    numbers = random.Random(1)
    given = [random_state(numbers, "v1") for _ in range(60)]
    size, image = (SIDE // V1_STRIDE, SIDE // V1_STRIDE), (SIDE, SIDE)
    for state, got in zip(given, open_figures(explore.yolo_assignment()).in_states(given)):
        boxes = as_tensor(state["boxes"])
        real = torch.ones(1, 4, dtype=torch.bool)
        cells = yolov1.cell_objects(boxes[None], real, size[0], image)[0]
        assert got["assigned"] == cells.flatten().tolist()

        row, column = (cells >= 0).nonzero(as_tuple=True)
        wanted = yolov1.encode_boxes(boxes[cells[row, column]], row, column, size, image)
        torch.testing.assert_close(learnt_numbers(got), wanted, rtol=1e-12, atol=1e-9)


def test_yolov3_s_anchors_are_the_packages(open_figures) -> None:
    numbers = random.Random(2)
    given = [random_state(numbers, "v3") for _ in range(60)]
    anchors = [torch.tensor(level, dtype=torch.float64) for level in SMALL_YOLO_ANCHORS]
    sizes = [(SIDE // stride, SIDE // stride) for stride in STRIDES]

    # A network that says 0 everywhere predicts the anchors as they are.
    raw = [torch.zeros(1, 3 * 5, *size, dtype=torch.float64) for size in sizes]
    outputs = yolov3.YOLOv3Outputs(raw, anchors, list(STRIDES), [(SIDE, SIDE)])
    predicted = yolov3.decode_levels(outputs)[0][0]  # (P, 4)
    steps = torch.cat(
        [torch.full((3 * (SIDE // stride) ** 2,), float(stride)) for stride in STRIDES]
    ).double()

    ignored = 0
    for state, got in zip(given, open_figures(explore.yolo_assignment()).in_states(given)):
        boxes = as_tensor(state["boxes"])
        places = yolov3.responsible_places(boxes, anchors, STRIDES, sizes).tolist()
        assert [one["place"] for one in got["responsible"]] == places
        alike = shape_iou(boxes[:, 2:] - boxes[:, :2], torch.cat(anchors))  # (4, 9)
        close = {"rtol": 1e-12, "atol": 1e-12}
        assert_close(as_tensor([one["ious"] for one in got["responsible"]]), alike, **close)

        assigned = yolov3.yolov3_targets(boxes, predicted, anchors, STRIDES, sizes, state["ignore"])
        assert got["assigned"] == assigned.tolist()
        ignored += int((assigned == -2).sum())

        place = (assigned >= 0).nonzero().flatten()
        wanted = yolov3.encode_boxes(boxes[assigned[place]], predicted[place], steps[place])
        torch.testing.assert_close(learnt_numbers(got), wanted, rtol=1e-12, atol=1e-9)
    assert ignored > 100


def test_it_says_why(open_figures) -> None:
    figure = open_figures(explore.yolo_assignment())
    says = figure.page.locator("p.why")
    wants = figure.page.locator("p.wanted")

    # A and B have their centre in one cell of YOLOv1; B is smaller.
    figure.set(
        {
            "rule": "v1",
            "boxes": [[10, 10, 30, 30], [16, 16, 24, 24], [60, 60, 90, 90], [100, 0, 110, 10]],
            "cell": [2, 2],
        }
    )
    assert "Column 3, row 3 of stride 8: it learns B (house)" in says.inner_text()
    assert "So does that of A (person), which nobody learns" in says.inner_text()
    assert "x 0.50, y 0.50, √w 0.25, √h 0.25" in wants.inner_text()
    assert "house 1, other classes 0" in wants.inner_text()
    figure.set({"cell": [0, 0]})
    assert "no centre lies in this cell" in says.inner_text()
    assert "confidence 0 for both" in wants.inner_text()

    figure.set({"rule": "v3", "level": 0, "cell": [5, 5]})
    assert "its anchor 6 × 10 learns B (house)" in says.inner_text()
    figure.set({"level": 2, "cell": [4, 4]})
    assert "its anchor 33 × 33 learns C (boat)" in says.inner_text()
    assert "objectness 1, x 0.69, y 0.69, t_w −0.10, t_h −0.10, boat 1" in wants.inner_text()
    figure.set({"level": 0, "cell": [18, 18]})
    assert "the centre of C (boat) lies here, but the anchor most like it is 33 × 33 of" in (
        says.inner_text()
    )
    assert "objectness 0 for its three anchors" in wants.inner_text()
    figure.set({"level": 2, "cell": [4, 4], "ignore": 0.3})
    assert "The anchor 25 × 53 and 51 × 49 is ignored" in says.inner_text()

    figure.set({"rule": "one_to_many", "level": 0, "cell": [31, 31]})
    assert "it lies inside no object" in says.inner_text()
    assert "score 0 for every class" in wants.inner_text()
    got = figure.get()
    place = got["ranks"][2].index(1)
    assert place < 1024 + 256 + 64
    for topk in (1, 30):
        figure.set({"topk": topk, **cell_of(place)})
        assert "it learns C (boat): number 1 by alignment" in says.inner_text()
        target = figure.get()["targets"][place]
        assert f"score {target:.2f} for boat, 0 for other classes" in wants.inner_text()
    second = got["ranks"][2].index(2)
    figure.set({"topk": 1, **cell_of(second)})
    assert "it is number 2 for C (boat); only the first learns" in says.inner_text()


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
    assert figure.get()["cell"] == [10, 12] and figure.get()["level"] == 0
    figure.page.get_by_role("radio", name="YOLOv3", exact=True).check()
    assert figure.get()["cell"] == [21, 25]


def test_an_object_is_moved_by_its_letter(open_figures) -> None:
    """Two centres in one cell: YOLOv1 learns the smaller of the two objects."""
    figure = open_figures(explore.yolo_assignment(rule="v1"))
    before = figure.get()["boxes"]
    handle = figure.page.locator("[aria-label='object A, person']")
    at = handle.bounding_box()
    pixel = figure.page.locator("svg[aria-label='the scene'] image").bounding_box()["width"] / SIDE

    figure.page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    figure.page.mouse.down()
    asked = figure.get()["cell"]
    figure.page.mouse.move(
        at["x"] + at["width"] / 2 + 12 * pixel, at["y"] + at["height"] / 2 + 5 * pixel
    )
    figure.page.mouse.up()
    x1, y1, x2, y2 = before[0]
    assert figure.get()["boxes"][0] == [x1 + 12, y1 + 5, x2 + 12, y2 + 5]
    assert figure.get()["boxes"][1:] == before[1:]
    assert asked == [int((x1 + 2) // V1_STRIDE), int((y1 - 3) // V1_STRIDE)]

    handle.focus()
    figure.page.keyboard.press("ArrowLeft")
    figure.page.keyboard.press("Shift+ArrowLeft")
    figure.page.keyboard.press("Shift+ArrowLeft")
    assert figure.get()["boxes"][0][0] == max(x1 + 12 - 21, 0)
    assert handle.get_attribute("aria-valuetext").startswith(f"left {max(x1 - 9, 0)}, top {y1 + 5}")


def test_the_controls(open_figures) -> None:
    figure = open_figures(explore.yolo_assignment())
    before = sum(object >= 0 for object in figure.get()["assigned"])
    figure.page.get_by_role("slider", name="locations an object").fill("2")
    assert 0 < sum(object >= 0 for object in figure.get()["assigned"]) <= 8 < before
    figure.page.get_by_label("exponent of the score").fill("1.5")
    figure.page.get_by_label("exponent of the IoU").fill("2.5")
    assert (figure.get()["alpha"], figure.get()["beta"]) == (1.5, 2.5)
    figure.page.get_by_role("radio", name="one-to-one", exact=True).check()
    assert sum(object >= 0 for object in figure.get()["assigned"]) <= 4
    assert figure.page.get_by_role("slider", name="locations an object").is_disabled()
    figure.page.get_by_role("radio", name="YOLOv3", exact=True).check()
    assert not figure.page.get_by_label("exponent of the score").is_visible()
    assert sum(object >= 0 for object in figure.get()["assigned"]) == 4
    figure.page.get_by_label("ignored above an IoU of").fill("0.5")
    assert figure.get()["ignore"] == 0.5
    assert "ignored." in figure.page.get_by_text("4032 anchors:").first.inner_text()
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

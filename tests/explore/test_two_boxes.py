"""The figure of two boxes: its numbers are the package's, and it answers hand and keys."""

import random
import re

import pytest
import torch

from detlearn import boxes, explore, losses

NAMES = ("iou", "giou", "diou", "ciou")
VALUES = {
    "iou": boxes.box_iou,
    "giou": boxes.generalized_box_iou,
    "diou": boxes.distance_box_iou,
    "ciou": boxes.complete_box_iou,
}
SPECIAL = {
    "equal": ([20, 20, 50, 60], [20, 20, 50, 60]),
    "one inside the other": ([30, 30, 40, 50], [20, 20, 60, 70]),
    "inside, a side shared": ([20, 30, 40, 50], [20, 20, 60, 70]),
    "around": ([10, 10, 90, 80], [20, 20, 60, 70]),
    "far apart": ([0, 0, 10, 20], [70, 60, 100, 100]),
    "touching by a side": ([10, 20, 40, 60], [40, 30, 80, 50]),
    "touching by a corner": ([10, 10, 40, 40], [40, 40, 80, 70]),
    "centres one on the other": ([40, 20, 60, 80], [20, 40, 80, 60]),
    "flat, no height": ([10, 30, 40, 30], [20, 20, 60, 70]),
    "flat, no width": ([30, 10, 30, 90], [20, 20, 60, 70]),
    "both flat": ([10, 30, 40, 30], [20, 30, 60, 30]),
    "a point": ([30, 30, 30, 30], [20, 20, 60, 70]),
    "two points": ([30, 30, 30, 30], [30, 30, 30, 30]),
    "a point outside": ([5, 5, 5, 5], [20, 20, 60, 70]),
}


def random_box(numbers: random.Random) -> list[float]:
    """A box anywhere in the picture; every third has whole numbers, so that sides meet."""
    draw = (lambda: numbers.randint(0, 100)) if numbers.random() < 0.3 else None
    x1, x2 = sorted((draw or (lambda: numbers.uniform(0, 100)))() for _ in range(2))
    y1, y2 = sorted((draw or (lambda: numbers.uniform(0, 100)))() for _ in range(2))
    return [x1, y1, x2, y2]


def states() -> list[dict]:
    numbers = random.Random(0)
    pairs = [*SPECIAL.values()] + [(random_box(numbers), random_box(numbers)) for _ in range(80)]
    return [
        {"pred": pred, "target": target, "loss": NAMES[i % 4]}
        for i, (pred, target) in enumerate(pairs)
    ]


def one_box(box: list[float]) -> torch.Tensor:
    return torch.tensor([box], dtype=torch.float64)


def loss_and_slope(name: str, pred: list[float], target: list[float]) -> tuple[float, list[float]]:
    box = one_box(pred).requires_grad_()
    loss = getattr(losses, f"{name}_loss")(box, one_box(target))
    loss.sum().backward()
    return float(loss.detach()), box.grad[0].tolist()


def test_numbers_and_slopes_are_the_packages(open_figures) -> None:
    given = states()
    assert len(given) >= 90
    for state, got in zip(given, open_figures(explore.two_boxes()).in_states(given)):
        assert (got["pred"], got["target"]) == (state["pred"], state["target"])
        pred, target = (one_box(state[key]) for key in ("pred", "target"))

        for name in NAMES:
            value = float(VALUES[name](pred, target))
            assert got["values"][name] == pytest.approx(value, abs=1e-9), (name, state)
            loss, slope = loss_and_slope(name, state["pred"], state["target"])
            assert got["losses"][name] == pytest.approx(loss, abs=1e-9), (name, state)
            assert got["gradients"][name] == pytest.approx(slope, abs=1e-9), (name, state)

        intersection, union = boxes.intersection_and_union(pred, target)
        assert got["parts"]["intersection"] == pytest.approx(float(intersection), abs=1e-9)
        assert got["parts"]["union"] == pytest.approx(float(union), abs=1e-9)
        aspect = boxes.aspect_penalty(pred, target, boxes.paired_iou(pred, target))
        assert got["values"]["aspect"] == pytest.approx(float(aspect), abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_descent_is_gradient_descent(open_figures, name: str) -> None:
    start, target, steps = [5.0, 8.0, 25.0, 40.0], [50.0, 45.0, 90.0, 65.0], 200
    given = {"pred": start, "target": target, "loss": name}
    figure = open_figures(explore.two_boxes())
    after = figure.in_states([given | {"steps": step} for step in range(steps + 1)])

    # Step by step, since near the end the sides jump over their goal, and to which side of it the
    # last digit decides.
    for step in range(steps):
        before = after[step]["pred"]
        _, slope = loss_and_slope(name, before, target)
        box = [at - 300 * (1 - step / steps) * part for at, part in zip(before, slope)]
        box[2:] = max(box[0] + 1, box[2]), max(box[1] + 1, box[3])
        assert after[step + 1]["pred"] == pytest.approx(box, abs=1e-6), step

    # The line in the chart is the IoU of these boxes.
    iou = [float(boxes.box_iou(one_box(got["pred"]), one_box(target))) for got in after]
    assert after[-1]["paths"][name] == pytest.approx(iou, abs=1e-6)
    if name == "iou":
        assert after[-1]["pred"] == start  # apart: nothing pulls
    else:
        assert iou[-1] > 0.9


def test_it_is_worked_by_keys_alone(open_figures) -> None:
    figure = open_figures(explore.two_boxes((10, 10, 40, 40), (50, 50, 80, 80)))
    keys = figure.page.keyboard
    labels = []
    for _ in range(10):
        keys.press("Tab")
        labels.append(figure.page.evaluate("document.activeElement.getAttribute('aria-label')"))
        keys.press("Shift+ArrowRight")
        keys.press("ArrowUp")
    assert labels[:2] == ["true box", "predicted box"]
    assert labels[2:6] == [
        f"true box, {place} corner"
        for place in ("top left", "top right", "bottom left", "bottom right")
    ]

    # Each box as a whole, then each of its corners: two of them move each side.
    got = figure.get()
    assert got["target"] == [80, 47, 100, 77]
    assert got["pred"] == [40, 7, 70, 37]

    keys.press("Tab")  # the chosen loss
    keys.press("ArrowRight")
    assert figure.get()["loss"] == "diou"
    keys.press("Tab")
    keys.press("Tab")
    keys.press("Enter")  # one step
    assert figure.get()["steps"] == 1
    keys.press("Tab")
    keys.press("Enter")
    assert figure.get()["pred"] == got["pred"]


def test_a_corner_stops_at_the_opposite_one(open_figures) -> None:
    figure = open_figures(explore.two_boxes((10, 10, 30, 30)))
    figure.page.locator("[aria-label='predicted box, bottom right corner']").focus()
    for _ in range(4):
        figure.page.keyboard.press("Shift+ArrowLeft")
    assert figure.get()["pred"] == [10, 10, 10, 30]
    for _ in range(12):
        figure.page.keyboard.press("Shift+ArrowDown")
    assert figure.get()["pred"] == [10, 10, 10, 100]


def test_both_boxes_are_dragged(open_figures) -> None:
    figure = open_figures(explore.two_boxes((10, 10, 30, 30), (60, 60, 90, 90)), width=390)
    for label, box in (("predicted box", "pred"), ("true box", "target")):
        before = figure.get()[box]
        area = figure.page.locator(f"[aria-label='{label}'] rect").nth(1).bounding_box()
        middle = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
        figure.page.mouse.move(*middle)
        figure.page.mouse.down()
        figure.page.mouse.move(middle[0] + 2.86 * 5, middle[1] - 2.86 * 3)
        figure.page.mouse.up()
        assert figure.get()[box] == [x + d for x, d in zip(before, (5, -3, 5, -3))]


def test_the_descent_runs_and_stops(open_figures) -> None:
    figure = open_figures(explore.two_boxes())
    figure.page.get_by_text("let it descend").click()
    figure.page.wait_for_function(
        "document.querySelector('.detlearn-explore').detlearn.get().steps > 3"
    )
    figure.page.get_by_text("pause").click()
    stopped = figure.get()["steps"]
    figure.page.wait_for_timeout(200)
    assert figure.get()["steps"] == stopped
    assert 3 < stopped < 200


def test_without_movement_the_descent_is_there_at_once(open_figures) -> None:
    figure = open_figures(explore.two_boxes(), still=True)
    figure.page.get_by_text("let it descend").click()
    assert figure.get()["steps"] == 200
    assert figure.page.get_by_text("pause").count() == 0


def test_the_button_says_what_it_would_do_and_begins_anew_at_the_end(open_figures) -> None:
    figure = open_figures(explore.two_boxes())
    figure.page.get_by_text("let it descend").click()
    figure.page.get_by_text("pause").click()
    assert figure.page.get_by_text("let it descend").count() == 1

    start = figure.get()["start"]
    figure.set({"steps": 200})
    figure.page.get_by_text("one step").click()
    assert figure.get()["steps"] == 1
    figure.page.get_by_text("back to the start").click()
    assert (figure.get()["steps"], figure.get()["pred"]) == (0, start)

    figure.set({"steps": 200})
    figure.page.get_by_text("let it descend").click()
    figure.page.wait_for_function(
        "(s => s > 0 && s < 150)(document.querySelector('.detlearn-explore').detlearn.get().steps)",
        timeout=5000,
    )


def test_a_hand_on_a_box_ends_the_descent(open_figures) -> None:
    figure = open_figures(explore.two_boxes())
    figure.page.get_by_text("let it descend").click()
    figure.page.wait_for_function(
        "document.querySelector('.detlearn-explore').detlearn.get().steps > 3"
    )
    figure.page.locator("[aria-label='predicted box']").focus()
    figure.page.keyboard.press("ArrowRight")
    moved = figure.get()
    assert (moved["steps"], moved["paths"]) == (0, {})
    assert moved["start"] == moved["pred"]
    figure.page.wait_for_timeout(200)
    assert figure.get() == moved


def test_another_loss_starts_where_the_last_one_did(open_figures) -> None:
    figure = open_figures(explore.two_boxes())
    start = figure.get()["pred"]
    figure.set({"steps": 20})
    figure.page.get_by_role("radio", name="CIoU").check()
    assert (figure.get()["pred"], figure.get()["steps"]) == (start, 0)
    figure.page.get_by_text("one step").click()
    assert [len(path) for path in figure.get()["paths"].values()] == [21, 2]


def numbers_in(text: str) -> list[float]:
    return [float(found.replace("−", "-")) for found in re.findall(r"[−-]?\d+(?:\.\d+)?", text)]


# Overlapping, apart, one inside the other, equal.
TOLD = [
    ([10, 14, 44, 54], [34, 34, 84, 68]),
    ([5, 5, 20, 30], [60, 40, 90, 80]),
    ([30, 30, 40, 50], [20, 20, 60, 70]),
    ([20, 20, 50, 60], [20, 20, 50, 60]),
]


@pytest.mark.parametrize("loss", NAMES)
def test_what_is_written_is_what_was_worked_out(open_figures, loss: str) -> None:
    figure = open_figures(explore.two_boxes())
    for pred, target in TOLD:
        figure.set({"pred": pred, "target": target, "loss": loss})
        got = figure.get()
        assert figure.page.locator("input:checked").get_attribute("value") == loss

        rows = figure.page.locator("tbody tr")
        for i, name in enumerate(NAMES):
            value, own_loss = rows.nth(i).locator("td").all_inner_texts()[1:]
            assert numbers_in(value) == [pytest.approx(got["values"][name], abs=5e-4)]
            assert numbers_in(own_loss) == [pytest.approx(got["losses"][name], abs=5e-4)]
        assert "chosen" in rows.nth(NAMES.index(loss)).get_attribute("class")

        # What stands worked out gives the value, as far as its rounded numbers go.
        ways = [row.split("=")[1] for row in figure.page.locator("td.how").all_inner_texts()]
        intersection, union = numbers_in(ways[0])
        assert got["values"]["iou"] == pytest.approx(intersection / union, abs=0.01)
        for way, name in zip(ways[1:3], NAMES[1:3]):
            iou, above, below = numbers_in(way.replace("− ", ""))
            assert got["values"][name] == pytest.approx(iou - above / below, abs=0.01)

        slopes = figure.page.get_by_text("Slopes of the").inner_text()
        said = numbers_in(slopes.split(":")[1].split(". ")[0])
        assert said == pytest.approx(got["gradients"][loss], abs=5.1e-5)
        assert ("No side knows" in slopes) == (not any(got["gradients"][loss]))


def test_the_picture_shows_the_boxes_and_the_way_down(open_figures) -> None:
    figure = open_figures(explore.two_boxes())
    figure.set({"pred": [10, 14, 44, 54], "target": [34, 34, 84, 68], "loss": "giou"})
    (shared,) = figure.page.evaluate(
        "[...document.querySelectorAll('rect[fill-opacity=\"0.2\"]')].map((r) => "
        "['x', 'y', 'width', 'height'].map((name) => Number(r.getAttribute(name))))"
    )
    assert shared == [34, 34, 10, 20]

    # An arrow begins in the middle of its side and goes against the slope.
    arrows = figure.page.evaluate(
        "[...document.querySelectorAll('g[fill=\"var(--blue)\"] > g > line')].map((line) => "
        "['x1', 'y1', 'x2', 'y2'].map((name) => Number(line.getAttribute(name))))"
    )
    slope = figure.get()["gradients"]["giou"]
    starts = [[10, 34], [27, 14], [44, 34], [27, 54]]
    assert [arrow[:2] for arrow in arrows] == starts
    for i, (x1, y1, x2, y2) in enumerate(arrows):
        along, across = (y2 - y1, x2 - x1) if i % 2 else (x2 - x1, y2 - y1)
        assert along == pytest.approx(max(-30, min(30, -800 * slope[i])))
        assert across == 0

    # The ticks count the pixels in which the boxes lie.
    box = figure.page.locator("[aria-label='predicted box'] rect").nth(1).bounding_box()
    for text, anchor, edge in (("40", "end", "y"), ("20", "middle", "x")):
        figure.set({"pred": [20, 40, 60, 80]})
        tick = figure.page.locator(f"svg[role=group] text[text-anchor={anchor}]", has_text=text)
        place = tick.first.bounding_box()
        middle = place[edge] + place["height" if edge == "y" else "width"] / 2
        box = figure.page.locator("[aria-label='predicted box'] rect").nth(1).bounding_box()
        assert box[edge] == pytest.approx(middle, abs=3)


def test_a_box_stays_in_the_picture(open_figures) -> None:
    figure = open_figures(explore.two_boxes((10, 10, 40, 30)))
    figure.page.locator("[aria-label='predicted box']").focus()
    for keys, box in (
        (("Shift+ArrowRight",) * 8, [70, 10, 100, 30]),
        (("Shift+ArrowDown",) * 8, [70, 80, 100, 100]),
        (("Shift+ArrowLeft",) * 8, [0, 80, 30, 100]),
        (("Shift+ArrowUp",) * 9, [0, 0, 30, 20]),
    ):
        for key in keys:
            figure.page.keyboard.press(key)
        assert figure.get()["pred"] == box


def test_the_chosen_loss_is_said(open_figures) -> None:
    figure = open_figures(explore.two_boxes())
    figure.set({"loss": "ciou"})
    loss = figure.get()["losses"]["ciou"]
    figure.page.wait_for_function(
        "text => document.querySelector('[aria-live]').textContent.endsWith(text)",
        arg=f"the CIoU loss is {loss:.2f}.",
        timeout=3000,
    )


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    page = open_figures(explore.two_boxes(), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_says_what_it_is() -> None:
    figure = explore.two_boxes()
    assert len(figure._repr_html_().encode()) <= 60_000
    assert repr(figure).startswith("Two boxes to drag")


def test_the_still_picture_says_the_numbers() -> None:
    pred, target = [10, 14, 44, 54], [34, 34, 84, 68]
    iou = float(boxes.box_iou(one_box(pred), one_box(target)))
    giou = float(boxes.generalized_box_iou(one_box(pred), one_box(target)))
    still = explore.two_boxes(pred, target).still
    assert f"IoU {iou:.2f}, GIoU {giou:.2f}" in still
    assert 'd="M10 14H44V54H10Z" stroke-width="1.2"/>' in still  # the predicted one is solid


@pytest.mark.parametrize("box", [(1, 2, 3), (50, 10, 40, 20), (0, 0, 10, 101), (-1, 0, 10, 10)])
def test_wrong_boxes_are_refused(box) -> None:
    with pytest.raises(ValueError, match=r"pred_box"):
        explore.two_boxes(box)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="siou"):
        explore.two_boxes(loss="siou")

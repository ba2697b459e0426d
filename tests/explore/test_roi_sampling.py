"""RoIPool against RoIAlign: the numbers are the package's, and the figure answers hand and keys."""

import random

import pytest
import torch

from detlearn import explore
from detlearn.explore.roi_sampling import FEATURES, STRIDE
from detlearn.roi import roi_align, roi_pool

SPECIAL = [
    {"x": 0.0, "y": 0.0, "width": 80.0, "height": 64.0},  # the whole map
    {"x": 16.0, "y": 16.0, "width": 32.0, "height": 16.0},  # along the cells
    {"x": 20.0, "y": 12.0, "width": 24.0, "height": 24.0},  # halves, which are rounded up
    {"x": -12.0, "y": -4.0, "width": 24.0, "height": 24.0},  # halves below 0
    {"x": -14.0, "y": -14.0, "width": 6.0, "height": 6.0},  # outside altogether
    {"x": 84.0, "y": 66.0, "width": 8.0, "height": 8.0},
    {"x": 30.0, "y": 20.0, "width": 0.25, "height": 40.0},  # thin
    {"x": 30.0, "y": 20.0, "width": 40.0, "height": 0.25},
    {"x": 70.0, "y": 50.0, "width": 24.0, "height": 28.0},  # over the last corner
]


def states() -> list[dict]:
    numbers = random.Random(0)
    boxes = list(SPECIAL)
    for i in range(80):
        # Every other box stands on quarters of a pixel, where the reader's hand puts it.
        digits = (lambda x: round(4 * x) / 4) if i % 2 else float
        x, y = numbers.uniform(-20, 80), numbers.uniform(-20, 64)
        width, height = numbers.uniform(0.2, 60), numbers.uniform(0.2, 60)
        boxes.append(
            {
                "x": digits(x),
                "y": digits(y),
                "width": digits(width) or 0.25,
                "height": digits(height) or 0.25,
            }
        )
    return [
        {**box, "bins": 1 + i % 3, "points": (2, 1, 0)[i // 3 % 3], "bin": 0}
        for i, box in enumerate(boxes)
    ]


def test_every_bin_is_the_packages(open_figures) -> None:
    features = torch.tensor(FEATURES, dtype=torch.float64)[None, None]
    given = states()
    differing = 0
    for state, got in zip(given, open_figures(explore.roi_sampling()).in_states(given)):
        x, y = state["x"], state["y"]
        corners = [x, y, x + state["width"], y + state["height"]]
        box = torch.tensor([corners], dtype=torch.float64)

        scale, bins = 1 / STRIDE, state["bins"]
        pooled = roi_pool(features, [box], bins, scale).flatten()
        aligned = roi_align(features, [box], bins, scale, state["points"], aligned=True).flatten()
        assert got["pool"] == pooled.tolist(), state
        assert got["align"] == pytest.approx(aligned.tolist(), abs=1e-9), state
        assert got["difference"] == pytest.approx((aligned - pooled).tolist(), abs=1e-9)
        differing += int((pooled - aligned).abs().max() > 0.5)

    assert differing > 40  # the states tell the two apart


def test_a_step_within_a_cell_moves_roi_align_alone(open_figures) -> None:
    figure = open_figures(explore.roi_sampling())
    box = figure.page.locator("[aria-label='box under RoIPool']")
    box.focus()
    before = figure.get()
    figure.page.keyboard.press("ArrowRight")
    after = figure.get()
    assert after["x"] == before["x"] + 0.25
    assert after["pool"] == before["pool"]
    assert sum(new != old for new, old in zip(after["align"], before["align"])) >= 3
    assert box.get_attribute("aria-valuetext") == "left 17.25, top 9.00, 24.00 wide, 24.00 high"

    # From 20 pixels on, 2.5 cells, the left side is rounded to the next cell.
    figure.set({"x": 19.75})
    assert figure.get()["pool"] == before["pool"]
    figure.set({"x": 20.0})
    assert figure.get()["pool"] != before["pool"]


def test_keys_drag_and_sliders_move_the_box(open_figures) -> None:
    figure = open_figures(explore.roi_sampling())
    figure.page.locator("[aria-label='box under RoIAlign, bottom right corner']").focus()
    figure.page.keyboard.press("Shift+ArrowDown")
    figure.page.keyboard.press("ArrowLeft")
    assert (figure.get()["width"], figure.get()["height"]) == (23.75, 26.5)

    picture = figure.page.locator("[aria-label='box under RoIPool'] rect").first
    area = picture.bounding_box()
    pixel = area["width"] / 23.75
    x, y = area["x"] + area["width"] / 3, area["y"] + area["height"] / 3
    figure.page.mouse.move(x, y)
    figure.page.mouse.down()
    figure.page.mouse.move(x + 3 * pixel, y - 5 * pixel)
    figure.page.mouse.up()
    assert figure.get()["x"] == pytest.approx(20, abs=0.5)
    assert figure.get()["y"] == pytest.approx(4, abs=0.5)
    assert figure.get()["x"] * 4 % 1 == 0

    figure.page.get_by_label("left, px").fill("-3.25")
    assert figure.get()["x"] == -3.25
    figure.page.get_by_role("radio", name="3 × 3").check()
    assert len(figure.get()["pool"]) == 9
    figure.page.get_by_role("radio", name="bin 9").check()
    assert figure.get()["bin"] == 8
    figure.page.get_by_role("radio", name="1 × 1").check()
    assert figure.get()["bin"] == 0
    figure.page.get_by_role("radio", name="one a cell").check()
    assert figure.get()["points"] == 0
    figure.page.get_by_text("back to the start").click()
    assert figure.get()["x"] == 17


def test_it_says_what_is_read(open_figures) -> None:
    figure = open_figures(explore.roi_sampling())
    figure.set({"x": 16, "y": 16, "width": 16, "height": 16, "bins": 1, "points": 1, "bin": 0})
    text = figure.page.locator(".detlearn-explore").inner_text()
    assert "columns 2 to 4, rows 2 to 4. Bin 1 reads 9 cells: their maximum is 9." in text
    assert "Bin 1 reads 1 point (4.50): their mean is 4.50." in text
    figure.set({"x": -20, "width": 2})
    assert "no cell on the map" in figure.page.locator(".detlearn-explore").inner_text()


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    page = open_figures(explore.roi_sampling(), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_has_a_still_picture() -> None:
    figure = explore.roi_sampling()
    assert len(figure._repr_html_().encode()) <= 60_000
    assert "by RoIAlign" in figure.still

"""RoIPool against RoIAlign: the numbers are the package's, and the figure answers hand and keys."""

import random
import re

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


def test_what_is_drawn_and_written_is_what_was_worked_out(open_figures) -> None:
    figure = open_figures(explore.roi_sampling())
    for i, state in enumerate(states()[:16]):
        bins = state["bins"]
        figure.set({**state, "bin": i % (bins * bins)})
        got = figure.get()

        tiles = figure.page.locator("fieldset", has_text="What each bin becomes").locator("label")
        assert tiles.count() == bins * bins
        for tile, *values in zip(tiles.all(), got["pool"], got["align"], got["difference"]):
            said = [text.replace("−", "-") for text in tile.locator("output").all_inner_texts()]
            assert [float(text) for text in said] == pytest.approx(values, abs=5.1e-3)
        assert tiles.nth(got["bin"]).locator("input").is_checked()

        # The notes tell of the chosen bin, the dots on the curves lie at its values.
        pool, align = figure.page.locator("p.note").all_inner_texts()
        assert f"Bin {got['bin'] + 1} " in pool and f"Bin {got['bin'] + 1} reads" in align
        chosen = {kind: got[kind][got["bin"]] for kind in ("pool", "align")}
        said = float(align.rstrip(".").rsplit(" ", 1)[1].replace("−", "-"))
        assert said == pytest.approx(chosen["align"], abs=5.1e-3)

        dots = figure.page.locator("svg[aria-label^='Value of the chosen bin'] circle")
        for dot, value in zip(dots.all(), chosen.values(), strict=True):
            assert float(dot.get_attribute("cy")) == pytest.approx(180 - 17 * value)
            # From −10 to 80 pixels on 286 units.
            across = 44 + (state["x"] + 10) / 90 * 286
            assert float(dot.get_attribute("cx")) == pytest.approx(across)


def test_the_curves_are_the_values_of_the_bin_at_each_place(open_figures) -> None:
    figure = open_figures(explore.roi_sampling())
    for bin_ in (0, 3):
        figure.set({"bin": bin_})
        chart = figure.page.locator("svg[aria-label^='Value of the chosen bin'] path")
        lines = [chart.nth(i).get_attribute("d") for i in (0, 1)]
        places = figure.in_states([{"x": -10 + 0.25 * i} for i in range(361)])
        for line, kind in zip(lines, ("pool", "align")):
            drawn = [float(y) for y in re.findall(r"[ML]\S+ (\S+?)(?=L|$)", line)]
            wanted = [180 - 17 * got[kind][bin_] for got in places]
            assert drawn == pytest.approx(wanted, abs=0.006)


def test_points_and_cells_are_drawn_where_they_are_read(open_figures) -> None:
    """The value of cell (i, j) stands in its middle, at (j + ½, i + ½)."""
    figure = open_figures(explore.roi_sampling())
    figure.set({"x": 16, "y": 16, "width": 16, "height": 16, "bins": 1, "points": 2, "bin": 0})
    places = "circles => circles.map((c) => ['cx', 'cy'].map((n) => Number(c.getAttribute(n))))"
    pool, align = (
        figure.page.locator(f"svg[aria-label='feature map, {name}'] > g").first
        for name in ("RoIPool", "RoIAlign")
    )
    points = align.locator("circle").evaluate_all(places)
    assert points == [[2.5, 2.5], [3.5, 2.5], [2.5, 3.5], [3.5, 3.5]]
    assert pool.locator("circle").evaluate_all(places) == [[4.5, 3.5]]  # the 9 of the map

    # The rounded box with its last column and row, then the cells of the bin: the same here.
    rects = pool.locator("rect").evaluate_all(
        "rects => rects.map((rect) => ['x', 'y', 'width', 'height'].map("
        "(name) => Number(rect.getAttribute(name))))"
    )
    assert rects == [[2, 2, 3, 3], [2, 2, 3, 3]]

    # The darker a cell, the larger its value.
    shades = figure.page.locator("svg[aria-label='feature map, RoIPool'] > rect").evaluate_all(
        "rects => rects.map((rect) => Number(rect.getAttribute('fill-opacity')))"
    )
    assert shades == pytest.approx([0.5 * value / 9 for row in FEATURES for value in row])


def test_the_border_of_the_map_still_counts(open_figures) -> None:
    """A point one cell outside reads the border's cell; one further, nothing (as torchvision)."""
    features = torch.tensor(FEATURES, dtype=torch.float64)[None, None]
    figure = open_figures(explore.roi_sampling())
    on_it = {"width": 8.0, "height": 8.0, "bins": 1, "points": 1, "bin": 0}
    for x, y in ((-8.0, 48.0), (24.0, -8.0), (80.0, 16.0), (24.0, 64.0), (-8.25, 48.0)):
        figure.set({**on_it, "x": x, "y": y})
        box = torch.tensor([[x, y, x + 8, y + 8]], dtype=torch.float64)
        aligned = roi_align(features, [box], 1, 1 / STRIDE, 1, aligned=True)
        assert figure.get()["align"] == [pytest.approx(aligned.item())]
    figure.set({**on_it, "x": -8.0, "y": 48.0})
    assert figure.get()["align"] == [1.0]  # the lower left of the map


def test_the_box_stays_within_reach_and_all_of_it_goes_back(open_figures) -> None:
    figure = open_figures(explore.roi_sampling())
    start = figure.get()
    figure.page.locator("[aria-label='box under RoIPool']").focus()
    for _ in range(24):
        figure.page.keyboard.press("Shift+ArrowLeft")
    assert figure.get()["x"] == -8
    for _ in range(10):
        figure.page.keyboard.press("Shift+ArrowUp")
    assert figure.get()["y"] == -8

    figure.set({"bins": 3, "points": 0, "bin": 7})
    figure.page.get_by_text("back to the start").click()
    assert figure.get() == start


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    page = open_figures(explore.roi_sampling(), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_has_a_still_picture() -> None:
    figure = explore.roi_sampling()
    assert len(figure._repr_html_().encode()) <= 60_000

    # What the still picture says of the box is what the package makes of it.
    features = torch.tensor(FEATURES, dtype=torch.float64)[None, None]
    box = torch.tensor([[17.0, 9, 41, 33]], dtype=torch.float64)
    pooled = roi_pool(features, [box], 2, 1 / STRIDE).flatten().tolist()
    aligned = roi_align(features, [box], 2, 1 / STRIDE, 2, aligned=True).flatten().tolist()
    assert f"by RoIPool: {' '.join(f'{x:.2f}' for x in pooled)}<" in figure.still
    assert f"by RoIAlign: {' '.join(f'{x:.2f}' for x in aligned)}<" in figure.still

"""The figure of CenterNet's Gaussian: radii, overlaps and bumps are the package's."""

import random

import pytest
import torch

from detlearn import explore
from detlearn.boxes import box_iou
from detlearn.explore.centre_gaussian import CELLS
from detlearn.models.centernet import (
    centre_locations,
    draw_gaussians,
    gaussian_radius,
    official_gaussian_radius,
)

MOVES = {"both inward": (1, 1, -1, -1), "both outward": (-1, -1, 1, 1), "both alike": (1, 1, 1, 1)}
CLOSE = {"rtol": 0, "atol": 1e-6}


def random_state(numbers: random.Random) -> dict:
    """A state that a reader can reach, and boxes of all aspects between the steps of a drag."""
    sides = [numbers.uniform(0.5, CELLS) for _ in range(2)]
    if numbers.random() < 0.3:
        sides[numbers.randrange(2)] = numbers.uniform(0.5, 2.0)
    x, y = (numbers.uniform(0, CELLS - side) for side in sides)
    return {
        "box": [x, y, x + sides[0], y + sides[1]],
        "minOverlap": numbers.choice([0.7, 0.5, 0.05, 0.95, numbers.uniform(0.05, 0.95)]),
        "radius": numbers.choice(["right", "official"]),
        "chosen": numbers.randrange(3),
    }


def as_tensor(numbers: list) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_its_numbers_are_the_packages(open_figures) -> None:
    numbers = random.Random(0)
    given = [random_state(numbers) for _ in range(150)]
    vanished = 0
    for state, got in zip(given, open_figures(explore.centre_gaussian()).in_states(given)):
        box, t = as_tensor(state["box"]), state["minOverlap"]
        sides = (box[2:] - box[:2])[None]
        radii = {
            "right": gaussian_radius(sides, t),
            "official": official_gaussian_radius(sides, t),
        }
        (centre,) = centre_locations(box[None], CELLS, CELLS, 1)
        assert got["centre"] == centre.tolist()

        for name, radius in radii.items():
            assert got["radii"][name] == pytest.approx(radius.item(), abs=1e-6)
            bump = draw_gaussians(centre[None], radius, torch.tensor([0]), 1, CELLS, CELLS)
            torch.testing.assert_close(as_tensor(got["bumps"][name]), bump[0], **CLOSE)
            assert got["sigmas"][name] == (2 * int(radius) + 1) / 6

            for i, move in enumerate(MOVES.values()):
                moved = box + radius * as_tensor(move)
                torch.testing.assert_close(as_tensor(got["boxes"][name][i]), moved, **CLOSE)
                there = bool((moved[:2] < moved[2:]).all())
                iou = box_iou(box[None], moved[None]).item() if there else 0.0
                assert got["overlaps"][name][i] == pytest.approx(iou, abs=1e-6)
                vanished += not there

        # Where each case has exactly the overlap, and that the least of the three is the radius.
        for r, move in zip(got["ofCases"], MOVES.values()):
            moved = box + r * as_tensor(move)
            assert box_iou(box[None], moved[None]).item() == pytest.approx(t, abs=1e-6)
        assert min(got["overlaps"]["right"]) == pytest.approx(t, abs=1e-6)
    assert vanished > 5


def test_it_says_what_is_to_be_seen(open_figures) -> None:
    figure = open_figures(explore.centre_gaussian())
    says = figure.page.locator("p.sentence")
    figure.set({"box": [4, 4, 20, 20], "minOverlap": 0.7, "radius": "right"})
    # 16 · (1 − √.7) / 2 = 1.31
    assert says.inner_text() == (
        "The right radius is 1.31. Whichever way the corners move, the IoU stays at 0.70 or more. "
        "Its bump reaches 1 location each way, 9 in all, with σ = 0.50."
    )
    figure.set({"radius": "official"})
    # 3.35 times that: (16 − 2 · 4.37)² / 16² = .21
    assert says.inner_text() == (
        "The official radius is 4.37. In the worst case the IoU is 0.21, not 0.70. "
        "Its bump reaches 4 locations each way, 81 in all, with σ = 1.50."
    )
    figure.set({"box": [4, 4, 8, 8], "radius": "right"})
    assert says.inner_text().endswith("Its bump is the centre’s location alone.")

    cells = figure.page.locator("tbody tr").first.locator("td").all_inner_texts()
    assert cells == ["0.33", "0.70", "0.21 < t"]
    last = figure.page.locator("tbody tr").last.locator("td").all_inner_texts()
    assert last == ["", "0.33", "1.09"]
    assert figure.page.locator("tr.chosen th").inner_text() == "both inward"


def test_sides_are_dragged_and_go_by_keys(open_figures) -> None:
    figure = open_figures(explore.centre_gaussian(box=(4, 4, 20, 20)))
    page = figure.page
    picture = page.locator("svg[aria-label='an object on the map'] g.movable").first
    right = page.locator("[aria-label='right side']")
    at, before = right.bounding_box(), page.locator("[aria-label='left side']").bounding_box()
    cell = (at["x"] - before["x"]) / 16
    assert picture.count() == 1

    middle = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] - 5.1 * cell, middle[1] + 3 * cell)
    page.mouse.up()
    assert figure.get()["box"] == [4, 4, 15, 20]

    right.focus()
    page.keyboard.press("ArrowRight")
    assert figure.get()["box"] == [4, 4, 15.25, 20]
    assert right.get_attribute("aria-valuetext") == "right side at 15.25"
    page.keyboard.press("ArrowUp")  # a side goes one way only
    assert figure.get()["box"] == [4, 4, 15.25, 20]
    top = page.locator("[aria-label='top side']")
    top.focus()
    for _ in range(9):
        page.keyboard.press("Shift+ArrowDown")
    assert figure.get()["box"] == [4, 19.5, 15.25, 20]  # before the opposite side

    whole = page.locator("[aria-label='the object']")
    whole.focus()
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("ArrowUp")
    x1, y1, x2, _ = figure.get()["box"]
    assert (x1, y1) == (1.5, 19.25) and x2 - x1 == 11.25
    for _ in range(9):
        page.keyboard.press("Shift+ArrowRight")
    assert figure.get()["box"][2] == CELLS


def test_the_controls(open_figures) -> None:
    figure = open_figures(explore.centre_gaussian())
    page = figure.page
    page.get_by_role("slider", name="least overlap t").fill("0.5")
    assert figure.get()["minOverlap"] == 0.5
    page.get_by_role("radio", name="both alike").check()
    page.get_by_role("radio", name="official", exact=True).check()
    assert (figure.get()["chosen"], figure.get()["radius"]) == (2, "official")
    assert page.locator("tr.chosen th").inner_text() == "both alike"
    for name, sides in (("square", (16, 16)), ("narrow", (6, 22)), ("small", (4, 5))):
        page.get_by_role("button", name=name).click()
        x1, y1, x2, y2 = figure.get()["box"]
        assert (x2 - x1, y2 - y1) == sides
    page.get_by_role("button", name="back to the start").click()
    got = figure.get()
    assert (got["box"], got["minOverlap"], got["radius"]) == ([3, 5, 20, 18], 0.7, "right")


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_can_be_read(open_figures, width: int) -> None:
    page = open_figures(explore.centre_gaussian(), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    heights = page.evaluate(
        """() => [...document.querySelectorAll('.stage svg text')].map((text) => {
          const { a, b } = text.getScreenCTM();
          return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b);
        })"""
    )
    assert min(heights) >= 9


def test_it_is_small_and_has_a_still_picture() -> None:
    figure = explore.centre_gaussian()
    assert len(figure._repr_html_().encode()) <= 60_000
    assert figure.still.count("<path") >= 9 + 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"box": (3, 3, 3, 9)}, "box must lie in .0, 24., first corner first"),
        ({"box": (-1, 3, 5, 9)}, "box must lie in"),
        ({"box": (1, 3, 5, 25)}, "box must lie in"),
        ({"min_overlap": 1.0}, "min_overlap is 1.0: expected 0.05 … 0.95"),
        ({"radius": "wrong"}, "radius is 'wrong'"),
    ],
)
def test_what_is_refused(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        explore.centre_gaussian(**arguments)

"""Accuracy against latency: the budget, the front and the axis are worked out here once more."""

import math

import pytest
from from_models import comparison

from detlearn import explore
from detlearn.explore.accuracy_latency import COSTS, FAMILIES, family_of
from detlearn.models import BUILDERS

FAMILY_NAMES = ("this book", *FAMILIES, "torchvision")


def made():
    return explore.accuracy_latency(**comparison())


def states():
    return [
        {"cost": cost, "scale": scale, "family": family, "budget": budget / 4}
        for cost in COSTS
        for scale in ("log", "linear")
        for family in ("all", *FAMILY_NAMES)
        for budget in range(5)
    ]


def shown_of(family, points):
    """The points of a family, of all, or of all but torchvision."""
    if family == "this book":
        return [p for p in points if p["family"] != "torchvision"]
    return [p for p in points if family in ("all", p["family"])]


def axis(costs, scale):
    places = [math.log10(cost) if scale == "log" else cost for cost in costs]
    room = 0.06 * (max(places) - min(places)) or 0.06 * abs(max(places)) or 1
    low = min(places) - room
    return low if scale == "log" else max(low, 0), max(places) + room


def test_who_is_shown_who_is_best_and_whom_nobody_beats(open_figures) -> None:
    points = made().data["points"]
    figure = open_figures(made())
    given = states()
    assert len(given) == 280
    for state, got in zip(given, figure.in_states(given)):
        cost = state["cost"]
        shown = shown_of(state["family"], points)
        assert got["shown"] == [p["name"] for p in shown]

        low, high = axis([p[cost] for p in shown], state["scale"])
        place = low + state["budget"] * (high - low)
        budget = 10**place if state["scale"] == "log" else place
        assert got["budgetCost"] == pytest.approx(budget, rel=1e-9)

        affordable = [p for p in shown if p[cost] <= got["budgetCost"]]
        best = max(affordable, key=lambda p: p["ap"], default=None)
        assert got["best"] == (best["name"] if best else None)

        # Nobody beats those of the front, somebody every other.
        beaten = {
            p["name"]
            for p in shown
            if any(q[cost] <= p[cost] and q["ap"] > p["ap"] for q in shown)
            or any(q[cost] < p[cost] and q["ap"] == p["ap"] for q in shown)
        }
        assert set(got["front"]) == {p["name"] for p in shown} - beaten


def test_points_stand_where_their_numbers_are(open_figures) -> None:
    points = made().data["points"]
    figure = open_figures(made())
    for scale in ("log", "linear"):
        figure.set({"cost": "ms_batch_1", "scale": scale, "family": "all"})
        places = figure.get()["places"]
        low, high = axis([p["ms_batch_1"] for p in points], scale)
        for point in points:
            cost = point["ms_batch_1"]
            share = ((math.log10(cost) if scale == "log" else cost) - low) / (high - low)
            x, y = places[point["name"]]
            assert x == pytest.approx(46 + share * (440 - 14 - 46))
            assert 12 <= y <= 286
        order = sorted(points, key=lambda p: -p["ap"])
        heights = [places[p["name"]][1] for p in order]
        assert heights == sorted(heights)


def test_error_bars_are_one_deviation_long(open_figures) -> None:
    figure = open_figures(made())
    points = made().data["points"]
    paths = figure.page.evaluate(
        "[...document.querySelectorAll('g.movable > path')].map((p) => p.getAttribute('d'))"
    )
    tallest = max(p["ap"] + (p["spread"] or 0) for p in points)
    top = min(1, math.ceil(tallest * 10 + 0.2) / 10)
    for point, path in zip(points, paths):
        start, rest = path.removeprefix("M").split("V", 1)
        high, low = float(start.split()[1]), float(rest.split("M")[0])
        assert low - high == pytest.approx(2 * (point["spread"] or 0) / top * 274)


def test_pointing_and_focus_say_the_numbers(open_figures) -> None:
    figure = open_figures(made())
    point = made().data["points"][2]
    figure.page.locator(f"[aria-label^='{point['name']}, AP']").focus()
    text = figure.page.locator(".stage").inner_text()
    assert f"{point['name']} ({point['family']}): AP {point['ap']:.3f} ±" in text
    assert figure.get()["chosen"] == point["name"]

    # The last of some that overlap lies on top.
    (other,) = (p for p in made().data["points"] if p["name"] == "centernet")
    figure.page.locator(f"[aria-label^='{other['name']}, AP']").hover(force=True)
    assert figure.get()["chosen"] == other["name"]


def test_the_hand_works_the_controls(open_figures) -> None:
    figure = open_figures(made())
    figure.page.get_by_text("linear", exact=True).click()
    assert figure.get()["scale"] == "linear"
    figure.page.get_by_text("queries", exact=True).click()
    assert figure.get()["shown"] == ["detr", "deformable_detr"]
    figure.page.get_by_text("parameters", exact=True).click()
    assert figure.get()["cost"] == "parameters"
    figure.page.get_by_role("slider", name="budget").fill("0")
    assert figure.get()["best"] is None
    assert "none of those shown" in figure.page.locator(".stage").inner_text()
    figure.page.get_by_role("slider", name="budget").fill("1")
    assert figure.get()["best"] in ("detr", "deformable_detr")


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    page = open_figures(made(), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_detector_has_its_family() -> None:
    assert {family_of(name) for name in BUILDERS} == set(FAMILIES)
    members = [name for own in FAMILIES.values() for name in own]
    assert sorted(members) == sorted(BUILDERS)
    assert family_of("torchvision fcos 800") == "torchvision"


def test_who_was_not_measured_is_left_out() -> None:
    table = comparison()["table"]
    table.cells["fcos"]["ms_batch_1"] = None
    names = [point["name"] for point in explore.accuracy_latency(table).data["points"]]
    assert "fcos" not in names and "point" in names
    for row in table.cells.values():
        row["parameters"] = None
    with pytest.raises(ValueError, match="no detector of the table has an AP and all of"):
        explore.accuracy_latency(table)


def test_it_is_small_and_has_a_still_picture() -> None:
    figure = made()
    assert len(figure._repr_html_().encode()) <= 60_000
    assert figure.still.count("<circle") == 13

"""The figure of deformable attention: its points are the tensors', to the eight bits stored."""

import re

import pytest
import torch
from from_models import sampling

from detlearn import explore
from detlearn.explore.deformable_sampling import HEAD_COLOURS


def points_of(got: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Places (M · L · P, 2) and weights of what is shown."""
    points = got["points"]
    places = torch.tensor([[point["x"], point["y"]] for point in points], dtype=torch.float64)
    return places, torch.tensor([point["weight"] for point in points], dtype=torch.float64)


@pytest.mark.parametrize("boxes", [True, False])
def test_the_points_are_those_of_the_tensors(open_figures, boxes: bool) -> None:
    given = sampling(layers=3, queries=7, heads=5, sizes=((9, 12), (3, 4)), points=3, boxes=boxes)
    figure = open_figures(explore.deformable_sampling(**given))
    states = [{"layer": d, "query": q, "head": None} for d in range(3) for q in range(7)]
    moves = given["locations"] - given["references"][:, :, None, None, None, :2]
    steps = moves.abs().amax(dim=(0, 1, 2, 4, 5)) / 127  # (L,)
    tolerance = (0.5001 * steps + 1e-4)[None, :, None, None].expand(5, 2, 3, 2)

    for state, got in zip(states, figure.in_states(states), strict=True):
        of_query = (state["layer"], state["query"])
        places, weights = points_of(got)
        wrong = (places.view(5, 2, 3, 2) - given["locations"][of_query]).abs()
        assert (wrong <= tolerance).all()
        wanted = given["weights"][of_query]
        assert (weights - wanted.flatten()).abs().max() <= 0.5001 * given["weights"].max() / 255
        assert [point["head"] for point in got["points"]] == [m for m in range(5) for _ in range(6)]
        assert [point["level"] for point in got["points"]] == [0, 0, 0, 1, 1, 1] * 5

        # What is said of the levels follows from the points.
        pixels = (places - torch.tensor(got["reference"][:2], dtype=torch.float64)) * 128
        level = torch.tensor([point["level"] for point in got["points"]])
        for i, said in enumerate(got["levels"]):
            own = level == i
            assert said["share"] == pytest.approx((weights[own].sum() / weights.sum()).item())
            mean = (weights[own] * pixels[own].norm(dim=1)).sum() / weights[own].sum()
            assert said["distance"] == pytest.approx(mean.item(), rel=1e-9)
        assert got["outside"] == ((places < 0) | (places > 1)).any(dim=1).sum()


def test_what_is_drawn(open_figures) -> None:
    given = sampling()
    figure = open_figures(explore.deformable_sampling(**given, query=5))
    page = figure.page
    drawn = (
        "(svg) => [...svg.querySelectorAll('circle.point')].map((dot) => [...['cx', 'cy', 'r']"
        ".map((name) => Number(dot.getAttribute(name))), dot.getAttribute('fill')])"
    )
    whole = page.locator("svg[role=img]")
    panels = page.locator("svg[aria-hidden=true]")

    # All points on the image, on a level its own; the area is the weight.
    got = figure.get()
    assert (got["query"], got["layer"], got["head"]) == (5, 1, None) and panels.count() == 3
    wanted = [
        [128 * p["x"], 128 * p["y"], 5.5 * p["weight"] ** 0.5 * 1.28, HEAD_COLOURS[p["head"]]]
        for p in got["points"]
    ]
    shown = whole.evaluate(drawn)
    assert [dot[3] for dot in shown] == [dot[3] for dot in sorted(wanted, key=lambda dot: -dot[2])]
    for dot, expected in zip(shown, sorted(wanted, key=lambda dot: -dot[2]), strict=True):
        assert dot[:3] == pytest.approx(expected[:3])
    for i in range(3):
        own = [dot[:2] for dot, p in zip(wanted, got["points"]) if p["level"] == i]
        assert sorted(dot[:2] for dot in panels.nth(i).evaluate(drawn)) == sorted(own)

    # One head.
    page.get_by_role("group", name="head").get_by_role("radio", name="3").check()
    assert {dot[3] for dot in whole.evaluate(drawn)} == {HEAD_COLOURS[2]}
    assert len(whole.evaluate(drawn)) == 12
    says = page.locator("p.sentence").inner_text()
    assert "Query 6 in layer 2, at" in says and "reads 12 points of head 3." in says
    shares = [row.inner_text().split("\t") for row in page.locator("tbody tr").all()]
    assert [row[0] for row in shares] == ["16 × 16", "8 × 8", "4 × 4"]
    assert sum(int(row[1].split()[0]) for row in shares) in (99, 100, 101)


def test_on_an_image_that_is_not_square(open_figures) -> None:
    """Width is width and height is height, on the image, on the maps and in what is said."""
    given = sampling(sizes=((3, 4), (2, 2)))
    given["image"] = given["image"][:, :, :96]
    size = torch.tensor([96.0, 128.0], dtype=torch.float64)
    figure = open_figures(explore.deformable_sampling(**given, query=5))
    page, got = figure.page, figure.get()

    def numbers(selector: str, *names: str) -> list[list[float]]:
        return page.evaluate(
            "([selector, names]) => [...document.querySelectorAll(selector)].map((mark) => "
            "names.map((name) => Number(mark.getAttribute(name))))",
            [selector, names],
        )

    # Around the image a margin of 6 %.
    frames = page.locator("svg[role=img], svg[aria-hidden=true]").all()
    seen = [[float(n) for n in frame.get_attribute("viewBox").split()] for frame in frames]
    assert seen == [pytest.approx([-5.76, -7.68, 107.52, 143.36])] * 3

    # Points, references and the box of the one that is asked.
    places, weights = points_of(got)
    order = weights.argsort(descending=True, stable=True)
    dots = torch.tensor(numbers("svg[role=img] circle.point", "cx", "cy"), dtype=torch.float64)
    torch.testing.assert_close(dots, (places * size)[order])
    others = numbers("svg[role=img] circle:not(.point)", "cx", "cy")
    wanted = given["references"][1, :, :2] * size
    torch.testing.assert_close(torch.tensor(others).double(), wanted, rtol=0, atol=0.01)
    reference = torch.tensor(got["reference"], dtype=torch.float64)
    x, y, w, h = (reference * size.repeat(2)).tolist()
    frames = numbers("svg[role=img] g > rect", "x", "y", "width", "height")
    assert frames == [pytest.approx([x - w / 2, y - h / 2, w, h], abs=1e-6)] * 2
    crosses = page.locator("svg[role=img] > path").all()
    for cross in crosses:
        starts = re.findall(r"M(\S+?) (\S+?)[hv]", cross.get_attribute("d"))
        middles = [float(starts[1][0]), float(starts[0][1])]
        assert middles == pytest.approx([x, y])
    assert len(crosses) == 2

    # The cells of the levels: 3 × 4 of 24 × 42.7 pixels, 2 × 2 of 48 × 64.
    lines = [path.get_attribute("d") for path in page.locator("svg[aria-hidden=true] > path").all()]
    for line, (rows, columns) in zip(lines, given["sizes"], strict=True):
        across = [float(at) for at in re.findall(r"M(\S+) 0V128", line)]
        down = [float(at) for at in re.findall(r"M0 (\S+?)H96", line)]
        assert across == pytest.approx([96 * i / columns for i in range(columns + 1)])
        assert down == pytest.approx([128 * i / rows for i in range(rows + 1)])

    # What is said.
    away = ((places - reference[:2]) * size).norm(dim=1)
    rows = [row.inner_text().split("\t") for row in page.locator("tbody tr").all()]
    for i, row in enumerate(rows):
        own = torch.tensor([point["level"] == i for point in got["points"]])
        mean = (weights[own] * away[own]).sum() / weights[own].sum()
        assert row[2] == f"{mean:.1f} px"
    says = page.locator("p.sentence").inner_text()
    assert f"Query 6 in layer 2, at ({x:.0f}, {y:.0f}), reads 32 points of 4 heads." in says
    assert 0 < got["outside"] < 32 and f" {got['outside']} of them lie outside" in says

    # The pointer asks the nearest in pixels, not in shares.
    picture = page.locator("svg[role=img] image").bounding_box()
    for x, y in ((10, 100), (50, 60), (90, 20), (40, 120), (70, 70)):
        scale = picture["width"] / 96
        page.mouse.move(picture["x"] + x * scale, picture["y"] + y * scale)
        apart = (wanted - torch.tensor([x, y])).norm(dim=1)
        assert figure.get()["query"] == apart.argmin()


def test_a_query_is_asked_by_pointer_finger_and_keys(open_figures) -> None:
    given = sampling(queries=9)
    figure = open_figures(explore.deformable_sampling(**given))
    page = figure.page
    picture = page.locator("svg[role=img] image").bounding_box()

    def at(x: float, y: float) -> tuple[float, float]:
        return picture["x"] + x * picture["width"], picture["y"] + y * picture["height"]

    def nearest(layer: int, x: float, y: float) -> int:
        away = given["references"][layer, :, :2] - torch.tensor([x, y]).double()
        return int(away.norm(dim=1).argmin())

    for x, y in ((0.1, 0.2), (0.8, 0.3), (0.4, 0.9), (0.6, 0.55)):
        page.mouse.move(*at(x, y))
        assert figure.get()["query"] == nearest(1, x, y)
    page.get_by_role("group", name="layer").get_by_role("radio", name="1").check()
    for x, y in ((0.2, 0.7), (0.9, 0.9)):
        page.touchscreen.tap(*at(x, y))
        assert figure.get()["query"] == nearest(0, x, y)
    figure.set({"query": 2})
    page.get_by_role("slider", name="query").press("ArrowRight")
    assert figure.get()["query"] == 3


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    sizes = ((32, 32), (16, 16), (8, 8), (4, 4))
    figure = open_figures(
        explore.deformable_sampling(**sampling(heads=8, sizes=sizes)), width=width
    )
    assert figure.page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_has_a_still_picture() -> None:
    figure = explore.deformable_sampling(**sampling(layers=3, queries=80, heads=8))
    assert len(figure._repr_html_().encode()) <= 150_000
    assert figure.still.count("<circle") == 8 * 3 * 4


def test_the_still_picture_has_the_points_of_the_last_layer() -> None:
    given = sampling()
    given["image"] = given["image"][:, :, :96]
    still = explore.deformable_sampling(**given, query=5).still
    marks = re.findall(r'<circle cx="(\S+)" cy="(\S+)" r="(\S+)" fill="(\S+)"', still)
    places, weights = given["locations"][1, 5].flatten(0, 2), given["weights"][1, 5].flatten()
    for n, (x, y, radius, colour) in enumerate(marks):
        wanted = (places[n] * torch.tensor([96.0, 128.0])).tolist()
        assert [float(x), float(y)] == pytest.approx(wanted, rel=1e-3)
        assert float(radius) == pytest.approx(5.5 * weights[n].item() ** 0.5 * 0.96, rel=0.01)
        assert colour == HEAD_COLOURS[n // 12]
    assert len(marks) == 48 and 'viewBox="-' in still


def test_colours_are_the_same_in_both_files() -> None:
    script = (explore.page.FOLDER / "deformable_sampling.js").read_text(encoding="utf-8")
    (lines,) = re.findall(r"const HEAD_COLOURS = \[(.*?)\n\];", script, re.S)
    assert tuple(re.findall(r'"(.*?)"', lines)) == HEAD_COLOURS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: {"weights": given["weights"][0]}, r"weights have shape \(12, 4, 3, 4\)"),
        (lambda given: {"weights": given["weights"] * 2}, "must sum to 1 .* one sum is 2"),
        (lambda given: {"locations": given["locations"][..., 0]}, r"locations have shape"),
        (lambda given: {"references": given["references"][..., :3]}, "references have shape"),
        (lambda given: {"sizes": ((16, 16),)}, r"sizes have shape \(1,\).* expected \(3,\)"),
        (lambda given: {"query": 12}, "query is 12: expected 0 … 11"),
        (lambda given: {"query": -1}, "query is -1: expected 0 … 11"),
        (lambda given: sampling(heads=9), "9 heads: at most 8"),
        (lambda given: sampling(layers=6, queries=100), "bytes of the page, .* give fewer layers"),
    ],
)
def test_what_it_cannot_show_is_refused(change, message: str) -> None:
    given = sampling()
    with pytest.raises(ValueError, match=message):
        explore.deformable_sampling(**{**given, **change(given)})

"""The figure of a query's attention: its maps are the tensors', to the eight bits stored."""

import re

import pytest
import torch
from from_models import attention

from detlearn import explore


@pytest.mark.parametrize("cells", [(8, 8), (5, 9)])
def test_the_maps_are_those_of_the_tensors(open_figures, cells: tuple[int, int]) -> None:
    given = attention(snapshots=3, layers=2, queries=5, cells=cells)
    given["image"] = given["image"][:, :, :96]  # not square
    figure = open_figures(explore.query_attention(**given))
    states = [{"moment": s, "query": q} for s in range(3) for q in range(5)]
    y = (torch.arange(cells[0]).double() + 0.5) * 128 / cells[0]
    x = (torch.arange(cells[1]).double() + 0.5) * 96 / cells[1]

    for state, got in zip(states, figure.in_states(states), strict=True):
        for d, layer in enumerate(got["layers"]):
            of_layer = (state["moment"], d, state["query"])
            shown = torch.tensor(layer["map"], dtype=torch.float64)
            wanted = given["maps"][of_layer]
            assert shown.shape == cells
            assert (shown - wanted).abs().max() <= 0.501 * wanted.max() / 255 + 1e-5
            assert layer["largest"] == pytest.approx(wanted.max().item(), abs=1e-5)
            assert layer["score"] == pytest.approx(given["scores"][of_layer].item(), abs=1e-3)
            assert layer["name"] == given["class_names"][given["labels"][of_layer]]

            centre, sides = given["boxes"][of_layer].split(2)
            corners = torch.cat((centre - sides / 2, centre + sides / 2))
            corners *= torch.tensor([96, 128, 96, 128])
            assert layer["box"] == pytest.approx(corners.tolist(), abs=0.1)

            # How much of it lies in the box that is shown.
            x1, y1, x2, y2 = layer["box"]
            inside = ((x1 <= x) & (x <= x2)) & ((y1 <= y) & (y <= y2))[:, None]
            share = (shown * inside).sum() / shown.sum()
            assert layer["inside"] == pytest.approx(share.item(), abs=1e-12)


def test_what_is_drawn(open_figures) -> None:
    given = attention()
    figure = open_figures(explore.query_attention(**given, query=2))
    page = figure.page
    shades = (
        "() => [...document.querySelectorAll('g.shades')].map((layer) => "
        "[...layer.children].map((cell) => Number(cell.getAttribute('opacity'))))"
    )
    boxes = (
        "() => [...document.querySelectorAll('rect.box')].map((box) => [box.getAttribute('stroke'),"
        "...['x', 'y', 'width', 'height'].map((name) => Number(box.getAttribute(name)))])"
    )

    # The lighter a cell, the more the query looks at it.
    got = figure.get()
    assert (got["query"], got["moment"]) == (2, 3)
    for shown, layer in zip(page.evaluate(shades), got["layers"], strict=True):
        map_ = torch.tensor(layer["map"], dtype=torch.float64).flatten()
        light = 0.82 * (1 - map_ / map_.max())
        assert shown == pytest.approx(light.tolist(), abs=1e-3)

    # The boxes of all queries, the chosen one last, then that of each layer.
    drawn = page.evaluate(boxes)
    assert [box[0] for box in drawn] == ["#fff"] * 5 + ["#fca800"] * 4
    for box, layer in zip(drawn[6:], got["layers"], strict=True):
        x1, y1, x2, y2 = layer["box"]
        assert box[1:] == pytest.approx([x1, y1, x2 - x1, y2 - y1])
    assert drawn[5] == drawn[8]

    # Words and numbers.
    last = got["layers"][2]
    words = page.locator("p.sentence").inner_text()
    assert f"Query 3 after step 750: in the last layer {last['name']} with a score of" in words
    assert f"{100 * last['inside']:.0f} % of its attention lie in its box." in words
    rows = [row.inner_text().split("\t") for row in page.locator("tbody tr").all()]
    assert rows == [
        [
            str(d + 1),
            f"{layer['name']}, {layer['score']:.2f}",
            f"{100 * layer['inside']:.0f} %",
            f"{layer['largest']:.3f}",
        ]
        for d, layer in enumerate(got["layers"])
    ]
    assert f"layer 3: {last['name']} {last['score']:.2f}" in page.locator("body").inner_text()


def test_cells_have_their_places_and_boxes_their_scores(open_figures) -> None:
    """On a map of another shape than its image; the fainter a query's box, the lower its score."""
    given = attention(cells=(4, 8))
    given["image"] = given["image"][:, :, :96]
    figure = open_figures(explore.query_attention(**given, query=2))
    shades = figure.page.evaluate(
        "() => [...document.querySelector('g.shades').children].map((cell) => "
        "['x', 'y', 'width', 'height'].map((name) => Number(cell.getAttribute(name))))"
    )
    assert shades == [[12 * x, 32 * y, 12, 32] for y in range(4) for x in range(8)]

    opacities = figure.page.evaluate(
        "() => [...document.querySelectorAll('svg[role=img] g[opacity]')].map((box) => "
        "Number(box.getAttribute('opacity')))"
    )
    scores = given["scores"][-1, -1].tolist()
    del scores[2]  # the chosen one has its full colour
    assert opacities == pytest.approx([0.15 + 0.85 * score for score in scores], abs=1e-3)


def test_a_query_is_chosen_by_its_box_or_by_keys(open_figures) -> None:
    figure = open_figures(explore.query_attention(**attention()))
    page = figure.page
    picture = page.locator("svg[role=img] image").bounding_box()

    def click(x: float, y: float) -> int:
        scale = picture["width"] / 128
        page.mouse.click(picture["x"] + x * scale, picture["y"] + y * scale)
        return figure.get()["query"]

    # Of several boxes around the place the smallest, else the nearest: of the last layer.
    boxes = attention()["boxes"][3, 2] * 128
    lonely = ((20, 100), (64, 64), (96, 96), (110, 20), (2, 2), (126, 126), (44, 40))
    shared = ((92, 52), (84, 72))  # by a smaller box that comes later, and one that comes earlier
    for x, y in (*lonely, *shared):
        away = (boxes[:, :2] - torch.tensor([x, y])).abs()
        around = (away <= boxes[:, 2:] / 2).all(dim=1)
        assert around.sum() == 2 if (x, y) in shared else around.sum() < 2
        area = boxes[:, 2:].prod(dim=1).masked_fill(~around, torch.inf)
        wanted = area.argmin() if around.any() else away.norm(dim=1).argmin()
        assert click(x, y) == wanted

    figure.set({"query": 1})
    page.get_by_role("slider", name="query").press("ArrowRight")
    assert figure.get()["query"] == 2


def test_the_training_runs(open_figures) -> None:
    """From the first snapshot to the last; the slider goes to any."""
    figure = open_figures(explore.query_attention(**attention()), still=True)
    page = figure.page
    moment = page.get_by_role("slider", name="training")
    moment.press("ArrowLeft")
    assert figure.get()["moment"] == 2
    assert moment.get_attribute("aria-valuetext") == "step 500"
    figure.set({"moment": 0})
    page.get_by_role("button", name="train").click()
    assert figure.get()["moment"] == 3

    moving = open_figures(explore.query_attention(**attention()))
    moving.page.get_by_role("button", name="train").click()
    assert moving.get()["moment"] == 0  # from the end it starts anew
    assert moving.page.get_by_role("button", name="pause").is_visible()
    moving.page.get_by_role("slider", name="training").press("ArrowRight")
    assert moving.page.get_by_role("button", name="train").is_visible()


def test_a_single_moment_stays(open_figures) -> None:
    figure = open_figures(explore.query_attention(**attention(snapshots=1)), still=True)
    figure.page.get_by_role("button", name="train").click()
    assert figure.get()["moment"] == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    figure = open_figures(explore.query_attention(**attention(layers=6)), width=width)
    assert figure.page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_has_a_still_picture() -> None:
    given = attention(snapshots=9, layers=3, queries=20, cells=(10, 10))
    figure = explore.query_attention(**given)
    assert len(figure._repr_html_().encode()) <= 150_000
    assert figure.still.count("<path") == 10 * 10 + 2


def test_the_still_picture_is_the_last_layer_at_the_end() -> None:
    """A shade on every cell, row by row, then the box twice, the second time on its casing."""
    given = attention(cells=(4, 8))
    given["image"] = given["image"][:, :, :96]  # not square
    still = explore.query_attention(**given, query=3).still

    light = given["maps"][-1, -1, 3] / given["maps"][-1, -1, 3].max()
    cells = re.findall(r'd="M(\S+) (\S+)h12v32h-12Z" opacity="(\S+)"', still)
    wanted = [(12 * x, 32 * y, 0.82 * (1 - light[y, x])) for y in range(4) for x in range(8)]
    assert [[float(n) for n in cell] for cell in cells] == [
        pytest.approx([x, y, float(opacity)], abs=0.006) for x, y, opacity in wanted
    ]

    x, y, width, height = (given["boxes"][-1, -1, 3] * torch.tensor([96, 128, 96, 128])).tolist()
    sides = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    x1, y1, x2, y2 = re.findall(r'd="M(\S+) (\S+)H(\S+?)V(\S+?)H', still)[1]
    assert [float(n) for n in (x1, y1, x2, y2)] == pytest.approx(sides, abs=0.05)


def test_a_map_without_any_weight_is_dark(open_figures) -> None:
    given = attention()
    given["maps"][3, 0, 0] = 0
    got = open_figures(explore.query_attention(**given)).get()["layers"][0]
    assert got["inside"] == got["largest"] == 0 and not any(map(any, got["map"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: {"maps": given["maps"][0]}, r"maps have shape \(3, 6, 8, 8\)"),
        (lambda given: {"maps": -given["maps"]}, "negative numbers or NaN"),
        (lambda given: {"maps": given["maps"] * torch.nan}, "negative numbers or NaN"),
        (lambda given: {"boxes": given["boxes"][:2]}, r"boxes .* expected \(4, 3, 6, 4\)"),
        (lambda given: {"scores": given["scores"][0]}, r"scores .* expected \(4, 3, 6\)"),
        (lambda given: {"labels": given["labels"] + 1}, "there are 10 class names"),
        (lambda given: {"labels": given["labels"] - 1}, "labels go from -1"),
        (lambda given: {"steps": [0, 250]}, r"steps have shape \(2,\).* expected \(4,\)"),
        (lambda given: {"query": 6}, "query is 6: expected 0 … 5"),
        (lambda given: {"query": -1}, "query is -1: expected 0 … 5"),
        (lambda given: attention(cells=(40, 40)), "bytes of the page, .* give fewer snapshots"),
    ],
)
def test_what_it_cannot_show_is_refused(change, message: str) -> None:
    given = attention()
    with pytest.raises(ValueError, match=message):
        explore.query_attention(**{**given, **change(given)})

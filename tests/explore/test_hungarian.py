"""The figure of DETR's matching: costs are the package's, the optimal assignment is scipy's."""

import random

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from detlearn import explore
from detlearn.boxes import box_convert
from detlearn.explore.hungarian import example
from detlearn.matching import matching_cost

SIDE = 128
WEIGHTS = {"cost_class": "costClass", "cost_bbox": "costBbox", "cost_giou": "costGiou"}


def random_state(numbers: random.Random) -> dict:
    """A state that a reader can reach; in some, two queries say the same."""
    boxes = []
    for _ in range(5):
        width, height = numbers.randint(4, 100), numbers.randint(4, 100)
        x, y = numbers.randint(0, SIDE - width), numbers.randint(0, SIDE - height)
        boxes.append([x, y, x + width, y + height])
    if numbers.random() < 0.2:
        boxes[numbers.randrange(5)] = boxes[numbers.randrange(5)]
    if numbers.random() < 0.2:
        boxes[numbers.randrange(5)] = [62, 30, 92, 59]  # object B, exactly
    return {
        "boxes": boxes,
        "costClass": numbers.choice([0, 1, 0.25 * numbers.randint(0, 20)]),
        "costBbox": numbers.choice([0, 5, 0.25 * numbers.randint(0, 40)]),
        "costGiou": numbers.choice([0, 2, 0.25 * numbers.randint(0, 20)]),
    }


def costs_in(state: dict, **weights: float) -> torch.Tensor:
    """What the package says of a state, (5, 3); without weights, with those of the state."""
    boxes = torch.tensor(state["boxes"], dtype=torch.float64)
    scene = {**example(), "pred_boxes": box_convert(boxes, "xyxy", "cxcywh") / SIDE}
    weights = weights or {ours: state[theirs] for ours, theirs in WEIGHTS.items()}
    return matching_cost(**scene, **weights)


def greedy_by_hand(costs: torch.Tensor) -> list[int]:
    """The query of each object, the lowest cost first; a chosen pair's row and column go."""
    left, queries = costs.clone(), [-1] * costs.shape[1]
    for _ in queries:
        query, object_ = divmod(int(left.argmin()), costs.shape[1])
        queries[object_] = query
        left[query], left[:, object_] = torch.inf, torch.inf
    return queries


def test_costs_and_assignments_are_the_packages_and_scipys(open_figures) -> None:
    numbers = random.Random(0)
    given = [random_state(numbers) for _ in range(150)]
    figure = open_figures(explore.hungarian_costs())
    differ = unique = 0
    for state, got in zip(given, figure.in_states(given), strict=True):
        costs = costs_in(state)
        shown = torch.tensor(got["costs"], dtype=torch.float64)
        torch.testing.assert_close(shown, costs, rtol=1e-9, atol=1e-9)

        # Each term is the cost that the other weights leave.
        for i, name in enumerate(WEIGHTS):
            alone = {other: 0.0 for other in WEIGHTS} | {name: state[WEIGHTS[name]]}
            term = torch.tensor(got["terms"], dtype=torch.float64)[..., i]
            torch.testing.assert_close(term, costs_in(state, **alone), rtol=1e-9, atol=1e-9)

        # Of equally cheap ways scipy may take another one: then the totals are what is compared.
        queries, objects = linear_sum_assignment(costs)
        total = costs[queries, objects].sum().item()
        assert got["optimal"]["total"] == pytest.approx(total, abs=1e-9)
        assert len(set(got["optimal"]["queries"])) == 3
        margin = got["optimal"]["next"] - got["optimal"]["total"]
        assert margin >= 0
        if margin > 1e-9:
            wanted = dict(zip(objects.tolist(), queries.tolist()))
            assert got["optimal"]["queries"] == [wanted[n] for n in range(3)]
            unique += 1

            # The next best way lacks at least one of its pairs.
            without = []
            for query, object_ in zip(queries, objects):
                forbidden = costs.clone()
                forbidden[query, object_] = 1e6
                rows, columns = linear_sum_assignment(forbidden)
                without.append(forbidden[rows, columns].sum().item())
            assert got["optimal"]["next"] == pytest.approx(min(without), abs=1e-9)

        assert got["greedy"]["queries"] == greedy_by_hand(shown)
        of_greedy = shown[got["greedy"]["queries"], [0, 1, 2]]
        assert got["greedy"]["total"] == pytest.approx(of_greedy.sum().item(), abs=1e-12)
        assert got["greedy"]["order"] == of_greedy.sort(stable=True).indices.tolist()
        differ += got["greedy"]["total"] > total + 1e-9
    assert unique > 110 and differ > 20 and got["numWays"] == 60


def test_what_readers_are_to_see_at_the_start(open_figures) -> None:
    """Query 2 is the best for both boats: greedy gives it to A, the optimal assignment to B."""
    figure = open_figures(explore.hungarian_costs())
    got = figure.get()
    costs = torch.tensor(got["costs"])
    assert costs[:, :2].argmin(dim=0).tolist() == [1, 1]
    assert got["optimal"]["queries"] == [0, 1, 2] and got["greedy"]["queries"] == [1, 0, 2]
    torch.testing.assert_close(costs, matching_cost(**example()).float())

    says = figure.page.locator("p.sentence").inner_text()
    assert "3 with C, then 2 with A, then 1 with B. Its total is 0.75 higher" in says
    assert "Of the 60 ways to give each object a query, the next best costs 0.75 more" in says
    assert figure.page.locator("p.pair-words").inner_text() == (
        "Query 2 and B: −1 · 0.88 for boat, + 5 · 0.395 for the distance, − 2 · 0.173 for the "
        "GIoU: 0.75."
    )


def test_the_matrix_and_the_totals(open_figures) -> None:
    figure = open_figures(explore.hungarian_costs())
    got = figure.get()
    cells = [row.locator("button") for row in figure.page.locator("table.matrix tbody tr").all()]
    frames = (
        "(cell) => [cell, cell.firstElementChild]"
        ".map((part) => !part.style.border.includes('transparent'))"
    )
    for q, row in enumerate(cells):
        for n in range(3):
            numbers = [got["costs"][q][n], *got["terms"][q][n]]
            written = [f"{number:.2f}".replace("-", "−") for number in numbers]
            assert row.nth(n).inner_text().split() == written
            marked = [got[way]["queries"][n] == q for way in ("optimal", "greedy")]
            assert row.nth(n).evaluate(frames) == marked
    lines = [row.inner_text().split("\t") for row in figure.page.locator("table.totals tr").all()]
    assert lines[1:] == [
        ["optimal", "1: −0.76", "2: 0.75", "3: −2.16", "−2.17"],
        ["greedy", "2: −1.21", "1: 1.95", "3: −2.16", "−1.42"],
    ]

    # A cell is asked; a query without an object, too.
    cells[4].nth(2).click()
    assert (figure.get()["query"], figure.get()["object"]) == (4, 2)
    says = figure.page.locator("p.pair-words")
    assert "Query 5 and C: −1 · 0.04 for ball" in says.inner_text()
    assert "− 2 · (−0.621) for the GIoU: 5.11." in says.inner_text()
    figure.page.locator("[aria-label='query 4']").focus()
    assert says.inner_text() == "Query 4 has no object here: it learns “no object”."


def test_boxes_follow_the_hand_and_take_their_objects_colour(open_figures) -> None:
    figure = open_figures(explore.hungarian_costs())
    page = figure.page
    pixel = page.locator("svg[role=group] image").bounding_box()["width"] / SIDE

    def drag(label: str, x: float, y: float) -> None:
        at = page.locator(f"[aria-label='{label}']").bounding_box()
        middle = (at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] + x * pixel, middle[1] + y * pixel)
        page.mouse.up()

    drag("query 5", -20, -34)
    assert figure.get()["boxes"][4] == [68, 32, 102, 64] and figure.get()["query"] == 4
    assert figure.get()["optimal"]["queries"] == figure.get()["greedy"]["queries"] == [1, 4, 2]
    assert "Here its total is as low as the optimal" in page.locator("p.sentence").inner_text()
    drag("corner of query 5", -10, -5)
    assert figure.get()["boxes"][4] == [68, 32, 92, 59]
    drag("corner of query 5", -60, -60)
    assert figure.get()["boxes"][4] == [68, 32, 72, 36]
    page.locator("[aria-label='query 5']").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    assert figure.get()["boxes"][4] == [67, 42, 71, 46]
    assert page.locator("[aria-label='query 5']").get_attribute("aria-valuetext") == (
        "left 67, top 42, 4 wide, 4 high"
    )

    drag("query 4", -200, 200)
    assert figure.get()["boxes"][3] == [0, 92, 36, 128]

    # The colours are those of the assignment that is drawn.
    page.get_by_text("back to the start").click()
    fills = (
        "() => [...document.querySelectorAll('.movable')].filter((e) => "
        "e.getAttribute('aria-label').startsWith('query'))"
        ".map((e) => e.querySelectorAll('rect')[1].getAttribute('fill'))"
    )
    orange, cyan, pink = explore.pictures.OBJECT_COLOURS[:3]
    assert page.evaluate(fills) == [orange, cyan, pink, "#e8e8e8", "#e8e8e8"]
    page.get_by_role("radio", name="greedy").check()
    assert page.evaluate(fills) == [cyan, orange, pink, "#e8e8e8", "#e8e8e8"]


def test_lines_boxes_and_handles(open_figures) -> None:
    figure = open_figures(explore.hungarian_costs())
    page = figure.page
    colours = explore.pictures.OBJECT_COLOURS
    middles = (example()["boxes"][:, :2] * SIDE).tolist()

    def attributes(selector: str, *names: str) -> list[list[str]]:
        return page.evaluate(
            "([selector, names]) => [...document.querySelectorAll(selector)].map((mark) => "
            "names.map((name) => mark.getAttribute(name)))",
            [f"svg[role=group] {selector}", names],
        )

    def numbers(selector: str, *names: str) -> list[list[float]]:
        return [[float(value) for value in row] for row in attributes(selector, *names)]

    boxes = figure.get()["boxes"]
    for way in ("optimal", "greedy"):
        figure.set({"way": way})
        # From the middle of the query's box to that of its object, on a dark casing.
        ends = []
        for n, q in enumerate(figure.get()[way]["queries"]):
            x1, y1, x2, y2 = boxes[q]
            ends += [[(x1 + x2) / 2, (y1 + y2) / 2, *middles[n]]] * 2
        lines = numbers("line", "x1", "y1", "x2", "y2")
        assert lines == [pytest.approx(line, abs=1e-4) for line in ends]
        strokes = [stroke for (stroke,) in attributes("line", "stroke")]
        assert strokes[1::2] == list(colours[:3]) and len(set(strokes[::2])) == 1
        dots = numbers("circle", "cx", "cy")
        assert dots == [pytest.approx(middle, abs=1e-4) for middle in middles]

    # A box twice, the asked one thicker; its number above it, or in it at the upper border.
    boxes[0], boxes[3] = [5, 3, 30, 20], [60, 7, 90, 50]
    figure.set({"boxes": boxes, "query": 2})
    drawn = numbers("> rect", "x", "y", "width", "height")
    assert drawn == [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes for _ in range(2)]
    assert [width for (width,) in numbers("> rect", "stroke-width")] == pytest.approx(
        [2.1, 1.1, 2.1, 1.1, 2.7, 1.7, 2.1, 1.1, 2.1, 1.1]
    )
    for q, (x1, y1, x2, y2) in enumerate(boxes):
        handle = f"[aria-label='query {q + 1}']"
        corner = f"[aria-label='corner of query {q + 1}']"
        top = y1 - 7 if y1 >= 7 else y1
        assert attributes(handle, "transform") == [[f"translate({x1} {top})"]]
        assert attributes(corner, "transform") == [[f"translate({x2 - 3.5} {y2 - 3.5})"]]

    # What a cell of the matrix is called, and which one is asked.
    page.get_by_text("back to the start").click()
    assert figure.get()["boxes"] != boxes
    costs = figure.get()["costs"]
    optimal, greedy = [0, 1, 2], [1, 0, 2]
    for q in range(5):
        for n in range(3):
            marks = ", optimal" * (optimal[n] == q) + ", greedy" * (greedy[n] == q)
            number = f"{costs[q][n]:.2f}".replace("-", "−")
            cell = page.get_by_label(f"query {q + 1}, {'ABC'[n]}: {number}{marks}", exact=True)
            assert cell.get_attribute("aria-pressed") == str((q, n) == (1, 1)).lower()


def test_boxes_stay_in_the_image_and_the_start_stays(open_figures) -> None:
    figure = open_figures(explore.hungarian_costs())
    page = figure.page
    start = figure.get()["boxes"]
    picture = page.locator("svg[role=group] image").bounding_box()

    def drag_to(label: str, x: float, y: float) -> None:
        at = page.locator(f"[aria-label='{label}']").bounding_box()
        page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
        page.mouse.down()
        page.mouse.move(picture["x"] + x * picture["width"], picture["y"] + y * picture["height"])
        page.mouse.up()

    x1, y1, x2, y2 = start[4]
    width, height = x2 - x1, y2 - y1
    for x, y, wanted in (
        (1.4, -0.4, [SIDE - width, 0, SIDE, height]),
        (-0.4, 1.4, [0, SIDE - height, width, SIDE]),
        (-0.4, -0.4, [0, 0, width, height]),
    ):
        drag_to("query 5", x, y)
        assert figure.get()["boxes"][4] == wanted
    drag_to("corner of query 5", 1.4, 1.4)
    assert figure.get()["boxes"][4] == [0, 0, SIDE, SIDE]

    page.get_by_text("back to the start").click()
    assert figure.get()["boxes"] == start


def test_the_weights(open_figures) -> None:
    figure = open_figures(explore.hungarian_costs(cost_class=0, cost_bbox=3.5, cost_giou=5))
    for name, state in WEIGHTS.items():
        slider = figure.page.get_by_role("slider", name=name)
        assert slider.input_value() == str(figure.get()[state])
        slider.fill("1.25")
        assert figure.get()[state] == 1.25


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    figure = open_figures(explore.hungarian_costs(), width=width)
    figure.set({"costBbox": 10, "costClass": 5, "costGiou": 5})
    assert figure.page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_has_a_still_picture() -> None:
    figure = explore.hungarian_costs()
    assert len(figure._repr_html_().encode()) <= 60_000
    assert figure.still.count("<text") == 6


@pytest.mark.parametrize(("name", "most"), [("cost_class", 5), ("cost_bbox", 10), ("cost_giou", 5)])
def test_what_it_cannot_be_is_refused(name: str, most: int) -> None:
    for weight in (-1.0, most + 0.5):
        message = f"{name} is {weight}: its slider goes from 0 to {most}"
        with pytest.raises(ValueError, match=message):
            explore.hungarian_costs(**{name: weight})

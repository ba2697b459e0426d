"""The figure of focal loss: its numbers are the package's, for one answer and for many."""

import math
import random
from functools import lru_cache

import pytest
import torch

from detlearn import explore
from detlearn.losses import focal_classification_loss, sigmoid_focal_loss

CLOSE = {"rel": 1e-6, "abs": 1e-12}
KINDS = (("negative", 0.0), ("positive", 1.0))


def random_state(numbers: random.Random) -> dict:
    return {
        "gamma": numbers.choice([0, 0.5, 1, 2, 5, round(5 * numbers.random(), 1)]),
        "weighted": numbers.random() < 0.7,
        "alpha": numbers.choice([0.05, 0.25, 0.5, 0.95, round(0.01 + 0.98 * numbers.random(), 2)]),
        "negatives": round(10 ** (5 * numbers.random())),
        "easy": 10 ** -(0.01 + 3 * numbers.random()),
        "positives": round(10 ** (3 * numbers.random())),
        "hard": numbers.choice([0.01, 0.5, 0.99, 0.001 + 0.998 * numbers.random()]),
        "measure": numbers.choice(["loss", "gradient"]),
        "axis": numbers.choice(["linear", "log"]),
    }


def rules(state: dict) -> tuple:
    """Name, gamma and alpha of the two rules that the figure compares."""
    return (
        ("crossEntropy", 0.0, None),
        ("focal", state["gamma"], state["alpha"] if state["weighted"] else None),
    )


def answers(scores: torch.Tensor, target: float, gamma: float, alpha: float | None) -> tuple:
    """Losses of answers and the sizes of their gradients by the logit, as the package has them."""
    logits = scores.logit().requires_grad_()
    loss = sigmoid_focal_loss(
        logits, torch.full_like(scores, target), alpha=-1 if alpha is None else alpha, gamma=gamma
    )
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    return loss.detach(), gradient


@lru_cache
def in_float64(*scores: float) -> torch.Tensor:
    return torch.tensor(scores, dtype=torch.float64)


def test_its_numbers_are_the_packages(open_figures) -> None:
    numbers = random.Random(4)
    given = [random_state(numbers) for _ in range(60)]
    figure = open_figures(explore.focal_loss())
    for state, got in zip(given, figure.in_states(given), strict=True):
        assert {key: got[key] for key in state} == pytest.approx(state)
        scores = {"negative": state["easy"], "positive": state["hard"]}
        counts = {"negative": state["negatives"], "positive": state["positives"]}

        for rule, gamma, alpha in rules(state):
            said = got[rule]
            for kind, target in KINDS:
                loss, gradient = answers(in_float64(scores[kind]), target, gamma, alpha)
                assert said["one"][kind]["loss"] == pytest.approx(loss.item(), **CLOSE)
                assert said["one"][kind]["gradient"] == pytest.approx(abs(gradient.item()), **CLOSE)

                # Up for what is to be 1, down for what is to be 0.
                assert (gradient.item() < 0) == (target == 1)

            # All answers of the image at once, each with one class, through the whole loss.
            logits = torch.cat(
                [in_float64(scores[kind]).logit().expand(counts[kind]) for kind, _ in KINDS]
            ).requires_grad_()
            labels = torch.zeros(len(logits), dtype=torch.int64)
            labels[: counts["negative"]] = -1
            loss = focal_classification_loss(logits[:, None], labels, alpha=alpha, gamma=gamma)
            (gradient,) = torch.autograd.grad(loss * counts["positive"], logits)
            parts = dict(zip(counts, gradient.abs().split(list(counts.values()))))

            assert said["perPositive"] == pytest.approx(loss.item(), **CLOSE)
            total = gradient.abs().sum().item()
            assert said["total"]["gradient"] == pytest.approx(total, **CLOSE)
            for kind, part in parts.items():
                assert said["all"][kind]["gradient"] == pytest.approx(part.sum().item(), **CLOSE)
                share = part.sum().item() / total
                assert said["share"][kind]["gradient"] == pytest.approx(share, **CLOSE)
                part_of_loss = said["all"][kind]["loss"] / said["total"]["loss"]
                assert said["share"][kind]["loss"] == pytest.approx(part_of_loss, **CLOSE)
            assert said["total"]["loss"] == pytest.approx(loss.item() * counts["positive"], **CLOSE)
            worth = (parts["positive"][0] / parts["negative"][0]).item()
            assert said["worth"] == pytest.approx(worth, **CLOSE)


def test_its_curves_are_the_packages(open_figures) -> None:
    numbers = random.Random(5)
    given = [random_state(numbers) for _ in range(50)]
    for state, got in zip(given, open_figures(explore.focal_loss()).in_states(given), strict=True):
        curves = got["curves"]
        scores = in_float64(*curves["score"])
        assert len(scores) > 100 and scores[0] <= 0.001 and scores[-1] >= 0.999
        for rule, gamma, alpha in rules(state):
            for kind, target in KINDS:
                loss, gradient = answers(scores, target, gamma, alpha)
                said = curves[rule][kind]
                close = {"rtol": 1e-6, "atol": 1e-12}
                shown = in_float64(*(answer["loss"] for answer in said))
                torch.testing.assert_close(shown, loss, **close)
                shown = in_float64(*(answer["gradient"] for answer in said))
                torch.testing.assert_close(shown, gradient.abs(), **close)


# Where the charts have the points of a path or of a dot, as numbers of score and value.
POINTS = """() => [...document.querySelectorAll("svg[aria-label$='by its score']")]
  .filter((svg) => svg.style.display !== "none")
  .map((svg) => ({
    label: svg.getAttribute("aria-label"),
    lines: [...svg.querySelectorAll("path.line")].map((path) => ({
      points: path.getAttribute("d").slice(1).split("L").map((p) => p.split(" ").map(Number)),
      dashed: path.style.strokeDasharray !== "",
      colour: path.style.stroke,
    })),
    dots: [...svg.querySelectorAll("circle")].map((dot) => ({
      at: [Number(dot.getAttribute("cx")), Number(dot.getAttribute("cy"))],
      hollow: dot.getAttribute("fill") === "none",
      colour: dot.getAttribute("stroke"),
    })),
  }))"""
LEFT, RIGHT, TOP, BOTTOM = 44, 330, 10, 170  # of the charts' frames
COLOURS = {"var(--blue)": "negative", "var(--orange)": "positive"}


@pytest.mark.parametrize("axis", ["linear", "log"])
def test_what_is_drawn_are_these_numbers(open_figures, axis: str) -> None:
    """Lines and dots lie where loss and gradient of that kind and rule belong."""
    figure = open_figures(explore.focal_loss())
    state = {"gamma": 1.5, "alpha": 0.4, "easy": 0.1, "hard": 0.6, "axis": axis}
    figure.set(state)
    got = figure.get()
    charts = figure.page.evaluate(POINTS)
    assert [chart["label"].split()[0] for chart in charts] == ["loss", "size"]

    for chart, measure, highest in zip(charts, ("loss", "gradient"), (4, 1.5)):

        def wanted_height(value: float, highest: float = highest) -> float:
            low, high = (0, highest) if axis == "linear" else (-6, 1)
            share = ((value if axis == "linear" else math.log10(value)) - low) / (high - low)
            return BOTTOM - share * (BOTTOM - TOP)

        assert sorted((line["dashed"], line["colour"]) for line in chart["lines"]) == [
            (dashed, colour) for dashed in (False, True) for colour in COLOURS
        ]
        for line in chart["lines"]:
            rule = "crossEntropy" if line["dashed"] else "focal"
            _, gamma, alpha = dict((name, (name, *rest)) for name, *rest in rules(got))[rule]
            target = float(COLOURS[line["colour"]] == "positive")
            scores = in_float64(*((x - LEFT) / (RIGHT - LEFT) for x, _ in line["points"]))
            values = answers(scores.clamp(1e-4, 1 - 1e-4), target, gamma, alpha)[
                measure == "gradient"
            ].abs()
            assert len(scores) > 100
            for (_, y), score, value in zip(line["points"], scores.tolist(), values.tolist()):
                if 0.02 < score < 0.98:  # else the line is too steep for two digits of a pixel
                    assert y == pytest.approx(wanted_height(value), abs=0.2)
                assert TOP - 0.01 <= y <= BOTTOM + 0.01

        for dot in chart["dots"]:
            rule = "crossEntropy" if dot["hollow"] else "focal"
            kind = COLOURS[dot["colour"]]
            value = got[rule]["one"][kind][measure]
            score = {"negative": 0.1, "positive": 0.6}[kind]
            assert dot["at"][0] == pytest.approx(LEFT + score * (RIGHT - LEFT))
            assert dot["at"][1] == pytest.approx(wanted_height(value), abs=1e-6)
        assert len(chart["dots"]) == 4


def test_dots_outside_stand_on_the_frame(open_figures) -> None:
    figure = open_figures(explore.focal_loss())
    figure.set({"easy": 0.001, "hard": 0.0001, "gamma": 5, "axis": "linear"})
    loss = figure.page.evaluate(POINTS)[0]
    assert {round(dot["at"][1]) for dot in loss["dots"] if dot["hollow"]} == {TOP, BOTTOM}
    figure.set({"axis": "log"})
    for chart in figure.page.evaluate(POINTS):
        assert all(TOP <= dot["at"][1] <= BOTTOM for dot in chart["dots"])


def test_bars_table_and_sentences(open_figures) -> None:
    """By hand: γ = 2, without α, 1000 negatives at 0.1, ten positives at 0.5."""
    figure = open_figures(explore.focal_loss())
    figure.set(
        {
            "gamma": 2,
            "weighted": False,
            "negatives": 1000,
            "easy": 0.1,
            "positives": 10,
            "hard": 0.5,
        }
    )
    page = figure.page

    # Cross-entropy: 1000 · 0.1 = 100 against 10 · 0.5 = 5.
    bars = page.locator("[role=img][aria-label^='Whose is the sum of the gradient']")
    assert "cross-entropy: negatives 95.2 %, positives 4.8 %." in bars.get_attribute("aria-label")

    # Focal: a negative 0.01 · (0.1 − 2 · 0.9 · ln 0.9) = 0.0028965, a positive
    # 0.25 · (0.5 − 2 · 0.5 · ln 0.5) = 0.29829; so 2.8965 against 2.9829.
    assert "focal loss: negatives 49.3 %, positives 50.7 %." in bars.get_attribute("aria-label")
    shares = bars.evaluate(
        "(bars) => [...bars.children].map((bar) => [...bar.lastChild.children]"
        ".map((part) => part.getBoundingClientRect().width))"
    )
    for (first, second), share in zip(shares, (0.952381, 0.492653)):
        assert first / (first + second) == pytest.approx(share, abs=0.005)

    rows = [
        [cell.inner_text() for cell in row.locator("th, td").all()]
        for row in page.locator("tbody tr").all()
    ]
    assert rows == [
        ["cross-entropy, negatives", "0.100", "1\u202f000", "100"],
        ["cross-entropy, positives", "0.500", "10", "5.00"],
        ["focal loss, negatives", "0.00290", "1\u202f000", "2.90"],
        ["focal loss, positives", "0.298", "10", "2.98"],
    ]
    says = page.locator("p.says").inner_text()
    assert "as hard as 5.00 easy negatives under cross-entropy, as 103 under the focal" in says

    # Cross-entropy (1000 · 0.10536 + 10 · 0.69315) / 10, focal (1.0536 + 1.7329) / 10.
    assert "the loss is 11.2 and 0.279." in says

    figure.set({"measure": "loss"})
    bars = page.locator("[role=img][aria-label^='Whose is the sum of the loss']")
    assert "focal loss: negatives 37.8 %, positives 62.2 %." in bars.get_attribute("aria-label")
    assert page.locator("tbody tr").nth(2).locator("td").last.inner_text() == "1.05"


def test_shares_are_never_called_all_or_nothing(open_figures) -> None:
    figure = open_figures(explore.focal_loss())
    figure.set({"gamma": 0, "weighted": False, "negatives": 10**6, "positives": 1, "hard": 0.99})
    bars = figure.page.locator("[role=img]").first
    assert "negatives over 99.9 %, positives under 0.1 %." in bars.get_attribute("aria-label")
    figure.set({"negatives": 1000, "easy": 0.5, "hard": 0.75})  # 500 against 0.25: 0.05 %
    assert "negatives over 99.9 %, positives under 0.1 %." in bars.get_attribute("aria-label")
    figure.set({"negatives": 10**6})
    assert "1\u202f000\u202f000" in figure.page.locator("tbody").inner_text()
    figure.set({"gamma": 5, "easy": 0.001})
    assert "10⁻" in figure.page.locator("tbody").inner_text()


def test_the_controls(open_figures) -> None:
    figure = open_figures(explore.focal_loss())
    page = figure.page
    for name, value, key, wanted in (
        ("γ, exponent", "3.5", "gamma", 3.5),
        ("α, weight of a positive", "0.75", "alpha", 0.75),
        ("easy negatives", "4.3", "negatives", 19_953),
        ("score of a negative", "-1", "easy", 0.1),
        ("hard positives", "1.3", "positives", 20),
        ("score of a positive", "0.42", "hard", 0.42),
    ):
        page.get_by_role("slider", name=name).fill(value)
        assert figure.get()[key] == pytest.approx(wanted)
    assert page.get_by_role("slider", name="easy negatives").get_attribute("aria-valuetext") == (
        "20k"
    )

    page.get_by_role("radio", name="without").check()
    assert figure.get()["weighted"] is False
    assert page.get_by_role("slider", name="α, weight").is_disabled()
    page.get_by_role("radio", name="powers of ten").check()
    page.get_by_role("radio", name="the loss").check()
    assert (figure.get()["axis"], figure.get()["measure"]) == ("log", "loss")
    page.get_by_role("button", name="the first step").click()
    assert figure.get()["easy"] == figure.get()["hard"] == 0.01

    # By keys alone: one step, with Shift ten.
    page.get_by_role("slider", name="γ, exponent").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    assert figure.get()["gamma"] == pytest.approx(2.4)


def test_a_reader_who_cannot_see_it_is_told(open_figures) -> None:
    page = open_figures(explore.focal_loss()).page
    page.get_by_role("slider", name="γ, exponent").fill("0")
    page.wait_for_timeout(600)
    spoken = page.locator("[aria-live]").inner_text()
    assert "focal loss: negatives" in spoken and "One positive pulls as hard as" in spoken


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    page = open_figures(explore.focal_loss(), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_begins_as_it_is_told(open_figures) -> None:
    figure = explore.focal_loss(gamma=0.0, alpha=None)
    assert len(figure._repr_html_().encode()) <= 60_000
    assert figure.still.count("<polyline") == 5
    got = open_figures(figure).get()
    assert got["gamma"] == 0 and got["weighted"] is False
    assert got["focal"] == got["crossEntropy"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gamma": -1}, "gamma is -1: the slider goes from 0 to 5"),
        ({"gamma": math.nan}, "gamma is nan"),
        ({"alpha": 1.0}, "alpha is 1.0: expected a weight between 0 and 1, or None"),
    ],
)
def test_what_it_cannot_be_is_refused(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explore.focal_loss(**given)

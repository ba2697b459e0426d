"""A training step by step: what is found is what the package says, at every moment."""

import re

import pytest
import torch

from detlearn import explore, results
from detlearn.data import ToyTown
from detlearn.plotting.matches import match_detections


@pytest.fixture(scope="module")
def stored() -> results.Result:
    return results.load("training_steps")


def states(moments: int) -> list[dict]:
    thresholds = (0.1, 0.2, 0.3, 0.5, 0.62)
    return [{"moment": m, "threshold": score} for m in range(moments) for score in thresholds]


def test_found_false_and_missed_are_the_packages(open_figures, stored) -> None:
    run = stored["runs"][0]
    chosen = stored["settings"]["scenes"]
    town = ToyTown(max(chosen) + 1, seed=stored["settings"]["preview_seed"])
    targets = [town[scene][1] for scene in chosen]
    given = states(len(run["moments"]))
    assert len(given) >= 100

    for state, got in zip(given, open_figures(explore.training_steps()).in_states(given)):
        moment = run["moments"][state["moment"]]
        assert (got["step"], got["ap50"]) == (moment["step"], moment["ap50"])

        found = false = missed = 0
        for i, one in enumerate(results.as_tensors(moment["scenes"])):
            # The figure holds the 12 best.
            scores = torch.tensor(moment["scenes"][i]["scores"], dtype=torch.float64)
            shown = (scores >= state["threshold"]) & (torch.arange(len(scores)) < 12)
            kept = {key: value[shown] for key, value in one.items()}
            matched = match_detections(kept, targets[i])
            assert got["matched"][i] == matched.tolist()
            found += int((matched >= 0).sum())
            false += int((matched < 0).sum())
            missed += len(targets[i]["boxes"]) - int((matched >= 0).sum())
        assert (got["found"], got["false"], got["missed"]) == (found, false, missed)

        if moment["step"] > 0:
            last = run["loss"][max(moment["step"] - 15, 0) : moment["step"]]
            assert got["loss"] == pytest.approx(sum(last) / len(last), abs=0.005)


def test_what_the_chapter_says_of_it(stored) -> None:
    """In the first steps nothing is found; the loss falls long before the boxes are right."""
    (run,) = stored["runs"]
    by_step = {moment["step"]: moment["ap50"] for moment in run["moments"]}
    assert len(run["moments"]) == 21
    assert by_step[0] == by_step[10] == 0
    assert by_step[640] > 0.8
    assert sum(run["loss"][35:50]) < 0.7 * sum(run["loss"][:15])
    assert by_step[50] < 0.2


def test_the_scrubber_goes_through_the_moments(open_figures) -> None:
    figure = open_figures(explore.training_steps())
    scrubber = figure.page.get_by_role("slider", name="moment")
    scrubber.fill("0")
    assert figure.get()["step"] == 0
    assert "not trained yet" in figure.page.locator(".detlearn-explore").inner_text()
    scrubber.focus()
    figure.page.keyboard.press("ArrowRight")
    assert figure.get()["step"] == 5
    assert scrubber.get_attribute("aria-valuetext") == "step 5"
    figure.page.get_by_text("one on").click()
    assert figure.get()["step"] == 10
    figure.page.get_by_text("one back").click()
    assert figure.get()["step"] == 5
    figure.page.get_by_label("score from").fill("0.5")
    assert figure.get()["threshold"] == 0.5


def test_it_trains_by_itself_and_stops(open_figures) -> None:
    figure = open_figures(explore.training_steps())
    figure.set({"moment": 0})
    figure.page.get_by_text("train", exact=True).click()
    figure.page.wait_for_function(
        "document.querySelector('.detlearn-explore').detlearn.get().moment >= 2"
    )
    figure.page.get_by_text("pause").click()
    stopped = figure.get()["moment"]
    figure.page.wait_for_timeout(900)
    assert figure.get()["moment"] == stopped

    still = open_figures(explore.training_steps(), still=True)
    still.page.get_by_text("train", exact=True).click()
    assert still.get()["step"] == 640


DRAWN = """
() => {
  const kinds = { "#2fd6a8": "found", "#ff8a3c": "false", "#f0e442": "missed" };
  const scenes = document.querySelectorAll(".stage svg[viewBox='0 0 128 128']");
  return [...scenes].map((scene) => ({
    picture: scene.querySelector("image").getAttribute("href"),
    label: scene.getAttribute("aria-label"),
    boxes: [...scene.querySelectorAll("g > g")].map((group) => [
      kinds[group.querySelectorAll("rect")[1].getAttribute("stroke")],
      group.querySelector("title").textContent.split(":")[0],
    ]),
  }));
}
"""


def test_what_is_drawn_and_written_is_what_was_worked_out(open_figures) -> None:
    made = explore.training_steps()
    figure = open_figures(made)
    pictures = re.findall(r'<image href="([^"]+)"', made.still)
    assert len(set(pictures)) == 2

    for moment in (0, 3, 9, 14, 20):
        figure.set({"moment": moment, "threshold": 0.2})
        got = figure.get()
        totals = {"found": 0, "false": 0, "missed": 0}
        for i, scene in enumerate(figure.page.evaluate(DRAWN)):
            assert scene["picture"] == pictures[i]
            kinds = [kind for kind, _ in scene["boxes"]]
            assert kinds == [title for _, title in scene["boxes"]]
            counts = {kind: kinds.count(kind) for kind in totals}
            words = ", ".join(f"{count} {kind}" for kind, count in counts.items())
            assert scene["label"] == f"scene {i + 1}: {words}"
            totals = {kind: totals[kind] + counts[kind] for kind in totals}
        assert list(totals.values()) == [got["found"], got["false"], got["missed"]]

        loss = "not trained yet" if got["loss"] is None else f"loss {got['loss']:.2f} (mean of 15"
        text = figure.page.locator("p:not(.spoken)").inner_text()
        assert text.startswith(
            f"Step {got['step']} of 640: {got['found']} found, {got['false']} false, "
            f"{got['missed']} missed. Here {loss}"
        )
        assert f"AP50 {got['ap50']:.2f} on" in text

        # The dots stand at the moment in both charts, 286 units wide from 44 on.
        dots = figure.page.locator("circle[r='5.5']")
        assert dots.count() == (1 if got["loss"] is None else 2)
        for dot in dots.all():
            across = 44 + got["step"] / 640 * 286
            assert float(dot.get_attribute("cx")) == pytest.approx(across)
        assert float(dots.last.get_attribute("cy")) == pytest.approx(160 - got["ap50"] * 150)


def test_a_score_at_the_threshold_counts(open_figures, stored) -> None:
    """Scores are stored with few digits, so some are hit by a slider."""
    scores = [one["scores"] for one in stored["runs"][0]["moments"][12]["scenes"]]
    score = min(score for own in scores for score in own[:12] if score >= 0.1)
    figure = open_figures(explore.training_steps())
    figure.set({"moment": 12, "threshold": score})
    shown = figure.get()["shown"]
    assert min(row[4] for rows in shown for row in rows) == score


def test_there_is_no_moment_before_the_first_or_after_the_last(open_figures) -> None:
    figure = open_figures(explore.training_steps())
    back, on = (figure.page.get_by_role("button", name=name) for name in ("one back", "one on"))
    assert back.is_enabled() and on.is_enabled()
    figure.set({"moment": 1})
    back.click()
    assert figure.get()["moment"] == 0
    assert back.is_disabled() and on.is_enabled()
    figure.set({"moment": 20})
    assert back.is_enabled() and on.is_disabled()


def test_at_the_end_it_trains_anew_and_a_hand_stops_it(open_figures) -> None:
    figure = open_figures(explore.training_steps())
    figure.set({"moment": 20})
    figure.page.get_by_text("train", exact=True).click()
    figure.page.wait_for_function(
        "(m => m > 0 && m < 20)(document.querySelector('.detlearn-explore').detlearn.get().moment)",
        timeout=5000,
    )
    figure.page.get_by_role("slider", name="moment").fill("7")
    assert figure.page.get_by_text("train", exact=True).count() == 1
    figure.page.wait_for_timeout(900)
    assert figure.get()["moment"] == 7


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    page = open_figures(explore.training_steps(), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_has_a_still_picture() -> None:
    figure = explore.training_steps()
    assert len(figure._repr_html_().encode()) <= 60_000
    assert figure.still.count("<image") == 2


def test_the_still_picture_shows_the_end(open_figures, stored) -> None:
    made = explore.training_steps()
    figure = open_figures(made)
    figure.set({"moment": 20})
    got = figure.get()
    last = stored["runs"][0]["moments"][-1]
    assert "After step 640: solid found" in made.still
    assert f"AP50 {last['ap50']:.2f} on other scenes" in made.still
    for kind, count in (
        ("found", got["found"]),
        ("false", got["false"]),
        ("missed", got["missed"]),
    ):
        assert made.still.count(f"<title>{kind}: ") == count

"""A training step by step: what is found is what the package says, at every moment."""

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


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(open_figures, width: int) -> None:
    page = open_figures(explore.training_steps(), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_has_a_still_picture() -> None:
    figure = explore.training_steps()
    assert len(figure._repr_html_().encode()) <= 60_000
    assert figure.still.count("<image") == 2

"""The figure from scores to AP: its numbers are the package's, and it answers hand and keys."""

import random
import re

import pytest
import torch

from detlearn import explore, metrics, nms, results
from detlearn.data import ToyTown
from detlearn.explore.pictures import LOOKS
from detlearn.metrics.curves import average_precision, precision_recall, true_positives

SCENES = (1, 3, 5, 7)
NUM_CLASSES = 10


def stored() -> tuple[list[dict], list[dict]]:
    """The candidates and objects that the figure shows, in float64 as its script has them."""
    preview = results.load("point_candidates")["preview"]
    world = ToyTown(8, seed=preview["seed"])
    candidates = [
        {
            "boxes": torch.tensor(preview["detections"][s]["boxes"], dtype=torch.float64),
            "scores": torch.tensor(preview["detections"][s]["scores"], dtype=torch.float64),
            "labels": torch.tensor(preview["detections"][s]["labels"]),
        }
        for s in SCENES
    ]
    targets = [world[s][1] for s in SCENES]
    return candidates, [
        {"boxes": (100 * target["boxes"].double()).round() / 100, "labels": target["labels"]}
        for target in targets
    ]


def random_states(count: int) -> list[dict]:
    numbers = random.Random(1)
    return [
        {
            "threshold": numbers.choice([0, 0.3, 0.5, numbers.uniform(0, 1), 1]),
            "method": numbers.choice(["none", "nms", "nms", "soft", "soft"]),
            "iou": numbers.choice([0, 0.5, 1, numbers.uniform(0, 1)]),
            "sigma": numbers.uniform(0.05, 2),
            "label": numbers.choice([-1, -1, 0, 2, 6]),
            "scene": numbers.randrange(4),
        }
        for _ in range(count)
    ]


def suppressed(found: dict, state: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """The package's answer for one scene: who is kept, best first, and with which score."""
    boxes, scores, labels = found["boxes"], found["scores"], found["labels"]
    if state["method"] == "none":
        return torch.arange(len(scores)), scores
    if state["method"] == "nms":
        keep = nms.batched_nms(boxes, scores, labels, state["iou"])
        return keep, scores[keep]

    kept = torch.zeros(0, dtype=torch.int64)
    kept_scores = scores[:0]
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        keep, lowered = nms.soft_nms(boxes[own], scores[own], sigma=state["sigma"])
        kept, kept_scores = torch.cat((kept, own[keep])), torch.cat((kept_scores, lowered))

    # Best first; of equal scores the earlier candidate.
    by_index = kept.argsort()
    kept, kept_scores = kept[by_index], kept_scores[by_index]
    order = kept_scores.argsort(descending=True, stable=True)
    return kept[order], kept_scores[order]


def judged(found: dict, target: dict, state: dict) -> dict[str, torch.Tensor]:
    """The detections of one scene at a state, of the class looked at, with their verdicts."""
    keep, scores = suppressed(found, state)
    boxes, labels = found["boxes"][keep], found["labels"][keep]
    right = torch.zeros(len(keep), dtype=torch.bool)
    for label in labels.unique():
        own = labels == label
        right[own] = true_positives(boxes[own], target["boxes"][target["labels"] == label])

    # Which detections those above the threshold are does not hang on the others below it.
    chosen = scores >= state["threshold"]
    if state["label"] >= 0:
        chosen &= labels == state["label"]
    parts = {"index": keep, "boxes": boxes, "labels": labels, "scores": scores, "right": right}
    return {name: part[chosen] for name, part in parts.items()}


def expected(candidates: list[dict], targets: list[dict], state: dict) -> dict:
    scenes = [judged(found, target, state) for found, target in zip(candidates, targets)]
    wanted = [target["labels"] for target in targets]
    if state["label"] >= 0:
        wanted = [labels[labels == state["label"]] for labels in wanted]
    num_objects = sum(map(len, wanted))

    scores = torch.cat([scene["scores"] for scene in scenes])
    right = torch.cat([scene["right"] for scene in scenes])
    precision, recall = precision_recall(scores, right, num_objects)
    return {
        "indices": [scene["index"].tolist() for scene in scenes],
        "found": int(right.sum()),
        "wrong": int((~right).sum()),
        "missed": num_objects - int(right.sum()),
        "precision": float(precision[-1]) if len(right) else None,
        "recall": float(recall[-1]) if len(right) else 0,
        "ap": float(average_precision(precision, recall)) if len(right) else 0,
        "mean_ap": mean_ap(scenes, targets, state),
    }


def mean_ap(scenes: list[dict], targets: list[dict], state: dict) -> float:
    """COCO's AP at IoU 0.5, mean over the classes that are there."""
    shown = [{key: scene[key] for key in ("boxes", "scores", "labels")} for scene in scenes]
    if state["label"] >= 0:
        chosen = [target["labels"] == state["label"] for target in targets]
        targets = [
            {key: part[own] for key, part in target.items()} for target, own in zip(targets, chosen)
        ]
    return metrics.coco_metrics(shown, targets, NUM_CLASSES).ap50


def test_every_number_is_the_packages(open_figures) -> None:
    candidates, targets = stored()
    states = random_states(120)
    for state, got in zip(states, open_figures(explore.scores_to_ap()).in_states(states)):
        want = expected(candidates, targets, state)
        indices = [[d["index"] for d in got["shown"] if d["scene"] == s] for s in range(4)]
        assert indices == want["indices"], state
        for key in ("found", "wrong", "missed"):
            assert got[key] == want[key], (key, state)
        for key in ("precision", "recall", "ap"):
            assert got[key] == pytest.approx(want[key], abs=1e-9), (key, state)
        assert got["meanAp"] == pytest.approx(want["mean_ap"], abs=1e-9), state

        whole = expected(candidates, targets, state | {"threshold": 0})
        assert got["wholeAp"] == pytest.approx(whole["ap"], abs=1e-9), state


def test_the_rounds_are_those_of_nms(open_figures) -> None:
    candidates, _ = stored()
    states = [{"method": "nms", "iou": iou / 20} for iou in range(21)]
    for state, got in zip(states, open_figures(explore.scores_to_ap()).in_states(states)):
        for found, rounds in zip(candidates, got["rounds"]):
            keep = nms.batched_nms(found["boxes"], found["scores"], found["labels"], state["iou"])
            assert [one["index"] for one in rounds] == keep.tolist()

            # Each candidate is taken or dropped, exactly once.
            dropped = [i for one in rounds for i in one["dropped"]]
            assert sorted(keep.tolist() + dropped) == list(range(len(found["boxes"])))


def test_other_detections_may_be_shown(open_figures) -> None:
    image = torch.zeros(3, 40, 60)
    target = {"boxes": torch.tensor([[10.0, 10, 30, 30]]), "labels": torch.tensor([1])}
    found = {
        "boxes": torch.tensor([[40.0, 0, 50, 9], [10, 10, 30, 30], [11, 10, 31, 30]]),
        "scores": torch.tensor([0.4, 0.9, 0.8]),
        "labels": torch.tensor([0, 1, 1]),
    }
    figure = open_figures(explore.scores_to_ap([found], [target], [image], ["</script>", "b"]))
    figure.set({"threshold": 0})
    got = figure.get()
    assert (got["found"], got["wrong"], got["missed"], got["ap"]) == (1, 1, 0, 1)
    figure.set({"method": "none"})
    assert figure.get()["wrong"] == 2


def small_figure(scenes: list[tuple[list, list]]) -> explore.Explorable:
    """A figure of scenes given as (boxes with scores, objects), all of one class."""
    found, targets = [], []
    for detections, objects in scenes:
        boxes, scores = zip(*detections)
        found.append(
            {
                "boxes": torch.tensor(boxes, dtype=torch.float32),
                "scores": torch.tensor(scores),
                "labels": torch.zeros(len(scores), dtype=torch.int64),
            }
        )
        labels = torch.zeros(len(objects), dtype=torch.int64)
        targets.append({"boxes": torch.tensor(objects, dtype=torch.float32), "labels": labels})
    images = [torch.full((3, 40, 60), 0.1 * i) for i in range(len(scenes))]
    return explore.scores_to_ap(found, targets, images, ["thing"])


def test_an_iou_of_one_half_is_enough(open_figures) -> None:
    figure = open_figures(small_figure([([([0, 0, 10, 10], 0.9)], [[0, 0, 10, 5]])]))
    assert (figure.get()["found"], figure.get()["ap"]) == (1, 1)


def test_of_equal_scores_the_earlier_scene_comes_first(open_figures) -> None:
    wrong = ([([0, 0, 10, 10], 0.5)], [[30, 10, 50, 30]])
    right = ([([0, 0, 10, 10], 0.5)], [[0, 0, 10, 10]])
    figure = open_figures(small_figure([wrong, right]))
    assert figure.get()["ap"] == pytest.approx(51 / 101 / 2)  # recall 1/2 at precision 1/2
    figure = open_figures(small_figure([right, wrong]))
    assert figure.get()["ap"] == pytest.approx(51 / 101)


def test_of_equal_scores_the_earlier_box_stays(open_figures) -> None:
    twins = [([0, 0, 10, 10], 0.5), ([1, 0, 11, 10], 0.5)]
    figure = open_figures(small_figure([(twins, [[0, 0, 10, 10]])]))
    assert [one["index"] for one in figure.get()["rounds"][0]] == [0]


def test_a_score_at_the_threshold_counts(open_figures) -> None:
    figure = open_figures(small_figure([([([0, 0, 10, 10], 0.5)], [[0, 0, 10, 10]])]))
    figure.set({"threshold": 0.5})
    assert figure.get()["found"] == 1
    figure.set({"threshold": 0.51})
    assert figure.get()["found"] == 0
    undefined = "Precision undefined, recall 0.00."
    assert figure.page.locator("p:not(.spoken)", has_text=undefined).is_visible()


@pytest.mark.parametrize(
    "change", [{"method": "soft"}, {"iou": 0.4}, {"sigma": 0.7}, {"scene": 1}, {"round": 0}]
)
def test_other_rounds_are_begun_from_the_start(open_figures, change: dict) -> None:
    figure = open_figures(explore.scores_to_ap())
    figure.set({"round": 3})
    figure.set({"threshold": 0.4})
    assert figure.get()["round"] == 3
    figure.set(change)
    assert figure.get()["round"] == 0


def test_there_is_no_round_before_the_first_or_after_the_last(open_figures) -> None:
    figure = open_figures(explore.scores_to_ap())
    figure.set({"view": "steps", "round": 1000})
    assert figure.get()["round"] == len(figure.get()["rounds"][0])
    figure.page.get_by_text("next box").click()
    assert figure.get()["round"] == len(figure.get()["rounds"][0])
    figure.set({"round": 0})
    figure.page.get_by_role("button", name="back").click()
    assert figure.get()["round"] == 0


DRAWN = """
() => {
  const kinds = { "FOUND": "right", "FALSE": "wrong", "MISSED": "missed" };
  const scenes = document.querySelectorAll(".pair svg");
  return [...scenes].map((scene) => ({
    picture: scene.querySelector("image").getAttribute("href"),
    label: scene.getAttribute("aria-label"),
    boxes: [...scene.querySelectorAll("g > g")].map((group) => [
      kinds[group.querySelectorAll("rect")[1].getAttribute("stroke")],
      group.querySelector("title").textContent,
    ]),
  }));
}
"""
for kind, (colour, _) in LOOKS.items():
    DRAWN = DRAWN.replace(kind.upper(), colour)


def test_what_is_drawn_and_written_is_what_was_worked_out(open_figures) -> None:
    made = explore.scores_to_ap()
    figure = open_figures(made)
    pictures = re.findall(r'<image href="([^"]+)"', made.still)
    assert len(set(pictures)) == 4

    for state in random_states(14):
        figure.set(state)
        got = figure.get()
        drawn = figure.page.evaluate(DRAWN)
        assert [scene["picture"] for scene in drawn] == pictures

        totals = {"right": 0, "wrong": 0, "missed": 0}
        for s, scene in enumerate(drawn):
            own = [one for one in got["shown"] if one["scene"] == s]
            right = sum(one["object"] >= 0 for one in own)
            kinds = [kind for kind, _ in scene["boxes"]]
            counts = {kind: kinds.count(kind) for kind in totals}
            assert (counts["right"], counts["wrong"]) == (right, len(own) - right)
            words = ", ".join(f"{count} {kind}" for kind, count in counts.items())
            assert scene["label"] == f"Scene {s + 1}: {words}"

            # Each box says itself what it is.
            assert all(title.startswith(kind) for kind, title in scene["boxes"])
            totals = {kind: totals[kind] + counts[kind] for kind in totals}
        assert list(totals.values()) == [got["found"], got["wrong"], got["missed"]]

        text = " ".join(figure.page.locator("p:not(.spoken)").all_inner_texts())
        assert (
            f"✓ {got['found']} right (solid), ✗ {got['wrong']} wrong (dashed), "
            f"? {got['missed']} missed (dotted)" in text
        )
        height = "undefined" if got["precision"] is None else f"{got['precision']:.2f}"
        assert f"Precision {height}, recall {got['recall']:.2f}." in text
        assert f"is {got['ap']:.3f}; of the whole list {got['wholeAp']:.3f}." in text
        mean = f"Mean of the classes' own APs: {got['meanAp']:.3f}."
        assert (mean in text) == (state["label"] == -1)

        # The controls say the state, and only those that do something are there.
        assert figure.page.locator("select").input_value() == str(state["label"])
        assert figure.page.locator("input:checked").first.get_attribute("value") == state["method"]
        assert figure.page.get_by_label("NMS, IoU above").is_visible() == (state["method"] == "nms")
        assert figure.page.get_by_label("Soft-NMS, width").is_visible() == (
            state["method"] == "soft"
        )


def test_the_area_of_the_chart_is_the_ap(open_figures) -> None:
    figure = open_figures(explore.scores_to_ap())
    for state in ({"threshold": 0.2}, {"threshold": 0.5, "method": "none"}, {"threshold": 1}):
        figure.set(state)
        chart = "svg[aria-label='precision against recall']"
        rectangles = figure.page.evaluate(
            f'[...document.querySelectorAll("{chart} rect")].map((rect) => '
            "['x', 'y', 'width', 'height'].map((name) => Number(rect.getAttribute(name))))"
        )
        assert len(rectangles) == 101
        frame = {"left": 44, "right": 330, "top": 10, "bottom": 250}
        size = (frame["right"] - frame["left"]) * (frame["bottom"] - frame["top"])
        area = sum(width * height for _, _, width, height in rectangles)
        got = figure.get()
        assert area / size == pytest.approx(got["ap"])

        dot = figure.page.locator(f"{chart} circle")
        across = 44 + got["recall"] * 286
        down = 250 - (1 if got["precision"] is None else got["precision"]) * 240
        assert float(dot.get_attribute("cx")) == pytest.approx(across)
        assert float(dot.get_attribute("cy")) == pytest.approx(down)


def test_each_step_shows_who_is_taken_gone_and_waiting(open_figures) -> None:
    figure = open_figures(explore.scores_to_ap())
    for round_ in (0, 1, 4, 9):
        figure.set({"view": "steps", "scene": 1, "round": round_})
        got = figure.get()
        past = got["rounds"][1][:round_]
        dropped = [len(one["dropped"]) for one in past]
        last = dropped[-1] if dropped else 0

        # Those that the last round dropped are still shown, dashed; those of earlier ones are not.
        drawn = figure.page.locator("svg[aria-label^='Scene 2.'] > g > g")
        looks = drawn.evaluate_all(
            "groups => groups.map((g) => g.querySelectorAll('rect')[1].getAttribute('stroke'))"
        )
        assert looks.count("#d0d8ff") == 60 - round_ - sum(dropped)
        assert looks.count(LOOKS["false"][0]) == last
        assert looks.count(LOOKS["found"][0]) == round_
        assert looks.count("#ffffff") == min(round_, 1)


def test_it_is_worked_by_keys_alone(open_figures) -> None:
    figure = open_figures(explore.scores_to_ap())
    keys = figure.page.keyboard
    keys.press("Tab")  # what becomes of duplicates
    keys.press("ArrowRight")
    assert figure.get()["method"] == "soft"
    keys.press("ArrowLeft")
    keys.press("Tab")
    keys.press("Shift+ArrowRight")
    assert figure.get()["threshold"] == pytest.approx(0.4)
    keys.press("Tab")
    keys.press("ArrowLeft")
    assert figure.get()["iou"] == pytest.approx(0.49)
    keys.press("Tab")  # what is shown
    keys.press("ArrowRight")
    assert figure.get()["view"] == "steps"
    keys.press("Tab")
    keys.press("ArrowRight")
    assert figure.get()["scene"] == 1
    keys.press("Tab")
    keys.press("Enter")
    keys.press("Enter")
    assert figure.get()["round"] == 2
    keys.press("Tab")
    keys.press("Enter")
    assert figure.get()["round"] == 1


def test_steps_are_told_in_words(open_figures) -> None:
    figure = open_figures(explore.scores_to_ap())
    figure.set({"view": "steps", "scene": 2, "round": 2})
    one = figure.get()["rounds"][2][1]
    assert len(one["dropped"]) > 1
    said = f"drops {len(one['dropped'])} boxes of its class with an IoU above 0.50"
    assert figure.page.locator("p:not(.spoken)", has_text=said).is_visible()
    figure.page.wait_for_function(
        "text => document.querySelector('[aria-live]').textContent.includes(text)", arg=said
    )


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("view", ["scenes", "steps"])
def test_it_fits(open_figures, width: int, view: str) -> None:
    figure = open_figures(explore.scores_to_ap(), width=width)
    figure.set({"view": view, "round": 3})
    assert figure.page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts_the_scenes_stand_there(open_figures) -> None:
    page = open_figures(explore.scores_to_ap(), scripts=False).page
    assert page.locator(".stage image").count() == 4


def test_the_still_picture_shows_what_the_living_one_begins_with(open_figures) -> None:
    """Solid what is right, dashed what is wrong, at the thresholds with which it begins."""
    made = explore.scores_to_ap()
    got = open_figures(made).get()
    paths = re.findall(
        r'<path d="([^"]*)" stroke="[^"]+"( stroke-dasharray="[^"]+")?/>', made.still
    )
    assert len(paths) == 8
    solid = sum(path.count("Z") for path, dashes in paths if not dashes)
    dashed = sum(path.count("Z") for path, dashes in paths if dashes)
    assert (solid, dashed) == (got["found"], got["wrong"])


def test_scenes_keep_their_form(open_figures) -> None:
    """A scene need not be square: 60 wide and 40 high."""
    figure = open_figures(small_figure([([([0, 0, 10, 10], 0.9)], [[0, 0, 10, 5]])]))
    scene = figure.page.locator(".pair svg")
    assert scene.get_attribute("viewBox") == "0 0 60 40"


def test_it_is_small() -> None:
    assert len(explore.scores_to_ap()._repr_html_().encode()) <= 60_000


def test_half_of_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="together"):
        explore.scores_to_ap(targets=[])
    with pytest.raises(ValueError, match="at least one"):
        explore.scores_to_ap([], [], [])

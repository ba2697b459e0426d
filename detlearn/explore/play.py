"""The reader's own detector under sliders: what it finds while thresholds and scenes change.

This figure needs a kernel, because it runs the model. Its widgets are ipywidgets', of version 7.7
(Colab) or 8; where there are none, in a built page, the last thing it drew stands as a picture.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import ipywidgets
from torch import Tensor, nn

from detlearn.data import ToyTown
from detlearn.data.toytown import SCENARIOS
from detlearn.explore.pictures import line_sample, matches_as_svg, webp
from detlearn.metrics import coco_metrics, predict
from detlearn.nms import batched_nms
from detlearn.plotting.matches import match_detections
from detlearn.samples import check_objects

LOWEST_SCORE = 0.05  # the score slider begins here; the model is asked for nothing lower
MOST_CANDIDATES = 100_000  # of an image: all of them
KEEP_ALL = 1.0  # no IoU is above it, so NMS drops nothing
SAME_OBJECT = 0.5  # IoU from which on a detection counts as found, in the pictures
MOST_OBJECTS = 20  # end of the slider

# How detectors call their thresholds: ours, torchvision's one-stage ones, its second stages.
NAMES_OF_SETTINGS = (
    ("score_threshold", "nms_threshold", "max_detections"),
    ("score_thresh", "nms_thresh", "detections_per_img"),
)


@dataclass(frozen=True)
class Found:
    """What a detector says about the scenes, at the thresholds chosen.

    Attributes:
        detections: one dictionary a scene, "boxes", "scores" and "labels".
        matched: one tensor (D,) a scene: the index of the object that a detection found, −1 for a
            false one.
        found: number of objects found, over all scenes; IoU from 0.5 on, class right.
        false: number of detections that found none.
        missed: number of objects that none found.
        ap: COCO's AP of the scenes, from 0 to 1; −1 without objects.
        ap50: the same at IoU 0.5 alone.
    """

    detections: list[dict[str, Tensor]]
    matched: list[Tensor]
    found: int
    false: int
    missed: int
    ap: float
    ap50: float


def play(
    model: nn.Module,
    *,
    scenes: int = 6,
    scenario: str = "default",
    seed: int = 30,
    score_threshold: float = 0.3,
    nms_threshold: float = 0.5,
) -> Player:
    """Show what a detector finds on new ToyTown scenes, under sliders.

    Args:
        model: a trained detector of the package or of torchvision, for ToyTown's classes; it stays
            where it is and as it is.
        scenes: how many are shown.
        scenario: of ToyTown, at the beginning.
        seed: of ToyTown, at the beginning.
        score_threshold: detections with no higher score are left out, at the beginning.
        nms_threshold: IoU above which the lower-scoring of two detections of a class is dropped, at
            the beginning.

    Returns:
        A `Player`, which shows itself in a notebook.

    Raises:
        TypeError: if the model is no module, or does not answer a list of images as a detector.
        ValueError: for an unknown scenario, no scene, a seed below 0, thresholds outside of the
            sliders, or a detector that knows other classes than ToyTown's.
    """
    return Player(
        model,
        scenes=scenes,
        scenario=scenario,
        seed=seed,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
    )


class Player:
    """A detector, scenes, and the widgets that change both; made by `play`.

    Setting a widget's ``value`` does what a reader's hand does: ``player.seed.value = 7`` draws
    other scenes, asks the detector and brings `result` up to date before the next line runs.

    Attributes:
        score_threshold: slider, only detections with a higher score are shown and counted.
        nms_threshold: slider, IoU above which the lower-scoring of two of a class is dropped.
        scenario: dropdown, of ToyTown.
        seed: slider, of ToyTown.
        num_objects: slider of two ends, fewest and most single objects in a scene.
        town: the scenes.
        result: what was `Found` in them.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        scenes: int,
        scenario: str,
        seed: int,
        score_threshold: float,
        nms_threshold: float,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"model is a {type(model).__name__}: expected a detector, a torch.nn.Module"
            )
        if scenes < 1:
            raise ValueError(f"scenes is {scenes}: expected at least one")
        if not LOWEST_SCORE <= score_threshold <= 1:
            raise ValueError(
                f"score_threshold is {score_threshold}: expected {LOWEST_SCORE} to 1, the ends of "
                "the slider"
            )
        if not 0 <= nms_threshold <= 1:
            raise ValueError(f"nms_threshold is {nms_threshold}: expected 0 to 1")
        if seed < 0:
            raise ValueError(f"seed is {seed}: expected 0 or more, as on the slider")
        if scenario not in SCENARIOS:
            raise ValueError(f"no scenario {scenario!r}; choose one of {', '.join(SCENARIOS)}")

        self.model = model
        self._num_scenes = scenes
        self._make_widgets(scenario, seed, score_threshold, nms_threshold)
        self._draw_scenes()

        # Scenes follow when the hand lets go, since the detector has to run; thresholds at once.
        for widget in (self.seed, self.num_objects):
            widget.observe(lambda change: self._draw_scenes(), names="value")
        self.scenario.observe(lambda change: self._change_scenario(), names="value")
        for widget in (self.score_threshold, self.nms_threshold):
            widget.observe(lambda change: self._follow(), names="value")

    def __repr__(self) -> str:
        return f"Player({self._sentence()})"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Return the widgets, and beside them the picture, for where no widgets are."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self._all.model_id}
        return {
            "text/plain": repr(self),
            "text/html": self._picture.value,
            "application/vnd.jupyter.widget-view+json": view,
        }

    # ---- widgets -----------------------------------------------------------------------------

    def _make_widgets(
        self, scenario: str, seed: int, score_threshold: float, nms_threshold: float
    ) -> None:
        wide = {
            "style": {"description_width": "9em"},
            # A share of a column that is itself as wide as its content would leave no track.
            "layout": ipywidgets.Layout(width="24em", max_width="98%"),
        }
        self.score_threshold = ipywidgets.FloatSlider(
            value=score_threshold,
            min=LOWEST_SCORE,
            max=1.0,
            step=0.01,
            description="score threshold",
            **wide,
        )
        self.nms_threshold = ipywidgets.FloatSlider(
            value=nms_threshold, min=0.0, max=1.0, step=0.01, description="NMS threshold", **wide
        )
        self.scenario = ipywidgets.Dropdown(
            options=list(SCENARIOS), value=scenario, description="scenario", **wide
        )
        self.seed = ipywidgets.IntSlider(
            value=seed,
            min=0,
            max=max(100, seed),
            description="seed",
            continuous_update=False,
            **wide,
        )
        self.num_objects = ipywidgets.IntRangeSlider(
            value=_objects_of(scenario),
            min=0,
            max=MOST_OBJECTS,
            description="objects",
            continuous_update=False,
            **wide,
        )

        self._picture = ipywidgets.HTML()
        thresholds = ipywidgets.VBox([self.score_threshold, self.nms_threshold])
        town = ipywidgets.VBox([self.scenario, self.seed, self.num_objects])
        rows = ipywidgets.Layout(display="flex", flex_flow="row wrap")
        controls = ipywidgets.Box([thresholds, town], layout=rows)
        self._all = ipywidgets.VBox([controls, self._picture])

    def _change_scenario(self) -> None:
        """Another scenario has its own numbers of objects."""
        before = self.num_objects.value
        self.num_objects.value = _objects_of(self.scenario.value)
        if self.num_objects.value == before:  # else the slider has drawn the scenes
            self._draw_scenes()

    # ---- what follows from them --------------------------------------------------------------

    def _draw_scenes(self) -> None:
        """Draw the scenes and ask the detector for all that it could say about them."""
        knobs = {**SCENARIOS[self.scenario.value], "num_objects": self.num_objects.value}
        self.town = ToyTown(self._num_scenes, seed=self.seed.value, **knobs)
        self._images = [webp(image) for image in self.town.images]

        with _wide_open(self.model):
            self._candidates = _asked(self.model, self.town)
        self._follow()

    def _follow(self) -> None:
        """Apply the thresholds to what the detector said."""
        targets = [target for _, target in self.town]
        detections = [self._chosen(candidates) for candidates in self._candidates]
        matched = [match_detections(*pair) for pair in zip(detections, targets)]

        found = sum(int((one >= 0).sum()) for one in matched)
        names = self.town.class_names
        metrics = coco_metrics(detections, targets, len(names), class_names=names)
        self.result = Found(
            detections=detections,
            matched=matched,
            found=found,
            false=sum(len(one) for one in matched) - found,
            missed=sum(len(target["boxes"]) for target in targets) - found,
            ap=metrics.ap,
            ap50=metrics.ap50,
        )
        self._picture.value = self._drawn(targets)

    def _chosen(self, candidates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Do what the end of a detector does: the score threshold, and NMS within each class."""
        high_enough = candidates["scores"] > self.score_threshold.value
        boxes, scores, labels = (
            candidates[key][high_enough] for key in ("boxes", "scores", "labels")
        )
        keep = batched_nms(boxes, scores, labels, self.nms_threshold.value)[:100]
        return {"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep]}

    # ---- the picture -------------------------------------------------------------------------

    def _sentence(self) -> str:
        result = self.result
        objects = result.found + result.missed
        measured = f"AP {result.ap:.2f}, AP50 {result.ap50:.2f}" if objects else "no AP"
        return (
            f"{result.found} of {objects} objects found, {result.false} false detections, "
            f"{result.missed} missed; {measured} on these {self._num_scenes} scenes"
        )

    def _drawn(self, targets: list[dict[str, Tensor]]) -> str:
        """Return the scenes as HTML, with what is found, false and missed."""
        result = self.result
        sentence = self._sentence()

        scenes = "".join(
            matches_as_svg(image, target, detections, matched, self.town.class_names)
            for image, target, detections, matched in zip(
                self._images, targets, result.detections, result.matched
            )
        )

        settings = (
            f"score threshold {self.score_threshold.value:.2f}, "
            f"NMS threshold {self.nms_threshold.value:.2f}, "
            f"scenario {self.scenario.value}, seed {self.seed.value}"
        )

        legend = "".join(
            '<span style="display:inline-flex;align-items:center;gap:.35em">'
            f"{line_sample(kind)}{word}</span>"
            for kind, word in (("found", "found"), ("false", "false"), ("missed", "missed object"))
        )

        # The sentence above, as many scenes in a row as the page is wide, the legend below.
        return (
            f'<div role="group" aria-label="{html.escape(sentence)}" '
            'style="max-width:780px;line-height:1.4">'
            f'<p style="margin:.4em 0"><b>{sentence}.</b></p>'
            '<div style="display:grid;gap:6px;'
            f'grid-template-columns:repeat(auto-fill,minmax(max(165px,30%),1fr))">{scenes}</div>'
            '<p style="display:flex;flex-wrap:wrap;gap:.2em 1.2em;margin:.4em 0">'
            f"{legend}<span>{settings}</span></p></div>"
        )


def _objects_of(scenario: str) -> tuple[int, int]:
    """Return the fewest and most single objects of a scenario."""
    return SCENARIOS[scenario].get("num_objects", (1, 6))


# ---- asking a detector


def _asked(model: nn.Module, town: ToyTown) -> list[dict[str, Tensor]]:
    """Return what a detector says about the scenes, or say why it is no detector for them."""
    kind = type(model).__name__
    try:
        answers = predict(model, town, progress=False)
    except (TypeError, AttributeError) as error:  # what comes of a list where a tensor is wanted
        raise TypeError(
            f"model is a {kind}: expected a detector of the package or of torchvision, which "
            "answers a list of images (3, H, W) with boxes, scores and labels for each; asked so, "
            f"it raises {type(error).__name__}: {error}"
        ) from error

    num_classes = len(town.class_names)
    for answer in answers:
        name = f"what the {kind} finds"
        check_objects(answer, name, ("boxes", "scores", "labels"), num_classes=num_classes)
    return answers


@contextmanager
def _wide_open(model: nn.Module) -> Iterator[None]:
    """Let a detector return its candidates before NMS; then put its thresholds back.

    A threshold commutes with NMS, which asks higher scores only: applied afterwards, both give what
    the detector itself would give. A model whose thresholds have other names is left as it is: then
    what it drops by itself cannot be seen.
    """
    wanted = (LOWEST_SCORE, KEEP_ALL, MOST_CANDIDATES)
    with ExitStack() as undo:
        for part in (model, getattr(model, "roi_heads", None)):
            for names in NAMES_OF_SETTINGS:
                if part is not None and all(hasattr(part, name) for name in names):
                    for name, value in zip(names, wanted):
                        undo.callback(setattr, part, name, getattr(part, name))
                        setattr(part, name, value)
        yield

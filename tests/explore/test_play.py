"""A detector under sliders: thresholds and scenes do what the model itself would do with them."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from detlearn import explore, metrics, models
from detlearn.data import ToyTown
from detlearn.explore.play import Found
from detlearn.plotting.matches import match_detections


class Guesser(models.Detector):
    """Says many things about every image, the same about the same image."""

    def __init__(self) -> None:
        super().__init__(num_classes=10)
        self.calls = 0

    def predict(self, images: Tensor, sizes=None):
        self.calls += 1
        return images, sizes

    def decode(self, outputs):
        found = []
        for image in outputs[0]:
            numbers = torch.Generator().manual_seed(int(image.abs().sum() * 1000))
            corners = torch.rand(20, 2, generator=numbers) * 90
            sides = torch.rand(20, 2, generator=numbers) * 30 + 5
            scores = torch.rand(20, 10, generator=numbers) ** 6
            found.append(self.select_detections(torch.cat((corners, corners + sides), 1), scores))
        return found


class Oracle(nn.Module):
    """Knows the scenes of one town, and finds all objects; its thresholds have no known names."""

    def __init__(self, town: ToyTown) -> None:
        super().__init__()
        self.town = town

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        found = []
        for image in images:
            (i,) = [i for i in range(len(self.town)) if torch.equal(self.town[i][0], image)]
            target = self.town[i][1]
            scores = torch.linspace(0.9, 0.6, len(target["boxes"]))
            found.append({**{k: target[k] for k in ("boxes", "labels")}, "scores": scores})
        return found


class RandomPredictor(nn.Module):
    """A second stage that has not been trained gives all boxes one score; this one does not."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        numbers = torch.Generator().manual_seed(0)
        logits = 2 * torch.randn(len(features), 10, generator=numbers)
        return logits, torch.randn(len(features), 40, generator=numbers)


def confident_point() -> nn.Module:
    torch.manual_seed(0)
    model = models.create("point", num_classes=10).eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None and layer.out_channels == 10:
            nn.init.constant_(layer.bias, -1.0)
    return model


def torchvision_detector() -> nn.Module:
    torch.manual_seed(0)
    model = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=10, min_size=128, max_size=128
    )
    model.roi_heads.box_predictor = RandomPredictor()
    return model.eval()


def own_answer(model: nn.Module, town: ToyTown, score: float, nms: float) -> list[dict]:
    """What the detector says when it is given the thresholds itself."""
    if isinstance(model, models.Detector):
        model.score_threshold, model.nms_threshold = score, nms
    else:
        model.roi_heads.score_thresh, model.roi_heads.nms_thresh = score, nms
    return metrics.predict(model, town, progress=False)


@pytest.mark.parametrize("make", [Guesser, confident_point, torchvision_detector])
def test_the_sliders_do_what_the_models_own_thresholds_do(make) -> None:
    model = make()
    player = explore.play(model, scenes=2, score_threshold=0.1)
    counts = set()
    for score, nms in ((0.1, 0.5), (0.06, 0.5), (0.11, 0.2), (0.11, 0.8)):
        player.score_threshold.value = score
        player.nms_threshold.value = nms
        for found, own in zip(player.result.detections, own_answer(model, player.town, score, nms)):
            counts.add(len(own["boxes"]))
            assert torch.equal(found["labels"], own["labels"])
            torch.testing.assert_close(found["scores"], own["scores"])
            torch.testing.assert_close(found["boxes"], own["boxes"])
    assert max(counts) > 5
    assert len(counts) > 2 or make is not Guesser  # the lists of the others are always full


def test_the_model_is_left_as_it_was() -> None:
    model = Guesser().train()
    settings = model.score_threshold, model.nms_threshold, model.max_detections
    explore.play(model, scenes=1)
    assert (model.score_threshold, model.nms_threshold, model.max_detections) == settings
    assert model.training

    foreign = torchvision_detector()
    explore.play(foreign, scenes=1)
    assert foreign.roi_heads.score_thresh == 0.05
    assert foreign.roi_heads.nms_thresh == 0.5
    assert foreign.roi_heads.detections_per_img == 100


def test_counts_and_ap_by_the_package() -> None:
    player = explore.play(Guesser(), scenes=3, score_threshold=0.4)
    result = player.result
    assert isinstance(result, Found)
    targets = [target for _, target in player.town]
    matched = [match_detections(*pair) for pair in zip(result.detections, targets)]
    assert all(torch.equal(a, b) for a, b in zip(result.matched, matched))
    assert result.found == sum(int((one >= 0).sum()) for one in matched)
    assert result.false == sum(int((one == -1).sum()) for one in matched) > 0
    assert result.found + result.missed == sum(len(target["boxes"]) for target in targets)

    measured = metrics.coco_metrics(result.detections, targets, 10)
    assert (result.ap, result.ap50) == (measured.ap, measured.ap50)


def test_all_found_by_hand() -> None:
    town = ToyTown(4, seed=9)
    player = explore.play(Oracle(town), scenes=4, seed=9)
    objects = sum(len(target["boxes"]) for _, target in town)
    result = player.result
    assert (result.found, result.false, result.missed) == (objects, 0, 0)
    assert result.ap == pytest.approx(1)
    assert f"{objects} of {objects} objects found" in repr(player)

    player.score_threshold.value = 1.0
    result = player.result
    assert (result.found, result.false, result.missed) == (0, 0, objects)
    assert result.ap == 0


def test_thresholds_ask_the_detector_nothing_and_scenes_ask_it_once() -> None:
    model = Guesser()
    player = explore.play(model, scenes=2)
    assert model.calls == 1
    player.score_threshold.value = 0.2
    player.nms_threshold.value = 0.9
    assert model.calls == 1
    player.seed.value = 5
    assert model.calls == 2
    assert torch.equal(player.town.images, ToyTown(2, seed=5).images)

    player.scenario.value = "crowd"
    assert model.calls == 3
    assert player.num_objects.value == (10, 18)
    assert torch.equal(player.town.images, ToyTown.scenario("crowd", 2, seed=5).images)
    player.scenario.value = "default"
    player.scenario.value = "tiny"  # with the same numbers of objects
    assert model.calls == 5
    assert torch.equal(player.town.images, ToyTown.scenario("tiny", 2, seed=5).images)

    player.num_objects.value = (0, 0)
    assert model.calls == 6
    assert all(len(target["boxes"]) == 0 for _, target in player.town)
    assert player.result.found == player.result.missed == 0
    assert "no AP" in repr(player)


def test_it_shows_widgets_and_the_same_picture_without() -> None:
    player = explore.play(Guesser(), scenes=2, score_threshold=0.5)
    bundle = player._repr_mimebundle_()
    picture = bundle["text/html"]
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert picture.count("<image") == 2
    assert player._sentence() in picture
    assert picture.count("false: ") == player.result.false
    assert picture.count("missed: ") == player.result.missed
    assert "<script" not in picture

    player.score_threshold.value = 0.9
    assert player._repr_mimebundle_()["text/html"] != picture
    assert len(player._repr_mimebundle_()["text/html"].encode()) <= 60_000


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scenes": 0}, "scenes"),
        ({"scenario": "jungle"}, "jungle"),
        ({"score_threshold": 0.01}, "score_threshold"),
        ({"nms_threshold": 1.5}, "nms_threshold"),
        ({"seed": -1}, "seed is -1: expected 0 or more"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        explore.play(Guesser(), **wrong)


class Answers(nn.Module):
    """A model that answers every image alike."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: list[Tensor]):
        return [self.answer] * len(images)


EMPTY = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0).long()}
ONE = {"boxes": torch.ones(1, 4), "scores": torch.ones(1), "labels": torch.tensor([9])}


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (lambda images: [], TypeError, "model is a function: expected a detector"),
        (None, TypeError, "model is a NoneType"),
        (nn.Linear(3, 4), TypeError, r"model is a Linear: .* list of images .* raises TypeError"),
        (nn.Sequential(nn.Conv2d(3, 8, 3)), TypeError, "model is a Sequential: expected a detec"),
        (nn.Identity(), TypeError, "model is a Identity: .* the model returned a list in eval"),
        (torchvision.models.resnet18(), TypeError, "model is a ResNet: expected a detector"),
        (nn.Module(), NotImplementedError, "forward"),
        (Answers({}), ValueError, r"what the Answers finds lacks \['boxes', 'scores', 'labels'\]"),
        (Answers(EMPTY | {"boxes": torch.zeros(2, 3)}), ValueError, r"has shape \(2, 3\)"),
        (Answers(EMPTY | {"labels": torch.zeros(0)}), TypeError, "dtype torch.float32; expected"),
        (Answers(ONE | {"labels": torch.tensor([10])}), ValueError, "= 10 is no label in 0 … 9"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, nn.Module) else None,
)
def test_what_is_no_detector_is_refused(model, error, words: str) -> None:
    with pytest.raises(error, match=words):
        explore.play(model, scenes=1)


def test_the_least_of_detectors_may_play() -> None:
    assert explore.play(Answers(EMPTY), scenes=1).result.false == 0
    assert explore.play(Answers(ONE), scenes=1).result.false == 1
    assert explore.play(torchvision_detector(), scenes=1).result.false >= 0

"""The backbone's warm-up: what it trains, alone, in `fit`, and after a break."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from test_resume import Stop
from test_training import Samples, foreign, same_weights
from torch import nn

from detlearn import training
from detlearn.data import transforms
from detlearn.machine.checkpoints import load_tensors
from detlearn.models.images import ImageBatcher
from detlearn.models.point import PointDetector
from detlearn.nets.small import SmallBackbone
from detlearn.training import Recipe, fit, loop, recipe, warm_up
from detlearn.training.steps import seeded


def detector(seed=0, mean=0.5):
    """A small detector; that its own head is dense, too, does not matter here."""
    torch.manual_seed(seed)
    batcher = ImageBatcher(mean=(mean,) * 3, std=(0.25,) * 3)
    return PointDetector(2, SmallBackbone((4, 8)), channels=8, batcher=batcher)


SMALL = {"batch_size": 4, "progress": False, "augment": None, "amp": False}


def weights(module):
    """A copy of all weights and buffers."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_it_is_the_point_detectors_training_on_that_backbone():
    """Done by hand: a new head above the backbone, chapter 1's recipe, the same steps."""
    model, by_hand = detector(), detector()
    history = warm_up(model, Samples(size=32), steps=6, seed=3, **SMALL)

    with seeded(3, 0):
        teacher = PointDetector(2, by_hand.backbone, batcher=by_hand.batcher)
    wanted = fit(
        teacher, Samples(size=32), steps=6, seed=3, lr=6e-3, lr_warmup=50, clip_norm=10.0,
        ema=0.995, **SMALL,
    )  # fmt: skip
    assert same_weights(model.backbone, by_hand.backbone)
    assert history.total == wanted.total and len(history.steps) == 6
    assert set(history.losses) == {"heatmap", "box"}


def test_the_batcher_is_the_detectors():
    """Images are normalised for the backbone as they will be later."""
    one, other = detector(mean=0.5), detector(mean=0.1)
    losses = [warm_up(model, Samples(size=32), steps=1, **SMALL).total[0] for model in (one, other)]
    assert losses[0] != losses[1]


def test_only_the_backbone_learns():
    model = detector()
    before = weights(model)
    warm_up(model, Samples(size=32), steps=4, **SMALL)

    after = weights(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("backbone.") for name in changed)
    assert changed >= {name for name, _ in model.named_parameters() if name.startswith("backbone.")}
    assert sum(p.numel() for p in model.parameters()) == sum(
        value.numel() for name, value in before.items() if name in dict(model.named_parameters())
    )


def test_a_backbone_that_hands_out_its_coarsest_map_alone():
    """The dense head then stands on the map that the detector reads, and on no other."""
    backbone = SmallBackbone((4, 8, 12), skip=2)
    assert backbone.strides == [16] and backbone.out_channels == [12]
    images = torch.rand(2, 3, 64, 64)
    whole = SmallBackbone((4, 8, 12))
    whole.load_state_dict(backbone.state_dict())
    assert torch.equal(backbone(images)["16"], whole.train()(images)["16"])
    assert list(backbone(images)) == ["16"]

    model = PointDetector(2, backbone, channels=8)
    history = warm_up(model, Samples(size=32), steps=2, **SMALL)
    assert all(math.isfinite(loss) for loss in history.total)
    for skip in (-1, 3):
        with pytest.raises(ValueError, match=f"skip is {skip} of 3 maps"):
            SmallBackbone((4, 8, 12), skip=skip)


def test_the_callers_random_numbers_stay():
    model = detector()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    warm_up(model, Samples(size=32), steps=2, **SMALL)
    assert torch.equal(torch.get_rng_state(), state)


def test_its_first_losses_fall():
    """Dense teaching works on a backbone from nowhere: the loss of ten samples is halved."""
    history = warm_up(detector(), Samples(size=32), steps=60, **SMALL)
    assert sum(history.total[-5:]) < 0.5 * sum(history.total[:5])


class TestInFit:
    def test_equals_the_two_done_by_hand(self):
        model, by_hand = detector(), detector()
        history = fit(model, Samples(size=32), steps=5, backbone_steps=4, seed=2, **SMALL)

        warmed = warm_up(by_hand, Samples(size=32), steps=4, seed=2, **SMALL)
        rest = fit(by_hand, Samples(size=32), steps=5, seed=2, **SMALL)
        assert same_weights(model, by_hand)
        assert history.total == rest.total and history.steps == [1, 2, 3, 4, 5]
        assert history.images == warmed.images + rest.images == 36
        assert 0 < history.backbone_seconds < history.seconds

    def test_without_it_nothing_changes(self):
        model, other = detector(), detector()
        history = fit(model, Samples(size=32), steps=3, backbone_steps=0, **SMALL)
        fit(other, Samples(size=32), steps=3, **SMALL)
        assert same_weights(model, other)
        assert history.backbone_seconds == 0 and history.images == 12

    def test_the_detector_starts_in_training_mode(self):
        """The warm-up ends in eval mode; the batch norm of the steps after it must learn on."""
        model, modes = detector(), []
        predict = model.predict

        def watch(*inputs):
            modes.append(all(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d)))
            return predict(*inputs)

        model.predict = watch
        fit(model, Samples(size=32), steps=2, backbone_steps=2, **SMALL)
        assert modes == [True, True]

    def test_settings_reach_the_warm_up(self, monkeypatch):
        asked = {}

        def record(model, train, **settings):
            asked.update(settings)
            return training.History(seconds=2.0)

        monkeypatch.setattr(loop, "warm_up", record)
        fit(
            detector(), Samples(size=32), steps=1, backbone_steps=7, seed=5, batch_size=2,
            augment=transforms.flip, amp=False, progress=False, lr=1e-9, device="cpu",
        )  # fmt: skip
        assert asked == {
            "steps": 7, "seed": 5, "batch_size": 2, "augment": transforms.flip, "amp": False,
            "progress": False, "device": torch.device("cpu"), "checkpoint": None, "workers": 0,
        }  # fmt: skip

    def test_minutes_include_it(self, monkeypatch):
        """On a clock that says 0.1 s more each time, 3 s are 10 steps of it and 20 others."""
        clock = itertools.count()
        monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock) / 10)
        history = fit(detector(), Samples(size=32), minutes=3 / 60, backbone_steps=10, **SMALL)
        assert history.backbone_seconds == pytest.approx(1.0)
        assert history.seconds == pytest.approx(3.0) and len(history.steps) == 20

        # The cosine runs over what is left, from the top.
        assert history.lr[0] == pytest.approx(2e-3 / 50)
        assert history.lr[10] == pytest.approx(2e-3 * 11 / 50 * (1 + math.cos(math.pi / 2)) / 2)

    def test_a_warm_up_that_takes_all_the_minutes(self, monkeypatch):
        clock = itertools.count()
        monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock) / 10)
        with pytest.raises(ValueError, match=r"backbone's steps took 1 s of 1 s.*fewer backbone"):
            fit(detector(), Samples(size=32), minutes=1 / 60, backbone_steps=10, **SMALL)

    def test_all_processes_go_by_their_mean_time(self, monkeypatch):
        """They are to stop after the same step: one that took 2 s counts 3 s, as the other does."""
        monkeypatch.setattr(loop, "warm_up", lambda *_, **settings: training.History(seconds=2.0))
        monkeypatch.setattr(
            loop.distributed, "mean_over_processes", lambda x, device: 3.0 if x == 2 else float(x)
        )
        history = fit(detector(), Samples(size=32), steps=1, backbone_steps=7, **SMALL)
        assert history.backbone_seconds == 3.0 and history.seconds > 3.0

    @pytest.mark.parametrize("steps", [-1, -100])
    def test_a_length_that_is_none(self, steps):
        with pytest.raises(ValueError, match=f"backbone's steps are {steps}: expected a positive"):
            fit(detector(), Samples(size=32), steps=1, backbone_steps=steps, **SMALL)
        with pytest.raises(ValueError, match="backbone's steps are 0: expected a positive"):
            warm_up(detector(), Samples(size=32), steps=0, **SMALL)

    def test_a_detector_without_such_a_backbone(self):
        with pytest.raises(ValueError, match=r"Foreign has no backbone .*leave backbone_steps out"):
            fit(foreign(), Samples(), steps=1, backbone_steps=2, **SMALL)

        model = detector()
        model.backbone = nn.Conv2d(3, 4, 3)  # has out_channels, but no strides
        with pytest.raises(ValueError, match="PointDetector has no backbone"):
            warm_up(model, Samples(size=32), steps=2, **SMALL)

    @pytest.mark.parametrize("name", ["num_classes", "batcher"])
    def test_a_detector_that_does_not_say_what_the_head_needs(self, name):
        model = detector()
        delattr(model, name)
        with pytest.raises(ValueError, match="expected a detector of this package"):
            warm_up(model, Samples(size=32), steps=2, **SMALL)


OPTIONS = {"steps": 9, "backbone_steps": 6, "seed": 1, **SMALL}


class TestOnTheWayBack:
    """A training that is broken off goes on to the very weights of an uninterrupted one."""

    def break_off(self, monkeypatch, path, after):
        """Train, and break off after so many steps in all; a checkpoint is due every other one."""
        step, taken = loop.Trainer.step, itertools.count()

        def stops(trainer, *batch):
            if next(taken) == after:
                raise Stop
            step(trainer, *batch)

        monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
        with monkeypatch.context() as patch, pytest.raises(Stop):
            patch.setattr(loop.Trainer, "step", stops)
            fit(detector(), Samples(size=32), checkpoint=path, **OPTIONS)

    # In the warm-up, at its end, before the detector's first checkpoint, and after it.
    @pytest.mark.parametrize("after", [3, 6, 7, 12])
    def test_wherever_it_was_broken_off(self, tmp_path, monkeypatch, after):
        whole = detector()
        history = fit(whole, Samples(size=32), **OPTIONS)

        path = tmp_path / "state.safetensors"
        self.break_off(monkeypatch, path, after)
        warming = tmp_path / "state.backbone.safetensors"
        assert warming.exists() and path.exists() == (after == 12)

        # Weights of the new process do not matter: all comes from the files.
        continued = detector(seed=9)
        with torch.no_grad():
            for p in detector(seed=9).backbone.parameters():
                p.zero_()
        if after < 12:  # what the warm-up does not train is as at the start
            continued = detector()
        resumed = fit(continued, Samples(size=32), checkpoint=path, **OPTIONS)
        assert same_weights(continued, whole)
        assert resumed.total == history.total and resumed.images == history.images == 60
        assert load_tensors(path)[1]["finished"] and not warming.exists()

    def test_steps_that_were_done_are_not_taken_again(self, tmp_path, monkeypatch):
        path = tmp_path / "state.safetensors"
        self.break_off(monkeypatch, path, 12)

        taken = []
        step = loop.Trainer.step
        monkeypatch.setattr(
            loop.Trainer, "step", lambda t, *batch: (taken.append(1), step(t, *batch))
        )
        history = fit(detector(), Samples(size=32), checkpoint=path, **OPTIONS)
        assert len(taken) == 9 - 6  # it was stopped in step 7; the checkpoint is of step 6
        assert history.backbone_seconds > 0

        fit(detector(), Samples(size=32), checkpoint=path, **OPTIONS)
        assert len(taken) == 3

    def test_time_of_the_warm_up_is_kept(self, tmp_path, monkeypatch):
        clock = itertools.count()
        monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock) / 10)
        path = tmp_path / "state.safetensors"
        self.break_off(monkeypatch, path, 12)
        history = fit(detector(), Samples(size=32), checkpoint=path, **OPTIONS)
        assert history.backbone_seconds == pytest.approx(0.6)
        assert history.seconds == pytest.approx(1.5)

    def test_the_backbone_s_file_outlives_a_failure_at_the_end(self, tmp_path, monkeypatch):
        """It goes only once the whole training is in the other."""
        save = loop.Trainer.save

        def fails(trainer, path, finished=False):
            if finished and "backbone" not in path.name:
                raise Stop
            save(trainer, path, finished)

        path = tmp_path / "state.safetensors"
        with monkeypatch.context() as patch, pytest.raises(Stop):
            patch.setattr(loop.Trainer, "save", fails)
            fit(detector(), Samples(size=32), checkpoint=path, **OPTIONS)
        assert (tmp_path / "state.backbone.safetensors").exists()

    def test_another_length_of_the_warm_up_is_another_training(self, tmp_path):
        path = tmp_path / "state.safetensors"
        fit(detector(), Samples(size=32), checkpoint=path, **OPTIONS)
        with pytest.raises(ValueError, match=r"'backbone_steps': 6.*'backbone_steps': 5"):
            options = {**OPTIONS, "backbone_steps": 5}
            fit(detector(), Samples(size=32), checkpoint=path, **options)


class TestInARecipe:
    def test_the_settings_have_it_where_there_is_one(self):
        plain = Recipe(steps=5)
        assert "backbone_steps" not in plain.settings() and "backbone_steps" not in plain.numbers()
        warmed = replace(plain, backbone_steps=300)
        assert warmed.settings() == {**plain.settings(), "backbone_steps": 300}
        assert warmed.numbers()["backbone_steps"] == 300

    def test_it_is_shortened_too(self, monkeypatch):
        monkeypatch.setitem(
            training.recipes.RECIPES, "made_up", Recipe(steps=640, backbone_steps=320)
        )
        monkeypatch.delenv("DETLEARN_FAST", raising=False)
        assert recipe("made_up").backbone_steps == 320
        monkeypatch.setenv("DETLEARN_FAST", "1")
        assert recipe("made_up").backbone_steps == 10
        assert recipe("point").backbone_steps == 0

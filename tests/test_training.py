"""The trainer: schedule, batches, average, history, errors, and whom it can train."""

import ast
import copy
import itertools
import json
import math
import random as python_random
import re
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from detlearn import models
from detlearn.data import transforms
from detlearn.data.reading import AnnotatedPictures, Record, pack
from detlearn.machine import distributed, hardware
from detlearn.pretrained import wrap_torchvision
from detlearn.training import (
    History,
    Recipe,
    fit,
    is_shortened,
    loop,
    lr_factor,
    recipe,
    shortened,
)
from detlearn.training import steps as batches
from detlearn.training.steps import BrokenSample, StepBatches, seeded


class Samples(Dataset):
    """Image i has the value i / 100 everywhere, and one box whose x1 is i / 10."""

    class_names = ("a", "b")

    def __init__(self, number=10, size=8, **extra):
        self.number, self.size, self.extra = number, size, extra

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        if not 0 <= index < self.number:
            raise IndexError(index)
        box = [index / 10, 1.0, self.size - 1.0, self.size - 2.0]
        image = torch.full((3, self.size, self.size), index / 100)
        return image, {
            "boxes": torch.tensor([box]),
            "labels": torch.tensor([index % 2]),
            **self.extra,
        }


class Foreign(nn.Module):
    """Follows the contract of a detector and nothing else: one box per image from its mean."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.score, self.corner = nn.Linear(3, 2), nn.Linear(3, 4)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("running", torch.zeros(()))

    def forward(self, images, targets=None):
        x = self.dropout(torch.stack([image.mean((1, 2)) for image in images]))
        if self.training:
            self.seen += 1
            self.running.lerp_(x.mean().detach(), 0.1)
            labels = torch.cat([t["labels"] for t in targets])
            boxes = torch.cat([t["boxes"] for t in targets])
            return {
                "class": nn.functional.cross_entropy(self.score(x), labels),
                "box": 0.1 * nn.functional.l1_loss(self.corner(x), boxes),
            }
        scores, labels = self.score(x).softmax(-1).max(-1)
        boxes = self.corner(x).sort(dim=-1).values[:, [0, 1, 2, 3]]
        return [
            {"boxes": b[None], "scores": s[None], "labels": k[None]}
            for b, s, k in zip(boxes, scores, labels)
        ]


def foreign(seed=0, **options):
    torch.manual_seed(seed)
    return Foreign(**options)


def train(model, data=None, **options):
    defaults = {"steps": 4, "batch_size": 4, "progress": False, "augment": None, "amp": False}
    return fit(model, Samples() if data is None else data, **{**defaults, **options})


def numpy_state():
    return str(np.random.get_state())  # noqa: NPY002


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


class TestSchedule:
    def test_by_hand(self):
        assert lr_factor(0, 0.0, 50) == pytest.approx(1 / 50)
        assert lr_factor(24, 0.0, 50) == pytest.approx(0.5)
        assert lr_factor(49, 0.0, 50) == lr_factor(500, 0.0, 50) == 1
        assert lr_factor(100, 0.5, 50) == pytest.approx(0.5)
        assert lr_factor(100, 1 / 3, 50) == pytest.approx(0.75)
        assert lr_factor(24, 0.5, 50) == pytest.approx(0.25)  # a short training is still warming up
        assert lr_factor(100, 1.0, 50) == lr_factor(100, 1.2, 50) == pytest.approx(0)

    def test_what_the_steps_get(self):
        history = train(foreign(), steps=8, lr=0.4)
        wanted = [0.4 * (k + 1) / loop.WARMUP_STEPS for k in range(8)]
        wanted = [lr * (1 + math.cos(math.pi * k / 8)) / 2 for k, lr in enumerate(wanted)]
        assert history.lr == pytest.approx(wanted)

    def test_warm_up_of_another_length(self):
        history = train(foreign(), steps=8, lr=0.4, lr_warmup=4)
        assert history.lr == pytest.approx([0.4 * lr_factor(k, k / 8, 4) for k in range(8)])
        assert history.lr[4] == pytest.approx(0.4 * (1 + math.cos(math.pi / 2)) / 2)

    def test_parameter_groups_keep_their_ratio(self, monkeypatch):
        rates = []
        step = torch.optim.AdamW.step

        def watch(optimizer, *args, **kwargs):
            rates.append([group["lr"] for group in optimizer.param_groups])
            return step(optimizer, *args, **kwargs)

        monkeypatch.setattr(torch.optim.AdamW, "step", watch)
        model = foreign()
        groups = [{"params": model.score.parameters(), "lr": 0.1}]
        groups += [{"params": model.corner.parameters()}]
        history = train(model, param_groups=iter(groups), lr=0.002)
        assert len(rates) == 4
        for first, second in rates:
            assert first / second == pytest.approx(50)
        assert rates[1][1] == pytest.approx(0.002 * lr_factor(1, 0.25))
        assert history.lr == [first for first, _ in rates]


def numbers(images):
    return [round(float(image.mean() * 100)) for image in images]


class TestStepBatches:
    def test_an_epoch_visits_every_sample_once_in_an_order_of_its_own(self):
        data = StepBatches(Samples(10), batch_size=4, seed=3)  # 5 batches are 2 epochs
        seen = [n for step in range(10) for n in numbers(data[step][0])]
        epochs = [seen[k : k + 10] for k in range(0, 40, 10)]
        assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 4
        assert all(epoch != list(range(10)) for epoch in epochs)

    def test_a_batch_is_a_function_of_its_step(self):
        augment = transforms.from_torchvision(transforms.v2.ColorJitter(0.5))
        data = StepBatches(Samples(7), 3, 1, augment, ((8, 16, 24), 2))
        forwards = [data[step] for step in range(12)]
        data = StepBatches(Samples(7), 3, 1, augment, ((8, 16, 24), 2))
        torch.manual_seed(99)
        for step in [5, 0, 11, 3, 3, 7]:
            images, targets = data[step]
            for a, b in zip(images, forwards[step][0]):
                assert torch.equal(a, b)
            for a, b in zip(targets, forwards[step][1]):
                assert torch.equal(a["boxes"], b["boxes"]) and torch.equal(a["labels"], b["labels"])

    def test_another_seed_is_another_order(self):
        orders = {tuple(numbers(StepBatches(Samples(10), 10, s)[0][0])) for s in range(20)}
        assert len(orders) == 20

    def test_a_batch_larger_than_the_data_set(self):
        assert sorted(numbers(StepBatches(Samples(3), 7)[0][0]))[:2] == [0, 0]

    @pytest.mark.parametrize("world_size", [2, 4])
    def test_processes_share_the_batch_of_one(self, monkeypatch, world_size):
        options = (Samples(10), 8, 5, transforms.flip)
        whole = StepBatches(*options)
        parts = []
        monkeypatch.setattr(distributed, "world_size", lambda: world_size)
        for rank in range(world_size):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            parts.append(StepBatches(*options))
        # A process that only loads images does not belong to the group.
        monkeypatch.setattr(distributed, "world_size", lambda: 1)
        monkeypatch.setattr(distributed, "rank", lambda: 0)
        for step in range(4):
            images, targets = whole[step]
            shares = [part[step] for part in parts]
            assert all(len(share[0]) == 8 // world_size for share in shares)
            together = [row for share in shares for row in zip(*share)]
            wanted = sorted(float(image.sum()) for image in images)
            assert sorted(float(image.sum()) for image, _ in together) == wanted
            wanted = sorted(t["boxes"].tolist() for t in targets)
            assert sorted(t["boxes"].tolist() for _, t in together) == wanted

    def test_crowds_are_left_out(self):
        target = {
            "boxes": torch.tensor([[0.0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 6, 6]]),
            "labels": torch.tensor([3, 4, 5]),
            "iscrowd": torch.tensor([0, 1, 0]),
            "area": torch.ones(3),
            "image_id": torch.tensor(0),
        }
        _, (kept,) = StepBatches([(torch.rand(3, 8, 8), target)], 1)[0]
        assert kept["boxes"].tolist() == [[0.0, 0, 4, 4], [2, 2, 6, 6]]
        assert kept["labels"].tolist() == [3, 5]
        assert kept.keys() == {"boxes", "labels"}
        assert len(target["labels"]) == 3

    def test_multi_scale_changes_every_k_steps(self):
        data = StepBatches(Samples(10), 2, 0, None, ((4, 8, 16, 32), 3))
        sizes = []
        for step in range(30):
            images, targets = data[step]
            shapes = {tuple(image.shape[-2:]) for image in images}
            assert len(shapes) == 1
            sizes.append(images[0].shape[-1])
            assert targets[0]["boxes"][0, 2] == pytest.approx(7 / 8 * sizes[-1])
        assert all(sizes[k] == sizes[k + 1] == sizes[k + 2] for k in range(0, 30, 3))
        assert set(sizes) == {4, 8, 16, 32}

    def test_augmentation_differs_from_sample_to_sample_and_epoch_to_epoch(self):
        data = StepBatches(Samples(8), 8, 0, transforms.flip)
        flipped = [
            float(target["boxes"][0, 0]) == 1.0  # W − x2; x1 is never 1 in 8 samples
            for step in range(20)
            for target in data[step][1]
        ]
        assert 50 < sum(flipped) < 110  # of 160
        assert len({tuple(flipped[k : k + 8]) for k in range(0, 160, 8)}) > 10

    def test_seeded_gives_the_state_back(self):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        with seeded(3, 4):
            a = torch.rand(3)
        assert torch.equal(torch.get_rng_state(), before)
        with seeded(3, 4):
            assert torch.equal(torch.rand(3), a)
        for other in ((4, 3), (3, 5), (0, 0)):
            with seeded(*other):
                assert not torch.equal(torch.rand(3), a)

    def test_neighbouring_seeds_do_not_meet(self):
        pairs = [batches._mix(seed, number) for seed in range(20) for number in range(200)]
        assert len(set(pairs)) == len(pairs)


class TestAverage:
    def test_equals_an_average_by_hand(self, monkeypatch):
        """Decay min(0.7, (1 + n) / (10 + n)), the first weights taken whole; buffers too."""
        trail = []
        step = loop.Trainer.step

        def watch(trainer, *batch):
            step(trainer, *batch)
            trail.append(copy.deepcopy(trainer.model.state_dict()))

        monkeypatch.setattr(loop.Trainer, "step", watch)
        model = foreign()
        train(model, steps=30, lr=0.5, ema=0.7)
        assert len(trail) == 30
        average = {name: value.double() for name, value in trail[0].items()}
        for n, state in enumerate(trail[1:], start=1):
            decay = min(0.7, (1 + n) / (10 + n))
            for name, value in state.items():
                average[name] += (1 - decay) * (value - average[name])
        average["seen"] = trail[-1]["seen"]
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value.double(), average[name].double(), rtol=1e-4, atol=1e-6)
        assert (model.corner.bias - trail[-1]["corner.bias"]).abs().max() > 1e-3

    def test_none_keeps_the_last_weights(self, monkeypatch):
        last = {}
        step = loop.Trainer.step

        def watch(trainer, *batch):
            step(trainer, *batch)
            last.update(copy.deepcopy(trainer.model.state_dict()))

        monkeypatch.setattr(loop.Trainer, "step", watch)
        model = foreign()
        train(model, ema=None)
        assert all(torch.equal(last[name], value) for name, value in model.state_dict().items())


class TestHistory:
    def test_log(self):
        history = History()
        assert repr(history) == "History(no step yet)"
        history.log(1, {"a": 1.0, "b": 2.0}, 0.1)
        history.log(2, {"a": 0.5, "b": 1.0}, 0.2)
        history.images, history.seconds = 32, 2.0
        assert history.steps == [1, 2] and history.lr == [0.1, 0.2]
        assert history.total == [3.0, 1.5]
        assert history.losses == {"a": [1.0, 0.5], "b": [2.0, 1.0]}
        assert repr(history) == (
            "History(2 steps, 32 images in 2 s (16 images/s), loss 3.00 → 1.50)"
        )

    def test_json_round_trip(self):
        history = train(foreign(), val=Samples(4))
        assert History(**json.loads(json.dumps(asdict(history)))).steps == [1, 2, 3, 4]
        assert history.images == 16 and history.seconds > 0
        assert len(history.total) == 4
        assert history.losses.keys() == {"class", "box"}
        ((step, scores),) = history.val
        assert step == 4 and scores.keys() == {"ap", "ap50", "ap75"}

    def test_two_histories_share_nothing(self):
        History().log(1, {"a": 1.0}, 0.1)
        assert History().steps == [] and History().losses == {}


class TestLength:
    @pytest.mark.parametrize(
        ("length", "steps"),
        [
            ({"steps": 3}, 3),
            ({"epochs": 2}, 5),  # 2 · 10 / 4
            ({"epochs": 0.4}, 1),
            ({"epochs": 0.01}, 1),
        ],
    )
    def test_steps_and_epochs(self, length, steps):
        history = train(foreign(), **{"steps": None, **length})
        assert history.steps == list(range(1, steps + 1))

    def test_minutes(self, monkeypatch):
        """On a clock that says 0.1 s more each time: ten steps are the second that was given."""
        clock = itertools.count()
        monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock) / 10)
        history = train(foreign(), steps=None, minutes=1 / 60, lr=1.0)
        assert len(history.steps) == 10 and history.seconds == pytest.approx(1.0)
        assert history.lr == pytest.approx([lr_factor(k, k / 10) for k in range(10)])

    @pytest.mark.alone
    def test_minutes_count_the_loading_of_images(self):
        import time

        class Slow(Samples):
            def __getitem__(self, index):
                time.sleep(0.02)
                return super().__getitem__(index)

        start = time.perf_counter()
        history = train(foreign(), Slow(), steps=None, minutes=0.5 / 60)
        assert time.perf_counter() - start < 3
        assert len(history.steps) <= 7  # each takes at least 4 · 20 ms


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"steps": None}, "no length: give exactly one of epochs, steps, minutes"),
            ({"epochs": 1}, r"'epochs': 1, 'steps': 4}: give exactly one"),
            ({"steps": 0}, r"'steps': 0}: a training needs a positive length"),
            ({"steps": None, "minutes": -1.0}, "positive length"),
            ({"steps": None, "minutes": math.nan}, "positive length"),
            ({"data": []}, "the training set is empty"),
            ({"batch_size": 0}, "batch_size is 0.*positive"),
            ({"lr": 0.0}, "lr is 0.0: expected a positive"),
            ({"lr": math.nan}, "lr is nan"),
            ({"lr": math.inf}, "lr is inf"),
            ({"clip_norm": 0.0}, "clip_norm is 0.0: expected a positive norm"),
            ({"clip_norm": -1.0}, "clip_norm is -1.0"),
            (
                {"steps": None, "epochs": math.inf},
                "'epochs': inf}: a training needs",
            ),
            ({"lr_warmup": 0}, "lr_warmup is 0: expected a number of steps"),
            ({"ema": 1.0}, r"ema is 1.0: expected a decay in \[0, 1\)"),
            ({"multi_scale": ((), 10)}, "multi_scale is"),
            ({"multi_scale": ((64, 0), 10)}, "multi_scale is"),
            ({"multi_scale": ((64,), 0)}, r"multi_scale is \(\(64,\), 0\)"),
        ],
    )
    def test_at_the_door(self, options, words):
        with pytest.raises(ValueError, match=words):
            train(foreign(), **options)

    @pytest.mark.parametrize("sizes", [{"min_size": 32, "max_size": 64}, {"fixed_size": (32, 32)}])
    def test_multi_scale_of_a_model_that_resizes(self, sizes):
        """It would bring every image back to one size, and the option would do nothing."""
        model = models.PointDetector(2, batcher=models.ImageBatcher(**sizes))
        with pytest.raises(ValueError, match=r"multi_scale is .*without min_size"):
            train(model, Samples(4, size=64), steps=1, multi_scale=((32, 64), 1))

    def test_multi_scale_of_a_model_that_keeps_sizes(self):
        options = {"steps": 1, "batch_size": 2, "multi_scale": ((32, 64), 1)}
        train(models.create("point", 2), Samples(4, size=64), **options)

    def test_batch_size_and_processes(self, monkeypatch):
        monkeypatch.setattr(distributed, "world_size", lambda: 2)
        with pytest.raises(ValueError, match=r"batch_size is 5 for 2 process\(es\)"):
            train(foreign(), batch_size=5)

    def test_a_loss_that_is_not_finite_names_terms_and_step_and_what_to_try(self):
        class Explodes(Foreign):
            def forward(self, images, targets=None):
                losses = super().forward(images, targets)
                return {**losses, "box": losses["box"] * (math.nan if self.seen == 3 else 1)}

        model = Explodes()
        with pytest.raises(FloatingPointError) as caught:
            train(model, steps=9)
        for words in ("step 3", "'class': ", "'box': nan", "lower lr", "amp=False", "batch"):
            assert words in str(caught.value)
        assert all(torch.isfinite(p).all() for p in model.parameters())

    def test_a_gradient_that_is_not_finite_stops_before_it_ruins_the_weights(self):
        class Kink(Foreign):
            def forward(self, images, targets=None):
                losses = super().forward(images, targets)
                zero = (self.score.weight * 0).sum()
                return {**losses, "kink": zero.sqrt()}  # 0, with an infinite slope

        model = Kink()
        with pytest.raises(FloatingPointError, match=r"step 1.*norm of the gradient"):
            train(model)
        assert all(torch.isfinite(p).all() for p in model.parameters())


class Spoilt(Samples):
    """One sample is not as it should be."""

    def __init__(self, spoil, index=6):
        super().__init__()
        self.spoil, self.index = spoil, index

    def __getitem__(self, index):
        image, target = super().__getitem__(index)
        return self.spoil(image, target) if index == self.index else (image, target)


def nan_in_the_image(image, target):
    image[0, 3, 4] = math.nan
    return image, target


def infinity_in_the_boxes(image, target):
    target["boxes"][0, 2] = math.inf
    return image, target


def gone(image, target):
    raise FileNotFoundError("a/b.jpg: no such picture")


def forgotten(image, target):
    return image, {"boxes": target["boxes"]}


class TestBrokenSamples:
    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (nan_in_the_image, r"image with values that are not finite \(NaN or infinity\)"),
            (infinity_in_the_boxes, r"boxes with values that are not finite \(NaN or infinity\)"),
            (gone, "FileNotFoundError: a/b.jpg: no such picture"),
            (forgotten, "KeyError: 'labels'"),
        ],
    )
    @pytest.mark.parametrize("workers", [0, 1])
    def test_step_and_sample_are_named(self, spoil, words, workers):
        steps = StepBatches(Samples(), 4)
        (step,) = [k for k in range(2) if 6 in numbers(steps[k][0])] or [2]
        message = rf"^step {step + 1}, sample 6 of the data set: {words}$"
        with pytest.raises(BrokenSample, match=message) as caught:
            train(foreign(), Spoilt(spoil), steps=3, workers=workers)
        assert caught.value.__cause__ is not None  # with its traceback

    def test_what_augmentation_does_to_it(self):
        def spoil(image, target):
            return (image / 0, target) if image.mean() > 0.085 else (image, target)  # sample 9

        with pytest.raises(BrokenSample, match="sample 9 of the data set: image with"):
            train(foreign(), augment=spoil)

    def test_number_and_file_are_said_where_they_are_known(self, tmp_path):
        data = Pictures(tmp_path)
        with pytest.raises(BrokenSample) as caught:
            StepBatches(data, 1)[0]
        index = int(StepBatches(data, 1)._order(0)[0])
        path = tmp_path / f"{index}.jpg"
        assert str(caught.value) == (
            f"step 1, sample {index} of the data set (image_id {70 + index}, {path}): "
            f"FileNotFoundError: {path}: no such picture"
        )


class Pictures(AnnotatedPictures):
    """Annotations of two pictures that are gone."""

    def __init__(self, folder):
        self._records = [Record(70 + k, folder / f"{k}.jpg", None, pack([])) for k in range(2)]


class TestHardware:
    @pytest.mark.parametrize(
        ("capabilities", "native"),
        [
            ({}, False),
            ({"avx512_f": True, "amx_tile": True, "avx512_bf16": False}, False),
            ({"amx_bf16": True}, True),
            ({"avx512_bf16": True, "amx_bf16": False}, True),
        ],
    )
    def test_amp_asks_the_cpu(self, monkeypatch, capabilities, native):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
        assert hardware.has_native_bfloat16(torch.device("cpu")) is native
        seen = []

        class Asks(Foreign):
            def forward(self, images, targets=None):
                seen.append(torch.is_autocast_enabled("cpu"))
                return super().forward(images, targets)

        train(Asks(), steps=1, amp=None)
        train(Asks(), steps=1, amp=not native)
        assert seen == [native, not native]

    def test_amp_asks_the_gpu(self, monkeypatch):
        for capability, native in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
            monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
            assert hardware.has_native_bfloat16(torch.device("cuda")) is native
        assert hardware.has_native_bfloat16(torch.device("meta")) is False

    def test_each_process_gets_its_own_gpu(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert hardware.default_device() == torch.device("cpu")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.delenv("LOCAL_RANK", raising=False)
        assert hardware.default_device() == torch.device("cuda", 0)
        monkeypatch.setenv("LOCAL_RANK", "3")
        assert hardware.default_device() == torch.device("cuda", 3)


class TestFit:
    def test_learns(self):
        model = foreign()
        history = train(model, steps=60, lr=0.2)
        assert history.losses["box"][-1] < 0.7 * history.losses["box"][0]
        assert not model.training

    @pytest.mark.parametrize("weight_decay", [0.0, 0.5])
    def test_equals_a_loop_by_hand(self, weight_decay):
        """AdamW as its paper has it (algorithm 2), with fresh gradients at each step, unclipped."""
        lr, steps, batch_size = 0.05, 6, 4
        model, plain = foreign(), foreign()
        train(model, steps=steps, lr=lr, weight_decay=weight_decay, clip_norm=1e6, ema=None)

        data = StepBatches(Samples(), batch_size)
        mean = [torch.zeros_like(p) for p in plain.parameters()]
        square = [torch.zeros_like(p) for p in plain.parameters()]
        for k in range(steps):
            rate = lr * lr_factor(k, k / steps, 50)
            losses = plain.train()(*data[k])
            grads = torch.autograd.grad(sum(losses.values()), list(plain.parameters()))
            with torch.no_grad():
                for p, g, m, v in zip(plain.parameters(), grads, mean, square):
                    p.mul_(1 - rate * weight_decay)
                    m.lerp_(g, 1 - 0.9)
                    v.lerp_(g.square(), 1 - 0.98)
                    unbiased_m, unbiased_v = m / (1 - 0.9 ** (k + 1)), v / (1 - 0.98 ** (k + 1))
                    p.sub_(rate * unbiased_m / (unbiased_v.sqrt() + 1e-8))
        for found, wanted in zip(model.parameters(), plain.parameters()):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)

    def test_clips_the_gradient(self, monkeypatch):
        norms = []

        def watch(optimizer, *args, **kwargs):
            grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
            norms.append(float(nn.utils.get_total_norm(grads)))

        monkeypatch.setattr(torch.optim.AdamW, "step", watch)
        train(foreign(), clip_norm=0.01)
        assert norms == pytest.approx([0.01] * 4, rel=1e-3)
        norms.clear()
        train(foreign(), clip_norm=1e6)
        assert min(norms) > 0.02

    def test_the_same_seed_gives_the_same_weights(self):
        models = [foreign(dropout=0.5) for _ in range(3)]
        for model, seed in zip(models, (1, 1, 2)):
            train(model, seed=seed, augment=transforms.flip)
        assert same_weights(models[0], models[1])
        assert not same_weights(models[0], models[2])

    def test_who_looks_after_each_step_changes_nothing_and_sees_what_would_be_left(self):
        seen = {}

        def look(step, model):
            assert not model.training
            seen[step] = copy.deepcopy(model.state_dict())

        watched, plain = foreign(dropout=0.5), foreign(dropout=0.5)
        train(watched, steps=5, after_step=look)
        train(plain, steps=5)
        assert same_weights(watched, plain)
        assert list(seen) == [1, 2, 3, 4, 5]
        assert all(torch.equal(seen[5][name], x) for name, x in plain.state_dict().items())
        assert not torch.equal(seen[4]["corner.bias"], seen[5]["corner.bias"])

    def test_loading_in_other_processes_changes_nothing(self):
        models = [foreign(), foreign()]
        train(models[0], steps=7, augment=transforms.flip)
        train(models[1], steps=7, augment=transforms.flip, workers=1)
        assert same_weights(*models)

    def test_the_callers_random_states_stay_as_they_are(self):
        model = foreign(dropout=0.5)
        torch.manual_seed(7)
        before = torch.get_rng_state(), numpy_state(), python_random.getstate()
        train(model, augment=transforms.flip, val=Samples(3), multi_scale=((8, 16), 1))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert numpy_state() == before[1]
        assert python_random.getstate() == before[2]

    def test_dropout_differs_from_step_to_step(self):
        draws = []

        class Draws(Foreign):
            def forward(self, images, targets=None):
                draws.append(float(torch.rand(())))
                return super().forward(images, targets)

        train(Draws())
        assert len(set(draws)) == 4

    def test_frozen_weights_stay(self):
        model = foreign()
        model.score.requires_grad_(False)
        before = model.score.weight.clone()
        train(model, lr=0.1)
        assert torch.equal(model.score.weight, before)

    def test_shows_a_bar_if_asked(self, capsys):
        train(foreign(), progress=True)
        bar = capsys.readouterr().err
        assert "training" in bar and "4/4" in bar and "loss" in bar and "images/s" in bar
        train(foreign())
        assert capsys.readouterr().err == ""

    def test_random_targets_of_a_data_set_with_crowds_and_ids(self):
        data = Samples(5, iscrowd=torch.tensor([0]), area=torch.ones(1), image_id=torch.tensor(1))
        assert len(train(foreign(), data).steps) == 4


TWO_STAGES = Recipe(
    steps=600, batch_size=16, lr=6e-3, lr_warmup=100, clip_norm=2.0, ema=0.995,
    augment=transforms.flip,
)  # fmt: skip


class TestRecipes:
    @pytest.fixture(autouse=True)
    def _whole(self, monkeypatch):
        monkeypatch.delenv("DETLEARN_FAST", raising=False)

    def test_chapter_1(self):
        assert recipe("point").settings() == {
            "steps": 640, "batch_size": 16, "lr": 6e-3, "lr_warmup": 50, "clip_norm": 10.0,
            "ema": 0.995, "augment": transforms.flip,
        }  # fmt: skip

    @pytest.mark.parametrize("name", ["faster_rcnn", "cascade_rcnn"])
    def test_chapter_2(self, name):
        assert recipe(name) == TWO_STAGES

    def test_chapter_3(self):
        assert recipe("yolov3") == replace(recipe("point"), steps=1100)
        assert recipe("yolov8") == replace(recipe("point"), steps=1000)

    def test_fit_takes_the_settings(self):
        few = replace(recipe("faster_rcnn"), steps=2, batch_size=4)
        history = fit(foreign(), Samples(), progress=False, amp=False, **few.settings())
        assert history.lr == pytest.approx([6e-3 * lr_factor(k, k / 2, 100) for k in range(2)])
        assert history.images == 8

    def test_every_small_detector_has_one(self):
        for name in models.BUILDERS:
            assert recipe(name).steps > 0

    def test_an_unknown_name_lists_the_known_ones(self):
        with pytest.raises(ValueError, match=r"'magic'; there are: cascade_rcnn, .*, yolov8"):
            recipe("magic")

    def test_the_record_holds_numbers_only(self):
        numbers = recipe("point").numbers()
        assert numbers == json.loads(json.dumps(numbers))
        assert numbers["steps"] == 640 and "augment" not in numbers

    @pytest.mark.parametrize(
        ("value", "steps"),
        [(None, 640), ("", 640), ("0", 640), ("1", 20), ("yes", 20)],
    )
    def test_shortened_by_the_environment(self, monkeypatch, value, steps):
        if value is not None:
            monkeypatch.setenv("DETLEARN_FAST", value)
        assert recipe("point").steps == shortened(640) == steps
        assert is_shortened() is (steps < 640)
        assert shortened(3) == 3
        assert shortened(150) == (5 if steps == 20 else 150)

    @pytest.mark.parametrize(
        ("notebook", "names"),
        [
            ("01_foundations", ["point"]),
            ("02_two_stage", ["faster_rcnn"]),
            ("03_yolo", ["yolov1", "yolov3", "yolov8"]),
            ("04_anchor_free", ["retinanet", "fcos", "centernet"]),
            ("05_detr", ["detr", "deformable_detr"]),
        ],
    )
    def test_the_chapters_train_by_them(self, root, notebook, names):
        """Each main training is ``training.fit(…, **recipe.settings())``, no more said."""
        calls = [call for cell in code_cells(root, notebook) for call in calls_in(cell)]
        recipes = [call for call in calls if ast.unparse(call.func) == "training.recipe"]
        named = [call.args[0] for call in recipes if isinstance(call.args[0], ast.Constant)]
        assert [ast.unparse(argument) for argument in named] == [repr(name) for name in names]

        fits = [call for call in calls if ast.unparse(call.func) == "training.fit"]
        by_recipe = [call for call in fits if "**recipe.settings()" in ast.unparse(call)]
        assert len(by_recipe) == len(names)
        for call in by_recipe:
            given = {keyword.arg for keyword in call.keywords} - {None}
            assert not given & {field.name for field in fields(Recipe)}


def code_cells(root, notebook):
    """The code cells of a chapter as syntax trees; IPython's own commands left out."""
    cells = json.loads((root / "chapters" / f"{notebook}.ipynb").read_text("utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [ast.parse(re.sub(r"(?m)^[%!].*$", "", source)) for source in sources]


def calls_in(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


class SmallBody(nn.Sequential):
    """A backbone as torchvision wants it: one map of stride 16."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 32, 3, 4, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 4, 1))
        self.out_channels = 32


def torchvision_detector(name):
    from torchvision.models import detection
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    torch.manual_seed(0)
    sizes = {"min_size": 48, "max_size": 64}
    anchors = AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),))
    if name == "fcos":
        points = AnchorGenerator(((8,),), ((1.0,),))
        return detection.FCOS(SmallBody(), 3, anchor_generator=points, **sizes)
    if name == "retinanet":
        return detection.RetinaNet(SmallBody(), 3, anchor_generator=anchors, **sizes)
    return detection.FasterRCNN(
        SmallBody(),
        3,
        rpn_anchor_generator=anchors,
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        **sizes,
    )


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("name", ["fcos", "retinanet", "faster_rcnn"])
def test_trains_detectors_of_torchvision(name, amp):
    model = wrap_torchvision(torchvision_detector(name))
    history = train(
        model, Samples(6, 48), steps=2, batch_size=2, amp=amp, augment=transforms.flip,
        val=Samples(2, 48),
    )  # fmt: skip
    assert all(math.isfinite(value) for value in history.total)
    assert history.steps == [1, 2] and len(history.val) == 1
    with torch.no_grad():
        (found,) = model([torch.rand(3, 48, 48)])
    assert found["boxes"].shape == (len(found["scores"]), 4)
    assert ((found["labels"] >= 0) & (found["labels"] < 2)).all()

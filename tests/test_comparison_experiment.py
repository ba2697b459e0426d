"""The comparison's scripts: who is found, Soft-NMS, equal time, and what a kill leaves."""

import dataclasses
import datetime
import importlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch

from detlearn import results
from detlearn.data import ToyTown
from detlearn.models import create
from detlearn.nms import soft_nms
from detlearn.results import stored

SCRIPT = "benchmarks/experiments/comparison.py"


@pytest.fixture
def scripts(root, monkeypatch, tmp_path):
    """A function that imports one of the scripts; results and runs go to a folder of the test."""
    monkeypatch.syspath_prepend(str(root / "benchmarks" / "experiments"))
    monkeypatch.setattr(stored, "FOLDER", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETLEARN_FAST", raising=False)
    return importlib.import_module


def found(boxes, scores, labels):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        "scores": torch.tensor(scores, dtype=torch.float32),
        "labels": torch.as_tensor(labels, dtype=torch.int64),
    }


def truth(boxes, labels):
    return {key: value for key, value in found(boxes, [], labels).items() if key != "scores"}


A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [0, 20, 10, 30]
A_SHIFTED = [2, 0, 12, 10]  # IoU 8 / 12 with A


class TestWhoIsFound:
    """Two objects of class 0, one of class 1."""

    OBJECTS = truth([A, B, C], [0, 0, 1])

    def test_an_object_is_found_once(self, scripts):
        matrix = scripts("comparison_matrix")
        answer = found([A_SHIFTED, A, B, C], [0.9, 0.8, 0.7, 0.6], [0, 0, 1, 1])
        # The second finds A taken; the third has another class.
        assert matrix.hits(answer, self.OBJECTS).tolist() == [True, False, False, True]

    def test_an_iou_of_a_half_is_enough(self, scripts):
        matrix = scripts("comparison_matrix")
        half, less = [0, 0, 10, 5], [0, 0, 10, 4.9]
        assert matrix.hits(found([half], [0.5], [0]), self.OBJECTS).tolist() == [True]
        assert matrix.hits(found([less], [0.5], [0]), self.OBJECTS).tolist() == [False]

    def test_where_there_is_nothing(self, scripts):
        matrix = scripts("comparison_matrix")
        nothing, no_object = found([], [], []), truth([], [])
        assert matrix.hits(nothing, self.OBJECTS).tolist() == []
        assert matrix.hits(found([A], [0.5], [0]), no_object).tolist() == [False]
        assert matrix.best_threshold([nothing], [self.OBJECTS]) == 0
        assert matrix.missed_share([nothing], [self.OBJECTS]) == 1
        assert matrix.missed_share([nothing], [no_object]) == 1

    def test_missed_at_as_many_detections_as_there_are_objects(self, scripts):
        """Three objects in two images: of five detections the best three count, two are right."""
        matrix = scripts("comparison_matrix")
        first = found([A, [50, 50, 60, 60], B], [0.9, 0.8, 0.3], [0, 0, 0])
        second = found([C, A], [0.7, 0.1], [1, 0])
        targets = [truth([A, B], [0, 0]), truth([C], [1])]
        assert matrix.missed_share([first, second], targets) == pytest.approx(1 / 3)

    def test_the_best_threshold(self, scripts):
        """F1 after 1, 2, 3, 4 detections: 2/4, 2/5, 4/6, 4/7 with three objects."""
        matrix = scripts("comparison_matrix")
        answer = found([A, [50, 50, 60, 60], B, [70, 70, 80, 80]], [0.9, 0.8, 0.6, 0.2], [0] * 4)
        assert matrix.best_threshold([answer], [self.OBJECTS]) == pytest.approx(0.6)

    def test_the_worst_scene(self, scripts):
        """One object missed and one false alarm are more errors than one missed; .5 counts."""
        matrix = scripts("comparison_matrix")
        answers = [
            found([A], [0.9], [0]),
            found([A, [50, 50, 60, 60], [70, 70, 80, 80]], [0.75, 0.5, 0.125], [0, 0, 0]),
        ]
        targets = [truth([A, B], [0, 0]), truth([A, B], [0, 0])]
        worst = matrix.worst_scene(answers, targets, threshold=0.5)
        assert (worst["scene"], worst["missed"], worst["false"]) == (1, 1, 1)
        assert worst["boxes"] == [A, [50, 50, 60, 60]] and worst["labels"] == [0, 0]
        # Of equals, the first.
        assert matrix.worst_scene(answers[:1] * 2, targets, threshold=0.5)["scene"] == 0


class TestSoftNMS:
    def test_classes_do_not_touch_each_other(self, scripts):
        matrix = scripts("comparison_matrix")
        answer = found([A, A_SHIFTED, A], [0.9, 0.8, 0.7], [0, 0, 1])
        soft = matrix.decayed(answer, limit=100)
        keep, scores = soft_nms(answer["boxes"][:2], answer["scores"][:2])
        assert keep.tolist() == [0, 1]
        assert soft["labels"].tolist() == [0, 1, 0]
        assert soft["scores"].tolist() == pytest.approx([0.9, 0.7, float(scores[1])])
        assert matrix.decayed(answer, limit=2)["labels"].tolist() == [0, 1]

    def test_where_nothing_is_found(self, scripts):
        nothing = found([], [], [])
        assert scripts("comparison_matrix").decayed(nothing, limit=5) is nothing

    def test_the_detector_keeps_its_settings(self, scripts):
        matrix = scripts("comparison_matrix")
        torch.manual_seed(0)
        model = create("fcos", 10).eval()
        before = model.nms_threshold, model.max_detections
        answers = matrix.predict_soft(model, ToyTown(2, seed=3))
        assert (model.nms_threshold, model.max_detections) == before
        assert all(len(answer["scores"]) <= model.max_detections for answer in answers)
        # With NMS off a box may lie on another of its class.
        assert len(answers) == 2


class TestEqualTime:
    def store_calibration(self, scripts, **run):
        steps = scripts("comparison_steps")
        time_of = {
            "variant": "fcos",
            "seed": 0,
            "seconds_per_step": 0.07,
            "seconds_per_backbone_step": 0.0,
            "backbone_steps": 0,
            **run,
        }
        results.store("comparison_steps", {"seconds": 1}, [time_of], command="c")
        return steps

    def test_by_hand(self, scripts):
        steps = self.store_calibration(scripts)
        assert steps.steps_within("fcos", 120) == 1714  # 120 / 0.07 = 1714.3
        assert steps.recipe_within("fcos", 120).steps == 1714
        assert steps.recipe_within("fcos", 120).lr == 6e-3

    def test_the_backbone_s_steps_are_part_of_the_time(self, scripts):
        steps = self.store_calibration(
            scripts, seconds_per_step=1 / 16, seconds_per_backbone_step=0.05, backbone_steps=300
        )
        assert steps.steps_within("fcos", 120) == 1680  # 105 s are left

    def test_a_backbone_that_takes_it_all(self, scripts):
        steps = self.store_calibration(scripts, seconds_per_backbone_step=0.5, backbone_steps=300)
        with pytest.raises(ValueError, match=r"fcos alone takes 150 s of 120 s"):
            steps.steps_within("fcos", 120)

    def test_a_detector_too_slow_for_one_step_takes_one(self, scripts):
        steps = self.store_calibration(scripts, seconds_per_step=500)
        assert steps.steps_within("fcos", 120) == 1

    def test_without_a_calibration(self, scripts):
        with pytest.raises(FileNotFoundError, match="comparison_steps"):
            scripts("comparison_steps").steps_within("fcos", 120)

    def test_every_variant_can_be_built(self, scripts):
        steps, sizes = scripts("comparison_steps"), scripts("comparison_sizes")
        assert len(sizes.FULL.detectors) == 11
        rows = sizes.FULL.variants_of_matrix()
        assert len(rows) == 12 and rows[rows.index("yolov8") + 1] == sizes.NMS_FREE
        two = steps.build(sizes.NMS_FREE)
        assert two.detects_with == "one_to_one" and len(two.heads) == 2
        assert steps.recipe(sizes.NMS_FREE) == steps.recipe("yolov8")
        assert steps.build("detr").num_queries == 20  # as many as a crowd has objects
        assert steps.peer_variants(sizes.TINY) == ("torchvision fcos 128",)


class TestPeers:
    def test_labels_go_in_and_come_out_as_ours(self, scripts):
        peers = scripts("comparison_peers")
        seen = []

        class Theirs(torch.nn.Module):
            def forward(self, images, targets=None):
                if targets is not None:
                    seen.extend(target["labels"].tolist() for target in targets)
                    return {"loss": torch.zeros(())}
                return [found([A, B, C], [0.9, 0.8, 0.7], [1, 0, 10])]

        model = peers.Peer(Theirs())
        target = truth([A, B], [0, 9])
        model([torch.zeros(3, 8, 8)], [target])
        assert seen == [[1, 10]] and target["labels"].tolist() == [0, 9]
        (answer,) = model.eval()([torch.zeros(3, 8, 8)])
        assert answer["labels"].tolist() == [0, 9]  # the background is nothing
        assert answer["boxes"].tolist() == [A, C]

    def test_an_unknown_one(self, scripts):
        with pytest.raises(ValueError, match="no peer called 'ssd'; there are: fasterrcnn"):
            scripts("comparison_peers").peer("ssd", 128)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["fasterrcnn", "fcos", "retinanet"])
    def test_each_learns_and_detects(self, scripts, name):
        torch.manual_seed(0)
        model = scripts("comparison_peers").peer(name, 64)
        town = ToyTown(2, seed=0)
        images, targets = zip(*(town[i] for i in range(2)))
        losses = model(list(images), list(targets))
        sum(losses.values()).backward()
        backbone = model.detector.backbone.body.conv1.weight
        assert backbone.grad.abs().sum() > 0  # nothing is frozen
        answers = model.eval()(list(images))
        assert all((answer["labels"] < 10).all() for answer in answers)


class TestPeersAtSeveralRates:
    @pytest.fixture
    def part(self, scripts, monkeypatch, tmp_path):
        trainings = scripts("comparison_trainings")
        monkeypatch.setattr(trainings, "CHECKPOINTS", tmp_path / "runs")
        how = trainings.Recipe(steps=7, lr_warmup=100)
        monkeypatch.setattr(trainings.comparison_steps, "recipe_within", lambda *a: how)
        sizes = dataclasses.replace(scripts("comparison_sizes").TINY, peer_lrs=(1e-3, 1.0))
        return trainings, trainings.peers(sizes, "c")

    def test_each_rate_is_a_training_and_a_short_one_leaves_its_warm_up(
        self, part, scripts, monkeypatch
    ):
        trainings, experiment = part
        seen = []

        def row(name, variant, seed, how, scenes, sizes, moments):
            seen.append((name, variant, how.lr, how.lr_warmup, moments))
            return torch.nn.Linear(1, 1), {"ap": 0.1}

        monkeypatch.setattr(trainings, "row", row)
        for label in experiment.seeds:
            numbers = experiment.run(label, 0)
            assert numbers["detector"] == "torchvision fcos 128" and numbers["ap"] == 0.1
            speed = scripts("comparison_speed")
            learnt_in = speed.learnt_in(trainings.weights_file(label))
            assert learnt_in == "comparison_peers"
            kept = Path(f"{trainings.CHECKPOINTS / seen[-1][0]} torchvision fcos 128 0.safetensors")
            kept.touch()
            experiment.forget(label, 0)
            assert not kept.exists()
        assert seen == [
            ("comparison_peers 0.001", "torchvision fcos 128", 1e-3, 1, 1),
            ("comparison_peers 1", "torchvision fcos 128", 1.0, 1, 1),
        ]

    def test_at_full_size_they_are_timed_but_not_trained(self, scripts):
        trainings, steps = scripts("comparison_trainings"), scripts("comparison_steps")
        sizes = scripts("comparison_sizes").FULL
        labels = list(trainings.peers(sizes, "c").seeds)
        assert len(labels) == 3 * 3 and not any(" 800 " in label for label in labels)

        timed = list(steps.calibration(sizes, "c").seeds)
        assert timed[-3:] == [f"torchvision {n} 800" for n in ("fasterrcnn", "fcos", "retinanet")]

    def test_one_that_diverges_finds_nothing(self, part, monkeypatch):
        trainings, experiment = part

        def row(*args):
            raise FloatingPointError("the loss is not finite")

        monkeypatch.setattr(trainings, "row", row)
        numbers = experiment.run("torchvision fcos 128 lr 1", 0)
        assert numbers["diverged"] and numbers["ap"] == 0 and numbers["steps_to_80"] is None


class TestCurve:
    def test_it_looks_at_its_moments_and_goes_on(self, scripts, monkeypatch, tmp_path):
        trainings = scripts("comparison_trainings")
        values = iter([0.5, 0.85, 0.79])

        class Scores:
            def __init__(self):
                self.ap50 = next(values)

        monkeypatch.setattr(trainings.metrics, "evaluate", lambda *a, **k: Scores())
        path = tmp_path / "curve.json"
        curve = trainings.Curve(path, [2, 4, 6], scenes=None)
        for step in (1, 2, 3, 4):
            curve.look(step, model=None)
        assert curve.points == {2: 0.5, 4: 0.85}

        # Killed here; the next one knows what was measured.
        later = trainings.Curve(path, [2, 4, 6], scenes=None)
        assert later.reached(0.8) == 4 and later.reached(0.9) is None
        later.look(6, model=None)
        assert sorted(later.points) == [2, 4, 6] and later.reached(0.5) == 2

    def test_moments_of_a_training_of_another_length_are_forgotten(self, scripts, tmp_path):
        """A calibration made anew gives other steps; the file of the killed training is there."""
        trainings = scripts("comparison_trainings")
        path = tmp_path / "curve.json"
        path.write_text('{"3": 0.9, "4": 0.1}')
        curve = trainings.Curve(path, [2, 4, 6], scenes=None)
        assert curve.points == {4: 0.1} and curve.reached(0.8) is None


def test_trainings_are_in_float32_everywhere(scripts, monkeypatch, tmp_path):
    """Also where the processor multiplies bfloat16: the same steps are to be the same work."""
    steps, trainings = scripts("comparison_steps"), scripts("comparison_trainings")
    asked = []

    def fit(model, scenes, **settings):
        asked.append(settings["amp"])
        after_step = settings["after_step"]
        if after_step is not None:
            after_step(0, model)

    monkeypatch.setattr(steps.training, "fit", fit)
    how = dataclasses.replace(steps.recipe("point"), steps=1)
    steps.time_of_step(None, None, how, seconds=1)
    trainings.train("name", "point", 0, how, scenes=None)
    assert asked == [False, False, False]  # one step is few: it is timed over four


class TestTimeOfAStep:
    @pytest.fixture
    def time_of(self, scripts, monkeypatch):
        """A function: steps that take so many seconds, the first twice as many → what is timed."""
        steps = scripts("comparison_steps")
        clock, asked = [0.0], []
        monkeypatch.setattr(steps.time, "perf_counter", lambda: clock[0])

        def of(step_seconds):
            def fit(model, scenes, after_step, steps=None, minutes=None, **settings):
                asked.append((steps, minutes))
                begun, done = clock[0], 0
                while done != steps and (minutes is None or clock[0] - begun < 60 * minutes):
                    clock[0] += step_seconds * (2 if done == 0 else 1)
                    done += 1
                    after_step(done, model)

            monkeypatch.setattr(steps.training, "fit", fit)
            how = dataclasses.replace(steps.recipe("point"), steps=99)
            return *steps.time_of_step(None, None, how, seconds=15), asked

        return of

    def test_quick_ones_are_trained_for_the_seconds_and_the_first_does_not_count(self, time_of):
        assert time_of(1) == (1, 13, [(None, 0.25)])  # 2 + 13 · 1 = 15

    def test_long_ones_are_trained_for_four_steps(self, time_of):
        assert time_of(20) == (20, 3, [(None, 0.25), (4, None)])

    def test_one_that_takes_minutes_is_timed_once(self, time_of):
        assert time_of(100) == (200, 1, [(None, 0.25)])


class TestMixture:
    def test_equal_parts_and_the_noisy_scenes_are_the_default_ones(self, scripts):
        matrix = scripts("comparison_matrix")
        mixed = matrix.mixture(2)
        assert len(mixed) == 18 and len(matrix.SCENARIO_NAMES) == 9
        assert matrix.SCENARIO_NAMES[0] == "default"
        noisy = 2 * matrix.SCENARIO_NAMES.index("noisy_labels")
        for i in range(2):
            assert torch.equal(mixed[i][0], mixed[noisy + i][0])
            assert mixed[i][1]["boxes"].shape == mixed[noisy + i][1]["boxes"].shape
            assert not torch.equal(mixed[i][1]["boxes"], mixed[noisy + i][1]["boxes"])

    def test_a_row_has_ap_by_class_and_its_first_seed_s_weights_are_kept(
        self, scripts, monkeypatch, tmp_path
    ):
        matrix, trainings = scripts("comparison_matrix"), scripts("comparison_trainings")
        monkeypatch.setattr(trainings, "CHECKPOINTS", tmp_path / "runs")
        torch.manual_seed(0)
        trained = create("point", 10), SimpleNamespace(steps=[1], images=16, seconds=1.0), None
        monkeypatch.setattr(matrix, "train_row", lambda *a: trained)
        part = matrix.matrix(scripts("comparison_sizes").TINY, "c")

        def a_pixel_off(model, town, **_):
            return [
                found(
                    (target["boxes"] + 1).tolist(), [1.0] * len(target["labels"]), target["labels"]
                )
                for _, target in town
            ]

        monkeypatch.setattr(matrix.metrics, "predict", a_pixel_off)
        part.run("point", 1)
        assert not trainings.weights_file("point").exists()
        row = part.run("point", 0)
        speed = scripts("comparison_speed")
        assert speed.learnt_in(trainings.weights_file("point")) == "comparison_matrix"

        assert list(row["scenarios"]) == list(matrix.SCENARIO_NAMES)
        for cell in row["scenarios"].values():
            present = [ap for ap in cell["ap_per_class"] if ap > -1]
            assert len(cell["ap_per_class"]) == 10
            assert sum(present) / len(present) == pytest.approx(cell["ap"], abs=1e-3)
        assert row["scenarios"]["tiny"]["ap"] < row["scenarios"]["tiny"]["ap50"] - 0.1

    def test_those_without_nms_are_named(self, scripts):
        matrix = scripts("comparison_matrix")
        sizes = scripts("comparison_sizes")
        assert set(matrix.WITHOUT_NMS) < set(sizes.FULL.variants_of_matrix())


class TestSpeed:
    def test_all_take_turns_and_another_one_begins_each_round(self, scripts):
        speed = scripts("comparison_speed")
        calls = []
        detectors = {name: (lambda images, name=name: calls.append(name)) for name in "abc"}
        times = speed.latencies(detectors, [], rounds=4)
        assert {name: len(own) for name, own in times.items()} == {"a": 4, "b": 4, "c": 4}
        rounds = ["".join(calls[i : i + 3]) for i in range(0, len(calls), 3)]
        assert rounds == ["abc", "bca", "cab", "abc", "bca", "cab", "abc"]

    def test_a_peer_has_the_weights_of_its_best_rate(self, scripts):
        speed, sizes = scripts("comparison_speed"), scripts("comparison_sizes")
        name = "torchvision fcos 128"
        runs = [
            {"variant": f"{name} lr {lr}", "seed": 0, "detector": name, "ap": ap}
            for lr, ap in (("0.0005", 0.1), ("0.001", 0.3), ("0.002", 0.2))
        ]
        results.store("comparison_peers", {}, runs, command="c")
        labels = speed.chosen(sizes.TINY)
        assert labels == {"point": "point", "yolov8": "yolov8", name: f"{name} lr 0.001"}

    def test_a_peer_that_diverged_at_all_rates_has_no_weights_to_measure(self, scripts):
        speed, sizes = scripts("comparison_speed"), scripts("comparison_sizes")
        name = "torchvision fcos 128"
        run = {"variant": f"{name} lr 1", "seed": 0, "detector": name, "ap": 0.0, "diverged": True}
        results.store("comparison_peers", {}, [run], command="c")
        assert speed.chosen(sizes.TINY) == {"point": "point", "yolov8": "yolov8"}

    def test_missing_weights_are_named(self, scripts, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no weights of point at .*gone.*`weights`"):
            scripts("comparison_speed").trained("point", tmp_path / "gone.safetensors")

    def test_weights_that_stayed_elsewhere_are_learnt_anew(self, scripts, monkeypatch, tmp_path):
        speed, trainings = scripts("comparison_speed"), scripts("comparison_trainings")
        sizes = scripts("comparison_sizes").TINY
        monkeypatch.setattr(trainings, "CHECKPOINTS", tmp_path)
        monkeypatch.setattr(speed.runner, "LOCKS", tmp_path / "locks")
        how = trainings.Recipe(steps=8, lr=6e-3)
        monkeypatch.setattr(trainings.comparison_steps, "recipe_within", lambda *a: how)
        peer = "torchvision fcos 128"
        runs = [{"variant": f"{peer} lr 0.001", "seed": 0, "detector": peer, "ap": 0.1}]
        results.store("comparison_peers", {}, runs, command="c")

        seen = []

        def train(name, variant, seed, how, scenes):
            seen.append((variant, seed, how.lr, how.lr_warmup, len(scenes)))
            return torch.nn.Linear(1, 1), None, None

        monkeypatch.setattr(speed, "train", train)
        trainings.weights_file("yolov8").touch()  # has stayed here
        speed.learn_weights(sizes)
        assert seen == [("point", 0, 6e-3, 50, 24), (peer, 0, 1e-3, 2, 24)]
        assert speed.learnt_in(trainings.weights_file("point")) == "comparison_weights"
        assert trainings.weights_file(f"{peer} lr 0.001").is_file()

        speed.learn_weights(sizes)
        assert len(seen) == 2

    def test_multiply_adds_where_a_submodule_is_given_a_parameter(self, scripts):
        """As the decoder of Group DETR is given its queries."""

        class Given(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.queries = torch.nn.Parameter(torch.zeros(3, 4))
                self.linear = torch.nn.Linear(4, 5)

            def forward(self, images):
                return self.linear(self.queries[None].expand(2, -1, -1))

        count = scripts("comparison_speed").multiply_adds(Given(), torch.zeros(3, 6, 4))
        assert count == 2 * 3 * 4 * 5

    def test_multiply_adds_of_one_convolution(self, scripts):
        class One(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False)

            def forward(self, images):
                return self.conv(images[0][None])

        image = torch.zeros(3, 6, 4)
        count = scripts("comparison_speed").multiply_adds(One(), image)
        assert count == 3 * 5 * 9 * 6 * 4


class TestOneMachine:
    def test_runs_of_another_machine_are_not_added_to(self, scripts):
        comparison = scripts("comparison")
        sizes = scripts("comparison_sizes")
        part = comparison.experiment("table", sizes.TINY)
        comparison.refuse_other_hardware(part)  # nothing is stored yet

        run = {"variant": "point", "seed": 0, "hardware": "a computer of 1970"}
        results.store("comparison", dict(part.settings), [run], command="c")
        with pytest.raises(ValueError, match=r"holds runs of a computer of 1970; this is .*cores"):
            comparison.refuse_other_hardware(part)
        with pytest.raises(ValueError, match="must not mix machines"):
            comparison.work(["table"], sizes.TINY)

    def test_runs_of_this_machine_are(self, scripts):
        comparison = scripts("comparison")
        part = comparison.experiment("table", scripts("comparison_sizes").TINY)
        here = results.provenance("", [])["hardware"]
        run = {"variant": "point", "seed": 0, "hardware": here}
        results.store("comparison", dict(part.settings), [run], command="c")
        comparison.refuse_other_hardware(part)


class TestPartsThatAreComplete:
    ELSEWHERE = "a computer of 1970"

    @pytest.fixture
    def comparison(self, scripts, monkeypatch):
        """The script with every run of every part stored elsewhere, and a list of what is made."""
        comparison = scripts("comparison")
        for part in comparison.PARTS:
            self.store(comparison, part, leave_out=None)

        comparison.made = []
        monkeypatch.setattr(comparison, "work", lambda parts, sizes: comparison.made.extend(parts))
        monkeypatch.setattr(comparison, "share", lambda part, *rest: comparison.made.append(part))
        return comparison

    def store(self, comparison, part, leave_out):
        one = comparison.experiment(part, comparison.FULL)
        runs = [
            {"variant": variant, "seed": seed, "hardware": self.ELSEWHERE}
            for variant, seeds in one.seeds.items()
            for seed in seeds
            if (variant, seed) != leave_out
        ]
        results.store(one.name, one.settings, runs, command="c")

    def test_with_everything_stored_elsewhere_nothing_is_made(self, comparison, capsys):
        assert comparison.main([]) is None  # which the shell sees as 0
        assert comparison.made == []
        said = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0] for line in said] == list(comparison.ORDER)
        assert said[1] == "live: complete in comparison_live, made on a computer of 1970"
        assert "weights: not needed, comparison_speed is complete" in said

    def test_a_gpu_is_no_hindrance_where_nothing_is_timed(self, comparison, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        comparison.main([])
        assert comparison.made == []

    def test_a_missing_run_is_not_added_to_those_of_another_machine(self, comparison, capsys):
        self.store(comparison, "table", leave_out=("fcos", 2))
        with pytest.raises(SystemExit) as ended:
            comparison.main([])
        assert ended.value.code != 0 and comparison.made == []
        assert "comparison holds runs of a computer of 1970" in capsys.readouterr().err

        # The other parts are as complete as before.
        comparison.main(["--parts", "live", "matrix", "labels"])
        assert comparison.made == []

    def test_what_is_missing_altogether_is_made_here(self, comparison):
        """No speed: the weights that it reads are wanted as well, and nothing else."""
        (stored.FOLDER / "comparison_speed.json").unlink()
        comparison.main([])
        assert comparison.made == ["weights", "speed"]

    def test_other_settings_are_refused_though_every_run_is_there(self, comparison, capsys):
        result = results.load("comparison_matrix")
        results.store("comparison_matrix", {"seconds": 1}, result["runs"], command="c")
        with pytest.raises(SystemExit):
            comparison.main(["--parts", "matrix"])
        assert "the stored comparison_matrix has the settings" in capsys.readouterr().err


def test_the_stored_parts_are_complete_and_of_the_machines_that_the_script_names(
    root, monkeypatch, capsys
):
    """With the book's own results: the command finds nothing to do on any machine."""
    monkeypatch.syspath_prepend(str(root / "benchmarks" / "experiments"))
    monkeypatch.delenv("DETLEARN_FAST", raising=False)
    comparison = importlib.import_module("comparison")
    assert comparison.main([]) is None
    assert len(capsys.readouterr().out.splitlines()) == len(comparison.ORDER)

    for part in comparison.PARTS:
        result = results.load(comparison.experiment(part, comparison.FULL).name)
        (machine,) = result.hardware()
        assert result["provenance"]["command"] == f"python {SCRIPT} --parts {part}"
        row = rf"^{part} +{result['name']}\.json +{re.escape(machine)}$"
        assert re.search(row, comparison.__doc__, re.MULTILINE), part


def test_it_goes_on_however_many_threads_it_is_called_with(scripts, monkeypatch):
    """The runs are made with one thread, and say so; the one who starts them has two."""
    comparison, sizes = scripts("comparison"), scripts("comparison_sizes")
    before = torch.get_num_threads()
    shared = []
    monkeypatch.setattr(comparison, "share", lambda *args: shared.append(args))
    try:
        torch.set_num_threads(1)
        here = results.provenance("", [])["hardware"]
        part = comparison.experiment("table", sizes.FULL)
        run = {"variant": "point", "seed": 0, "hardware": here}
        results.store("comparison", dict(part.settings), [run], command="c")
        torch.set_num_threads(2)
        comparison.main(["--parts", "table"])
    finally:
        torch.set_num_threads(before)
    assert shared == [("table", 2, None)]


class TestCheckOfThreeCells:
    """Seeds of point .40, .42, of yolov8 .34, .36, of fcos .48, .50 on each of their scenarios.

    All variances are .0002, so s = .0141 with 3 degrees of freedom: half is 3.1824 · s · √1.5 =
    .0551. Expected: .3549 to .4651, .2949 to .4051, .4349 to .5451.
    """

    @pytest.fixture
    def check(self, scripts, monkeypatch):
        """A function: the AP that each detector will have → whether all agree; `asked` of it."""
        script = scripts("comparison_check")
        trainings = scripts("comparison_trainings")
        seeds = {"point": (0.40, 0.42), "yolov8": (0.34, 0.36), "fcos": (0.48, 0.50)}
        runs = [
            {
                "variant": name,
                "seed": seed,
                "steps": 90 + len(name),
                "scenarios": {scenario: {"ap": ap} for scenario in ("tiny", "crowd", "nested")},
            }
            for name, aps in seeds.items()
            for seed, ap in enumerate(aps)
        ]
        results.store("comparison_matrix", {}, runs, command="c")
        asked = []

        def train(name, detector, seed, how, scenes):
            asked.append((name, detector, seed, how.steps, len(scenes)))
            return detector, None, None

        def of(**aps):
            def measure(model, detector, scenes, names, worst):
                return {name: {"ap": aps[detector]} for name in names}

            monkeypatch.setattr(trainings, "train", train)
            monkeypatch.setattr(scripts("comparison_matrix"), "measure", measure)
            sizes = dataclasses.replace(scripts("comparison_sizes").TINY, detectors=tuple(seeds))
            return script.check(sizes, "python check.py")

        of.asked = asked
        return of

    def test_what_came_is_stored_beside_what_was_expected(self, check, capsys):
        assert check(point=0.3550, yolov8=0.4050, fcos=0.49) is True
        assert check.asked == [
            ("comparison_check", "point", 7, 95, 27),
            ("comparison_check", "yolov8", 7, 96, 27),
            ("comparison_check", "fcos", 7, 94, 27),
        ]
        assert "point on tiny: AP 0.355, expected 0.355 to 0.465: agrees" in capsys.readouterr().out

        stored_check = results.load("comparison_check")
        first, second, third = stored_check["runs"]
        assert [first["scenario"], second["scenario"], third["scenario"]] == [
            "tiny",
            "crowd",
            "nested",
        ]
        assert first["expected"] == [0.3549, 0.4651] and first["ap"] == 0.355
        assert second["expected"] == [0.2949, 0.4051] and third["expected"] == [0.4349, 0.5451]
        assert all(run["agrees"] for run in stored_check["runs"])
        assert (
            datetime.date.fromisoformat(first["day"]) <= datetime.datetime.now(datetime.UTC).date()
        )
        assert stored_check.hardware() == [results.provenance("", [])["hardware"]]
        assert stored_check["provenance"]["command"] == "python check.py"

    def test_one_that_does_not_agree_is_stored_as_well(self, check, capsys):
        check(point=0.41, yolov8=0.35, fcos=0.49)
        assert check(point=0.41, yolov8=0.4052, fcos=0.4347) is False
        said = capsys.readouterr().out
        assert said.count("DISAGREES") == 2 and "1 of 3 cells agree" in said
        # The later check takes the place of the earlier.
        assert [run["agrees"] for run in results.load("comparison_check")["runs"]] == [
            True,
            False,
            False,
        ]

    def test_a_fallen_training_is_noticed_before_anything_is_trained(self, check):
        matrix = results.load("comparison_matrix")
        for cell in matrix["runs"][-1]["scenarios"].values():
            cell["ap"] = 0.1
        results.store("comparison_matrix", {}, matrix["runs"], command="c")
        with pytest.raises(ValueError, match="of fcos the training with seed 1 reached less"):
            check(point=0.41, yolov8=0.35, fcos=0.49)
        assert check.asked == []

    def test_the_command_hands_on_what_came(self, scripts, monkeypatch):
        comparison = scripts("comparison")
        for agree, code in ((True, 0), (False, 1)):
            check = Mock(return_value=agree)
            monkeypatch.setattr(comparison.comparison_check, "check", check)
            with pytest.raises(SystemExit) as ended:
                comparison.main(["--check"])
            assert ended.value.code == code
            check.assert_called_once_with(comparison.FULL, f"python {SCRIPT} --check")


def test_shortened_trainings_are_refused(scripts, monkeypatch, capsys):
    comparison = scripts("comparison")
    monkeypatch.setenv("DETLEARN_FAST", "1")
    with pytest.raises(SystemExit):
        comparison.main(["--parts", "live"])
    assert "unset DETLEARN_FAST" in capsys.readouterr().err


def test_a_gpu_may_train_but_not_be_timed(scripts, monkeypatch, capsys):
    comparison = scripts("comparison")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit):
        comparison.main(["--parts", "steps", "table", "speed"])
    assert "steps and speed measure the time of a CPU: set CUDA" in capsys.readouterr().err

    shared = []
    monkeypatch.setattr(comparison, "refuse_other_hardware", lambda part: None)
    monkeypatch.setattr(comparison, "share", lambda part, *rest: shared.append(part))
    comparison.main(["--parts", "table"])
    assert shared == ["table"]
    assert not torch.backends.cudnn.allow_tf32  # of factors of ten bits


def test_every_part_names_its_own_command(scripts):
    comparison, sizes = scripts("comparison"), scripts("comparison_sizes")
    names = set()
    for part in comparison.PARTS:
        one = comparison.experiment(part, sizes.FULL)
        assert one.command == f"python {SCRIPT} --parts {part}"
        json.dumps(dict(one.settings))
        # The same work on every machine.
        assert one.settings["precision"] == "float32"
        names.add(one.name)
    assert len(names) == len(comparison.PARTS)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_killed_and_started_again(root, tmp_path):
    """After a kill every run is made once, with what was stored before left as it was."""
    folder = tmp_path / "tiny"
    command = [sys.executable, str(root / SCRIPT), "--tiny", str(folder), "--at-a-time", "1"]
    command += ["--parts", "steps", "live"]
    first = subprocess.Popen(command, cwd=tmp_path)

    # As soon as something is stored, end it as the system ends what takes too much memory.
    calibrated = folder / "comparison_steps.json"
    deadline = time.monotonic() + 400
    while not calibrated.exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = json.loads(calibrated.read_text())["runs"]
    assert len(before) < 4

    subprocess.run(command, cwd=tmp_path, check=True, timeout=500)
    after = json.loads(calibrated.read_text())["runs"]
    assert len(after) == 4 and all(run in after for run in before)
    live = json.loads((folder / "comparison_live.json").read_text())["runs"]
    assert [(run["variant"], run["seed"]) for run in live] == [("point", 0), ("point", 1)]
    assert not list((folder / "runs").glob("*.safetensors"))  # nothing is left over

"""A training that is killed goes on to the very weights of an uninterrupted one."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_training import Samples, foreign, same_weights, train

from detlearn.data import transforms
from detlearn.machine.checkpoints import load_tensors, save_tensors
from detlearn.training import loop

STEPS = 40
SCRIPT = """
import sys
import time
import torch
from detlearn import training
from detlearn.data import transforms
from detlearn.models.point import PointDetector
from detlearn.nets.small import SmallBackbone

training.loop.CHECKPOINT_EVERY = 5


class Noise(torch.utils.data.Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        time.sleep(0.005)
        random = torch.Generator().manual_seed(index)
        boxes = torch.tensor([[4.0, 4, 20, 24], [10, 10, 30, 30]])
        image = torch.rand(3, 32, 32, generator=random)
        return image, {"boxes": boxes, "labels": torch.tensor([0, 1])}


class Dropping(PointDetector):
    def predict(self, images, sizes=None):
        # what a model draws at random must go on as it was, too
        images = torch.nn.functional.dropout(images, 0.1, self.training)
        return super().predict(images, sizes)


steps = int(sys.argv[1])
for checkpoint in sys.argv[2:]:
    torch.manual_seed(0)
    model = Dropping(2, SmallBackbone((4, 8, 8, 8)), channels=8)
    history = training.fit(
        model, Noise(), steps=steps, batch_size=4, checkpoint=checkpoint, progress=False,
        augment=transforms.flip, amp=False,
    )
    assert history.steps == list(range(1, steps + 1)), history.steps
    assert history.images == 4 * steps
"""


def start(script, *checkpoints):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, script, STEPS, *checkpoints]
    return subprocess.Popen([*map(str, command)], env=environment, stderr=subprocess.PIPE)


def steps_in(path):
    return load_tensors(path)[1]["steps_done"]


@pytest.mark.slow
@pytest.mark.alone
def test_kill_9_in_the_middle(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"

    process = start(script, broken)
    while process.poll() is None and not (broken.exists() and steps_in(broken) >= 10):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert 10 <= steps_in(broken) < STEPS

    process = start(script, broken, whole)  # continue the one, then run the other in one piece
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    (tensors, info), (wanted, wanted_info) = load_tensors(broken), load_tensors(whole)
    assert info["finished"] and wanted_info["finished"]
    assert tensors.keys() == wanted.keys() and len(wanted) > 100
    for name, tensor in wanted.items():
        assert torch.equal(tensors[name], tensor), name
    for name in ("steps", "total", "losses", "lr", "images"):
        assert info["history"][name] == wanted_info["history"][name]


class Stop(Exception):
    pass


def interrupted(monkeypatch, path, after, model=None, **options):
    """Train, and break off after some steps."""
    step = loop.Trainer.step

    def stops(trainer, *batch):
        if trainer.steps_done == after:
            raise Stop
        step(trainer, *batch)

    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(loop.Trainer, "step", stops)
        train(model or foreign(), checkpoint=path, **options)


@pytest.mark.parametrize("after", [2, 5, 8])
@pytest.mark.parametrize("ema", [0.9, None])
def test_every_part_of_the_state_is_restored(tmp_path, monkeypatch, after, ema):
    options = {"steps": 9, "ema": ema, "lr": 0.05, "multi_scale": ((8, 16), 2)}
    whole = foreign(dropout=0.3)
    history = train(whole, **options)
    interrupted(monkeypatch, tmp_path / "state", after, foreign(dropout=0.3), **options)
    assert steps_in(tmp_path / "state") == after // 2 * 2
    # Weights and random state of the new process do not matter: all comes from the file.
    continued = foreign(seed=99, dropout=0.3)
    resumed = train(continued, checkpoint=tmp_path / "state", **options)
    assert same_weights(continued, whole)
    assert resumed.steps == history.steps and resumed.total == history.total
    assert resumed.lr == history.lr and resumed.images == history.images


def test_the_minutes_of_all_runs_are_added(tmp_path, monkeypatch):
    """On a clock that says 0.1 s more each time, a second is ten steps, in one piece or two."""
    clock = itertools.count()
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock) / 10)
    options = {"steps": None, "minutes": 1 / 60}
    interrupted(monkeypatch, tmp_path / "state", 4, **options)
    history = train(foreign(), checkpoint=tmp_path / "state", **options)
    assert history.steps == list(range(1, 11)) and history.seconds == pytest.approx(1.0)


def test_weights_whose_memory_lies_channels_last(tmp_path, monkeypatch):
    """The optimizer's averages must come back in the layout of the weights they belong to."""

    class Convolution(type(foreign())):
        def __init__(self):
            super().__init__()
            self.convolution = torch.nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, images, targets=None):
            return super().forward(list(self.convolution(torch.stack(images))), targets)

    def fresh():
        torch.manual_seed(0)
        return Convolution()

    whole, continued = fresh(), fresh()
    train(whole, steps=8, lr=0.05)
    interrupted(monkeypatch, tmp_path / "state", 4, fresh(), steps=8, lr=0.05)
    train(continued, checkpoint=tmp_path / "state", steps=8, lr=0.05)
    assert same_weights(whole, continued)


def test_parameter_groups_are_restored(tmp_path, monkeypatch):
    def groups(model):
        return [
            {"params": model.corner.parameters(), "lr": 0.1},
            {"params": model.score.parameters()},
        ]

    whole, broken, continued = foreign(), foreign(), foreign(5)
    train(whole, steps=8, param_groups=groups(whole))
    options = {"steps": 8, "param_groups": groups(broken)}
    interrupted(monkeypatch, tmp_path / "state", 4, broken, **options)
    train(continued, steps=8, param_groups=groups(continued), checkpoint=tmp_path / "state")
    assert same_weights(whole, continued)


def test_a_finished_training_returns_at_once(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "state"
    first, second = foreign(), foreign(3)
    history = train(first, checkpoint=path, val=Samples(3))
    changed = path.stat().st_mtime_ns

    def never(*args):
        raise AssertionError("a step was taken, or AP measured again")

    monkeypatch.setattr(loop.Trainer, "step", never)
    monkeypatch.setattr(loop, "evaluate", never)
    again = train(second, checkpoint=path, val=Samples(3))
    assert again == history
    assert same_weights(first, second) and not second.training
    assert path.stat().st_mtime_ns == changed


def test_killed_while_ap_was_measured(tmp_path, monkeypatch):
    """All steps are done and saved, the end is not: only the end is done again."""
    whole = foreign()
    train(whole)

    def broken(*args, **options):
        raise Stop

    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(loop, "evaluate", broken)
        train(foreign(), checkpoint=tmp_path / "state", val=Samples(3))
    model = foreign(4)
    history = train(model, checkpoint=tmp_path / "state", val=Samples(3))
    assert same_weights(model, whole)
    assert history.steps == [1, 2, 3, 4] and len(history.val) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 5}, r"'total': 4}, this one has {'total': 5}"),
        ({"lr": 0.5}, r"'lr': 0.002}, this one has {'lr': 0.5}"),
        ({"batch_size": 2}, "batch_size"),
        ({"seed": 3}, "seed"),
        ({"ema": None}, "ema"),
        ({"weight_decay": 0.5}, "weight_decay"),
        ({"clip_norm": 1.0}, "clip_norm"),
        ({"multi_scale": ((8,), 1)}, "multi_scale"),
        ({"data": Samples(11)}, "train_images"),
        ({"steps": None, "minutes": 1.0}, "minutes"),
        ({"data": Samples(size=9)}, r"'data': '10 images, .*'}, this one has {'data': '10 images"),
        ({"augment": transforms.flip}, r"'augment': None}, this one has {'augment': \['_apply_ra"),
        ({"model": foreign(dropout=0.1)}, r"'model.dropout.p': 0.0}, this one has .*: 0.1}"),
        ({"param_groups": foreign().parameters()}, r"'param_groups': None}, this one has"),
    ],
)
def test_a_checkpoint_of_another_training(tmp_path, options, words):
    train(foreign(), checkpoint=tmp_path / "state")
    options = {"model": foreign(), **options}
    with pytest.raises(ValueError, match=words) as caught:
        train(checkpoint=tmp_path / "state", **options)
    assert "state comes from a training with" in str(caught.value)
    assert "use the same settings to continue, or another path" in str(caught.value)


def test_a_checkpoint_that_says_less_is_continued_and_this_is_said(tmp_path, monkeypatch):
    """An older version did not write down data, augmentation and model."""
    path = tmp_path / "state"
    whole, continued = foreign(), foreign(5)
    train(whole, steps=8)
    interrupted(monkeypatch, path, 4, steps=8)
    tensors, info = load_tensors(path)
    for name in ("data", "augment", "model", "param_groups"):
        del info["settings"][name]
    save_tensors(path, tensors, info)

    with pytest.warns(UserWarning, match="state was written by .* augment, data, model, param_gr"):
        train(continued, steps=8, checkpoint=path)
    assert same_weights(whole, continued)
    train(foreign(), steps=8, checkpoint=path)  # now it says all

    with pytest.raises(ValueError, match=r"'total': 8}, this one has {'total': 9}"):
        train(foreign(), steps=9, checkpoint=path)


def test_a_checkpoint_of_another_model(tmp_path):
    train(foreign(), checkpoint=tmp_path / "state")
    other = foreign()
    other.score = torch.nn.Linear(3, 5)
    with pytest.raises(ValueError, match=r"(?s)state is of another model: .*score"):
        train(other, checkpoint=tmp_path / "state")


def test_files_that_are_no_checkpoint(tmp_path):
    path = tmp_path / "state"
    train(foreign(), checkpoint=path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        ValueError, match=r"state is no checkpoint of this package, or it is damaged"
    ):
        train(foreign(), checkpoint=path)
    save_tensors(path, {"weight": torch.ones(1)}, {"class_names": ["a"]})
    with pytest.raises(ValueError, match="holds no state of a training"):
        train(foreign(), checkpoint=path)


@pytest.mark.parametrize("missing", ["settings", "steps_done", "finished", "history"])
def test_a_state_that_lacks_something(tmp_path, missing):
    path = tmp_path / "state"
    train(foreign(), checkpoint=path)
    tensors, info = load_tensors(path)
    del info[missing]
    save_tensors(path, tensors, info)
    with pytest.raises(ValueError, match="state holds no state of a training"):
        train(foreign(), checkpoint=path)


class Pressing(Samples):
    """Somebody presses Ctrl-C while a sample is read, in the first process or in all."""

    def __init__(self, at, times=1, everywhere=False):
        super().__init__()
        self.at, self.times, self.everywhere = at, times, everywhere
        self.first_process = os.getpid()
        self.reads = 0

    def __getitem__(self, index):
        self.reads += 1
        if self.reads == self.at:
            for _ in range(self.times):
                if self.everywhere:
                    os.kill(os.getpid(), signal.SIGINT)
                os.kill(self.first_process, signal.SIGINT)
        return super().__getitem__(index)


PROBING = 2 * 8  # reads of `describe_data`


class TestCtrlC:
    def test_the_step_at_hand_is_taken_and_kept(self, tmp_path, capfd):
        path = tmp_path / "state"
        whole = foreign()
        train(whole, steps=8)

        with pytest.raises(KeyboardInterrupt) as caught:
            train(foreign(), Pressing(PROBING + 9), steps=8, checkpoint=path)  # in the third step
        assert str(caught.value) == (
            f"stopped after step 3, which {path} holds; the same call goes on from there"
        )
        assert capfd.readouterr().err == "\nstops after this step; Ctrl-C again stops at once\n"
        assert steps_in(path) == 3 and os.listdir(tmp_path) == ["state"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

        continued = foreign(5)
        history = train(continued, steps=8, checkpoint=path)
        assert history.steps == list(range(1, 9)) and same_weights(whole, continued)

    def test_in_the_last_step(self, tmp_path):
        path = tmp_path / "state"
        with pytest.raises(KeyboardInterrupt, match="after step 4"):
            train(foreign(), Pressing(PROBING + 16), checkpoint=path, val=Samples(3))
        assert not load_tensors(path)[1]["finished"]
        assert len(train(foreign(), checkpoint=path, val=Samples(3)).val) == 1

    def test_twice_stops_at_once(self, tmp_path):
        path = tmp_path / "state"
        with pytest.raises(KeyboardInterrupt) as caught:
            train(foreign(), Pressing(PROBING + 9, times=2), checkpoint=path)
        assert str(caught.value) == "" and os.listdir(tmp_path) == []
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_without_a_checkpoint_it_stops_at_once(self, capfd):
        data = Pressing(9)
        with pytest.raises(KeyboardInterrupt) as caught:
            train(foreign(), data)
        assert str(caught.value) == "" and data.reads == 9 and capfd.readouterr().err == ""

    def test_processes_that_load_images_leave_it_to_the_first(self, tmp_path, capfd):
        path = tmp_path / "state"
        whole = foreign()
        train(whole, steps=8)
        data = Pressing(PROBING + 9, everywhere=True)
        with pytest.raises(KeyboardInterrupt, match="stopped after step"):
            train(foreign(), data, steps=8, checkpoint=path, workers=1)
        assert multiprocessing.active_children() == []
        assert capfd.readouterr().err.count("stops after this step") == 1

        continued = foreign(5)
        train(continued, steps=8, checkpoint=path)
        assert same_weights(whole, continued)

    def test_who_has_an_answer_of_his_own_keeps_it(self, tmp_path):
        seen = []

        def answer(number, frame):
            seen.append(number)

        before = signal.signal(signal.SIGINT, answer)
        try:
            train(foreign(), Pressing(PROBING + 9), checkpoint=tmp_path / "state")
            assert signal.getsignal(signal.SIGINT) is answer
        finally:
            signal.signal(signal.SIGINT, before)
        assert seen == [signal.SIGINT]


def test_the_last_steps_are_kept_while_ap_is_measured(tmp_path, monkeypatch):
    """Fifty steps go by between two checkpoints; measuring may take as long as they did."""

    def broken(*args, **options):
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(loop, "evaluate", broken)
        train(foreign(), checkpoint=tmp_path / "state", val=Samples(3))
    assert steps_in(tmp_path / "state") == 4

    monkeypatch.setattr(loop.Trainer, "step", None)
    history = train(foreign(4), checkpoint=tmp_path / "state", val=Samples(3))
    assert history.steps == [1, 2, 3, 4] and len(history.val) == 1


def test_only_whole_files_appear(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 1)
    train(foreign(), checkpoint=tmp_path / "state")
    assert os.listdir(tmp_path) == ["state"]
    assert Path(tmp_path / "state").stat().st_size > 1000

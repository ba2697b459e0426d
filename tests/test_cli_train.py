"""``detlearn train``: sizes for photographs, validation, fine-tuning, longer trainings, Ctrl-C."""

import json
import os
import re
import resource

import numpy as np
import pytest
import torch
from PIL import Image

from detlearn import models, pretrained
from detlearn.cli import main
from detlearn.cli import train as train_command
from detlearn.cli.detector import load
from detlearn.cli.evaluate import class_table
from detlearn.cli.picture_size import choose_size
from detlearn.data import transforms
from detlearn.machine.checkpoints import load_tensors, save_tensors
from detlearn.metrics import coco_metrics
from detlearn.models import ImageBatcher
from detlearn.training import loop
from detlearn.training.longer import longer_in_words


def coco(root, size=(48, 32), names=("cat", "dog"), number=4, side=12):
    """A COCO data set of grey pictures with one square each, of the classes in turn."""
    (root / "img").mkdir(parents=True)
    images, annotations = [], []
    for i in range(number):
        pixels = np.full((size[1], size[0], 3), 50 + i, dtype=np.uint8)
        Image.fromarray(pixels).save(root / "img" / f"{i}.png", compress_level=1)
        images.append({"id": i, "file_name": f"{i}.png", "width": size[0], "height": size[1]})
        box = {"bbox": [4, 6, side, side], "area": side**2, "iscrowd": 0}
        annotations.append({"id": i, "image_id": i, "category_id": i % len(names), **box})
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "ann.json").write_text(json.dumps(content))
    return f"coco:{root / 'img'},{root / 'ann.json'}"


@pytest.fixture
def train(capsys):
    """A function that trains in this process and returns what it wrote."""

    def call(*words, status=0):
        capsys.readouterr()
        code = main(["train", "--batch-size", "2", *[str(word) for word in words]])
        out, err = capsys.readouterr()
        assert code == status, err
        return out, err

    return call


class Drawn:
    """What `choose_size` asks of a data set, without files."""

    def __init__(self, sizes, boxes, monkeypatch):
        self.image_paths = [f"{i}.jpg" for i in range(len(sizes))]
        self.boxes = boxes
        by_path = dict(zip(self.image_paths, sizes))
        monkeypatch.setattr("detlearn.data.reading.picture_size", by_path.__getitem__)

    def __len__(self):
        return len(self.image_paths)

    def target(self, index):
        return {"boxes": torch.tensor(self.boxes[index], dtype=torch.float32).reshape(-1, 4)}


def squares(side, number=10):
    return [[10, 10, 10 + side, 10 + side]] * number


class TestSize:
    @pytest.mark.parametrize(
        ("size", "side", "batch", "wanted"),
        [
            ((384, 300), 50, 16, None),  # small enough to be left alone
            ((640, 480), 100, 16, (240, 320)),
            ((480, 640), 100, 16, (240, 320)),  # held upright
            ((4032, 3024), 800, 16, (240, 320)),
            # To have 12 pixels of 60, 4032 become 12 / 60 · 4032 = 806.4, and 832 divide by 32.
            # But √(16 · 640 · 480 / (16 · ¾)) = 640; with batches of 4 it would be 1280.
            ((4032, 3024), 60, 16, (480, 640)),
            ((4032, 3024), 60, 4, (624, 832)),
            ((4032, 3024), 1, 1, (1920, 2560)),
            # Never larger than the pictures are (up to a multiple of 32).
            ((400, 300), 2, 16, (312, 416)),
            # At least 320, however many in a batch.
            ((4032, 3024), 60, 1000, (240, 320)),
        ],
    )
    def test_by_hand(self, monkeypatch, size, side, batch, wanted):
        choice = choose_size(Drawn([size] * 3, [squares(side)] * 3, monkeypatch), batch)
        assert (choice if choice is None else choice[:2]) == wanted

    def test_the_smallest_tenth_decides(self, monkeypatch):
        """Of 100 objects 20 have 100 pixels, 5 have 20: the tenth-smallest has 100."""
        boxes = [squares(20, 5) + squares(100, 20) + squares(1000, 75)]
        choice = choose_size(Drawn([(4000, 4000)], boxes, monkeypatch), 1)
        assert choice.max_size == 480  # 12 / 100 · 4000
        assert "the smallest tenth of the objects has up to 12" in choice.reason

    def test_it_is_said_why_and_how_to_change_it(self, monkeypatch):
        sizes = [(4032, 3024), (640, 480)]
        choice = choose_size(Drawn(sizes, [squares(60)] * 2, monkeypatch), 16)
        for words in ("pictures of 640 to 4032 pixels", "--min-size", "give both options"):
            assert words in choice.reason

    def test_what_does_not_fit_is_said(self, monkeypatch):
        """16 of 4 MB a step instead of 832 · 624 pixels: 16 · 640 · 480 / (832 · 624) = 9.5."""
        choice = choose_size(Drawn([(4032, 3024)], [squares(60)], monkeypatch), 16)
        assert "--min-size 624 --max-size 832 --batch-size 9 do not" in choice.reason
        choice = choose_size(Drawn([(4032, 3024)], [squares(60)], monkeypatch), 9)
        assert choice.max_size == 832 and "gigabytes" not in choice.reason

    def test_without_objects(self, monkeypatch):
        choice = choose_size(Drawn([(4032, 3024)], [[]], monkeypatch), 16)
        assert choice[:2] == (240, 320) and "objects" not in choice.reason

    def test_samples_without_files_keep_theirs(self):
        """Drawn scenes have the size that was asked for."""
        assert choose_size([torch.rand(3, 512, 512)] * 3, 16) is None

    def test_a_training_of_photographs(self, train, tmp_path):
        data = coco(tmp_path / "data", (400, 300), side=100)
        out, _ = train("--data", data, "--steps", 1, "--out", tmp_path / "out")
        assert "are resized to 320 (--min-size 240 --max-size 320)" in out
        batcher = load(tmp_path / "out", "cpu").model.batcher
        assert (batcher.min_size, batcher.max_size) == (240, 320)

        # The same command again chooses the same.
        train("--data", data, "--steps", 1, "--out", tmp_path / "out")
        # What is given counts; one of the two alone is not understood.
        words = ["--data", data, "--steps", 1, "--out", tmp_path / "given"]
        out, _ = train(*words, "--min-size", 64, "--max-size", 96)
        assert "are resized" not in out
        assert load(tmp_path / "given", "cpu").model.batcher.max_size == 96
        words = ["--data", data, "--steps", 1, "--out", tmp_path / "half"]
        assert "give both" in train(*words, "--max-size", 96, status=2)[1]
        # A batch of nothing has no size to choose for.
        words = ["--data", data, "--steps", 1, "--out", tmp_path / "none", "--batch-size", 0]
        assert "batch_size is 0" in train(*words, status=2)[1]

    def test_detectors_that_squash_and_several_sizes_need_none(self, train, tmp_path):
        data = coco(tmp_path / "data", (600, 400))
        words = ["--data", data, "--steps", 1]
        out, _ = train(*words, "--out", tmp_path / "a", "--model", "yolov1")
        assert "are resized" not in out
        out, _ = train(*words, "--out", tmp_path / "b", "--multi-scale", "64:64")
        assert "are resized" not in out


class TestResizedWhenRead:
    """As each picture is read, so that no sixteen of twelve megapixels wait for the batch."""

    def test_the_batcher_leaves_it_alone(self):
        random = np.random.default_rng(0)
        for _ in range(300):
            height, width, small, large = (int(n) for n in random.integers(1, 200, 4))
            small, large = min(small, large), max(small, large)
            image = torch.rand(3, height, width)
            target = {"boxes": torch.tensor([[0.0, 0, width, height]])}
            image, target = transforms.resize_between(image, target, small, large)

            batcher = ImageBatcher(min_size=small, max_size=large, mean=(0.0,) * 3, std=(1.0,) * 3)
            batch, _ = batcher([image])
            assert batch.sizes == [tuple(image.shape[1:])]
            assert torch.equal(batch.images[0, :, : image.shape[1], : image.shape[2]], image)
            assert target["boxes"][0, 2:].tolist() == pytest.approx(
                [image.shape[2], image.shape[1]], rel=1e-6
            )

    def test_it_is_what_the_batcher_makes(self):
        """300 × 400 to 60 × 80: no rounding, so the two have the same pixels."""
        image, target = torch.rand(3, 300, 400), {"boxes": torch.tensor([[40.0, 50, 200, 100]])}
        batcher = ImageBatcher(min_size=60, max_size=80, mean=(0.0,) * 3, std=(1.0,) * 3)
        (wanted, *_), _ = batcher([image])
        found, moved = train_command.and_resize(None, batcher)(image, target)
        assert torch.allclose(found, wanted[0, :, :60, :80], atol=1e-6)
        assert torch.allclose(moved["boxes"], torch.tensor([[8.0, 10, 40, 20]]))

    def test_after_what_was_asked_for(self):
        """A crop of the photograph is sharper than one of the small picture."""
        seen = []

        def flip(image, target):
            seen.append(tuple(image.shape))
            return transforms.horizontal_flip(image, target)

        augment = train_command.and_resize(flip, ImageBatcher(fixed_size=(20, 30)))
        image, target = augment(torch.rand(3, 40, 60), {"boxes": torch.tensor([[0.0, 0, 6, 40]])})
        assert image.shape == (3, 20, 30) and target["boxes"].tolist() == [[27, 0, 30, 20]]
        assert seen == [(3, 40, 60)]


class TestValidation:
    def test_at_intervals_and_at_the_end(self, train, tmp_path):
        data, out = coco(tmp_path / "data"), tmp_path / "out"
        words = ["--data", data, "--val", data, "--out", out]
        text, err = train(*words, "--steps", 5, "--val-every", 2)
        measured = json.loads((out / "validation.json").read_text())
        assert list(measured) == ["2", "4"] and set(measured["2"]) == {"ap", "ap50", "ap75"}
        assert "step 2: AP 0." in text + err and "step 4: AP 0." in text + err
        assert text.count("Average Precision") == 6
        assert text.splitlines()[-3].split() == ["class", "AP", "AP50"]
        assert [line.split()[0] for line in text.splitlines()[-2:]] == ["cat", "dog"]

    @pytest.mark.parametrize("content", [b"", b'{"1": ', b"[]", b"\xff\xfe\0", b"[" * 10**5])
    @pytest.mark.parametrize("name", ["validation.json", "command.json", "detector.json"])
    def test_a_damaged_file_of_an_earlier_run_is_named_before_the_first_step(
        self, train, tmp_path, name, content
    ):
        data, out = coco(tmp_path / "data"), tmp_path / "out"
        out.mkdir()
        (out / name).write_bytes(content)
        (out / "training.safetensors").write_bytes(b"")  # a training has begun
        words = ["--data", data, "--val", data, "--steps", 1, "--out", out]
        _, err = train(*words, status=2)
        assert err.startswith(f"detlearn train: {out / name} is damaged (")
        assert err.endswith("): remove it, and it is written anew\n") and err.count("\n") == 1

    def test_it_changes_nothing(self, train, tmp_path):
        data = coco(tmp_path / "data")
        train("--data", data, "--steps", 2, "--out", tmp_path / "a")
        words = ["--val", data, "--val-every", 1]
        train("--data", data, "--steps", 2, "--out", tmp_path / "b", *words)
        one, two = (load(tmp_path / name, "cpu").model.state_dict() for name in "ab")
        assert all(torch.equal(one[name], two[name]) for name in one)

    @pytest.mark.parametrize(
        ("settings", "wanted"),
        [
            ({"steps": 100}, 10),
            ({"steps": 5}, 1),
            ({"epochs": 30.0, "batch_size": 4}, 7),  # 10 images: 75 steps
            ({"minutes": 3.0, "batch_size": 4}, 2),
        ],
    )
    def test_a_tenth_of_the_training(self, settings, wanted):
        assert train_command._default_interval(settings, range(10)) == wanted

    def test_classes_are_matched_by_name(self, train, tmp_path):
        data = coco(tmp_path / "data", names=("cat", "dog"))
        val = coco(tmp_path / "val", names=("dog", "cow"))
        words = ["--steps", 1, "--out", tmp_path / "out"]
        _, err = train("--data", data, "--val", val, *words, status=2)
        assert "['cow'] are none of ['cat', 'dog']" in err

    def test_a_class_without_objects_has_a_dash(self):
        boxes = torch.tensor([[1.0, 1, 9, 9]])
        target = {"boxes": boxes, "labels": torch.tensor([1])}
        found = {**target, "scores": torch.tensor([0.9])}
        metrics = coco_metrics([found], [target], num_classes=2, class_names=["a", "giraffe"])
        assert class_table(metrics).splitlines() == [
            "class       AP   AP50",
            "a            –      –",
            "giraffe  100.0  100.0",
        ]


class TestFineTuning:
    @pytest.mark.parametrize("name", sorted(models.BUILDERS))
    def test_what_fits_is_taken_and_the_rest_named(self, name):
        torch.manual_seed(0)
        saved = pretrained.SavedDetector(models.create(name, 3), name, ["a", "b", "c"])
        model = models.create(name, 5)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        new = pretrained.take_weights(model, saved, name, ["v", "w", "x", "y", "z"])

        given = saved.model.state_dict()
        for key, value in model.state_dict().items():
            if key.rpartition(".")[0] in new:
                assert torch.equal(value, before[key])
            else:
                assert torch.equal(value, given[key])
        assert 1 <= len(new) <= 13 and not any(layer.startswith("backbone") for layer in new)

    def test_as_many_classes_that_are_others(self):
        """Nothing has another shape, but a dog is no cat."""
        saved = pretrained.SavedDetector(models.create("point", 2), "point", ["cat", "dog"])
        new = pretrained.take_weights(models.create("point", 2), saved, "point", ["dog", "cat"])
        assert new == ["heatmap_head.1"]
        assert (
            pretrained.take_weights(models.create("point", 2), saved, "point", ["cat", "dog"]) == []
        )

    def test_another_number_of_queries(self):
        saved = pretrained.SavedDetector(
            models.create("detr", 2, num_queries=7), "detr", ["a", "b"]
        )
        new = pretrained.take_weights(models.create("detr", 2), saved, "detr", ["a", "b"])
        assert len(new) == 1 and "query" in new[0]

    def test_another_detector(self, train, tmp_path):
        data = coco(tmp_path / "data")
        train("--data", data, "--steps", 1, "--out", tmp_path / "first")
        words = ["--data", data, "--steps", 1, "--out", tmp_path / "next", "--model", "fcos"]
        _, err = train(*words, "--weights", tmp_path / "first", status=2)
        assert "the weights are those of a point, they do not fit a fcos" in err

    def test_from_the_command_line(self, train, tmp_path):
        first = coco(tmp_path / "data")
        train(
            *("--data", first, "--steps", 1, "--out", tmp_path / "first"),
            *("--min-size", 64, "--max-size", 96),
        )
        other = coco(tmp_path / "other", names=("cat", "dog", "cow"))
        words = ["--data", other, "--steps", 1, "--out", tmp_path / "next", "--lr", 1e-9]
        out, _ = train(*words, "--weights", tmp_path / "first")
        assert "these layers do not fit and begin anew: heatmap_head.1" in out
        assert "pictures are resized as for" in out

        # At this learning rate nothing else than the new layer has changed.
        before, after = load(tmp_path / "first", "cpu").model, load(tmp_path / "next", "cpu").model
        given = before.state_dict()
        for name, value in after.state_dict().items():
            if name.startswith("backbone") and name.endswith("weight"):
                assert torch.allclose(value, given[name], atol=1e-6)
        assert after.batcher.max_size == 96
        assert "'weights': '" in train(*words, status=2)[1]  # another training than without


class TestLonger:
    def checkpoint(self, path, done, planned, finished=False):
        settings = {"total": planned, "minutes": None if planned else 2.0, "lr_warmup": 1}
        info = {"settings": settings, "steps_done": done, "finished": finished, "history": {}}
        save_tensors(path, {"model.a": torch.ones(2)}, info)
        return path

    def test_length_and_learning_rate(self, tmp_path):
        """Half of 100 steps: cos² of 45° is a half; half of the way to 200: cos² of 22.5°."""
        path = self.checkpoint(tmp_path / "t", 50, 100)
        text = longer_in_words(path, 200)
        assert "from step 50 to 200, 100 were planned" in text and "from 50% to 85%" in text

    def test_a_finished_one_goes_on(self, tmp_path):
        path = self.checkpoint(tmp_path / "t", 100, 100, finished=True)
        assert "from 0% to 50%" in longer_in_words(path, 200)

    def test_saying_it_changes_nothing(self, tmp_path):
        path = self.checkpoint(tmp_path / "t", 100, 100, finished=True)
        before = path.read_bytes()
        longer_in_words(path, 200)
        assert path.read_bytes() == before

    def test_what_cannot_be(self, tmp_path):
        path = self.checkpoint(tmp_path / "t", 50, 100)
        with pytest.raises(ValueError, match="has done 50 steps: 40 are fewer"):
            longer_in_words(path, 40)
        with pytest.raises(ValueError, match=r"was given 2\.0 minutes"):
            longer_in_words(self.checkpoint(tmp_path / "m", 50, None), 100)
        save_tensors(tmp_path / "d", {}, {"model": "point"})
        with pytest.raises(ValueError, match="holds no state of a training"):
            longer_in_words(tmp_path / "d", 100)

    def test_from_the_command_line(self, train, tmp_path, monkeypatch):
        data, out = coco(tmp_path / "data"), tmp_path / "out"
        words = ["--data", data, "--out", out]
        train(*words, "--steps", 2)
        _, err = train(*words, "--steps", 4, status=2)
        assert "'total': 2}" in err and "give --resume-with to go on" in err
        text, _ = train(*words, "--epochs", 2, "--resume-with")  # 4 images, 2 a step
        assert "goes on from step 2 to 4, 2 were planned" in text and "4 steps" in text
        history = load_tensors(out / "training.safetensors")[1]["history"]
        assert history["steps"] == [1, 2, 3, 4]
        peak = history["lr"][2] / loop.lr_factor(2, 2 / 4)
        assert history["lr"][3] == pytest.approx(peak * loop.lr_factor(3, 3 / 4))

        # Again: it is that long already.
        monkeypatch.setattr(loop.Trainer, "step", None)
        text, _ = train(*words, "--epochs", 2, "--resume-with")
        assert text.startswith("has taken all of its 4 steps already\n")

    @pytest.mark.parametrize(
        ("length", "advice"),
        [
            ("--steps", "--resume-with and a larger --epochs or --steps makes it longer"),
            ("--minutes", "--weights {out} with another --out goes on from its weights"),
        ],
    )
    def test_of_a_finished_one_it_is_said_how(self, train, tmp_path, monkeypatch, length, advice):
        out = tmp_path / "out"
        words = ["--data", coco(tmp_path / "data"), "--out", out]
        words += [length, 1 if length == "--steps" else 0.001]
        assert "nothing was trained" not in train(*words)[0]

        steps = load_tensors(out / "training.safetensors")[1]["steps_done"]
        monkeypatch.setattr(loop.Trainer, "step", None)
        last = train(*words)[0].splitlines()[-1]
        advice = advice.format(out=out)
        assert last == f"nothing was trained, for all {steps} steps were taken before; {advice}"

    def test_what_is_refused_changes_nothing(self, train, tmp_path):
        """Another batch size is another training: it is not made longer half-way."""
        words = ["--data", coco(tmp_path / "data"), "--out", tmp_path / "out"]
        train(*words, "--steps", 2)
        before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

        other = ["--steps", 4, "--resume-with", "--batch-size", 4]
        assert "'batch_size': 2}" in train(*words, *other, status=2)[1]
        assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def test_stopped_it_is_measured_as_it_is(self, train, tmp_path, monkeypatch, capsys):
        """Not the detector that the shorter training left, which lies beside the checkpoint."""
        monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 1)
        words = ["--data", coco(tmp_path / "data"), "--out", tmp_path / "out"]
        train(*words, "--steps", 2)
        assert load(tmp_path / "out", "cpu") and not capsys.readouterr().err

        step = loop.Trainer.step

        def stops(trainer, *batch):
            if trainer.steps_done == 3:
                raise KeyboardInterrupt
            step(trainer, *batch)

        with monkeypatch.context() as patch:
            patch.setattr(loop.Trainer, "step", stops)
            train(*words, "--steps", 9, "--resume-with", status=130)
        load(tmp_path / "out", "cpu")
        assert "the averaged weights after 3 steps" in capsys.readouterr().err

        # The same command goes on to the end; then the detector is the latest.
        train(*words, "--steps", 9, "--resume-with")
        assert load(tmp_path / "out", "cpu") and not capsys.readouterr().err

    def test_without_a_training(self, train, tmp_path):
        data = coco(tmp_path / "data")
        words = ["--data", data, "--out", tmp_path / "out", "--steps", 3, "--resume-with"]
        assert "there is no training.safetensors" in train(*words, status=2)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resume-with", "--minutes", "3"], "needs the new length: --epochs or --steps"),
        (["--resume-with", "--recipe", "point"], "needs the new length"),
        (["--steps", "3", "--val-every", "2"], "--val-every is a positive number"),
        (["--steps", "3", "--val", "toytown", "--val-every", "0"], "--val-every is a positive"),
    ],
)
def test_options_that_do_not_go_together(capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        main(["train", "--data", "toytown", "--out", "nowhere", *words])
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_the_notes_of_another_detector_stay(train, tmp_path, monkeypatch):
    """Classes in another order are refused, and the weights that are there keep their names."""
    out, data = tmp_path / "out", coco(tmp_path / "data")
    words = ["--data", data, "--steps", 2, "--out", out]
    train(*words)
    (out / "detector.safetensors").unlink()  # as if it had been stopped

    _, err = train(*words, "--classes", "dog", "cat", status=2)
    assert "holds a training with {'class_names': ['cat', 'dog']}" in err
    assert load(out, "cpu").class_names == ["cat", "dog"]


def test_two_at_once_in_one_folder(train, tmp_path, monkeypatch):
    """The second is refused in one sentence, and the first goes on as if nothing had been."""
    data, step, said = coco(tmp_path / "data"), loop.Trainer.step, []

    def starts_another(trainer, *batch):
        step(trainer, *batch)
        if trainer.steps_done == 1:
            other = ["--data", data, "--steps", 3, "--classes", "dog", "cat"]
            said.append(train(*other, "--out", tmp_path / "out", status=2)[1])

    train("--data", data, "--steps", 2, "--out", tmp_path / "alone")
    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "step", starts_another)
        train("--data", data, "--steps", 2, "--out", tmp_path / "out")

    (err,) = said
    assert err.splitlines()[-1] == (
        f"detlearn train: another training runs in {tmp_path / 'out'} at this moment: wait for its "
        "end, or give another --out"
    )
    assert sorted(os.listdir(tmp_path / "out")) == sorted(os.listdir(tmp_path / "alone"))
    for name in ("detector.safetensors", "detector.json", "command.json"):
        files = [tmp_path / folder / name for folder in ("alone", "out")]
        assert files[0].read_bytes() == files[1].read_bytes(), name


def test_a_full_disk(train, tmp_path):
    """A limit on the size of files stops the first checkpoint, as a full disk does."""
    words = ["--data", coco(tmp_path / "data"), "--steps", 2, "--out"]
    train(*words, tmp_path / "whole")

    out, limits = tmp_path / "out", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        _, err = train(*words, out, status=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    last = err.splitlines()[-1]
    assert "File too large" in last and str(out / "training.safetensors") in last
    assert sorted(os.listdir(out)) == ["command.json", "detector.json"]

    # With room again, the same command comes to the same end.
    train(*words, out)
    files = [tmp_path / folder / "detector.safetensors" for folder in ("whole", "out")]
    assert files[0].read_bytes() == files[1].read_bytes()


def full_gpu(*arguments):
    """What torch raises in the place of a step where a GPU is full."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore.")


def full_cpu(*arguments):
    """What torch itself raises where the main memory is full: more than any machine has."""
    torch.empty(10**15)


@pytest.mark.parametrize(
    ("full", "words"),
    [(full_gpu, "CUDA out of memory"), (full_cpu, "can't allocate memory|not enough memory")],
)
def test_a_full_memory_is_one_sentence(train, tmp_path, monkeypatch, full, words):
    monkeypatch.setattr(loop.Trainer, "step", full)
    options = ["--data", coco(tmp_path / "data"), "--steps", 1, "--out", tmp_path / "out"]
    _, err = train(*options, status=2)
    last = err.splitlines()[-1]
    assert re.match(rf"detlearn train: the memory is full \(.*({words}).*\): try a smaller", last)
    assert "--batch-size" in last and "--min-size" in last and "Traceback" not in err


class TestCtrlC:
    def stopped(self, monkeypatch, at):
        step = loop.Trainer.step

        def stops(trainer, *batch):
            if trainer.steps_done == at:
                raise KeyboardInterrupt
            step(trainer, *batch)

        monkeypatch.setattr(loop.Trainer, "step", stops)

    def test_nothing_is_promised_that_is_not_there(self, train, tmp_path, monkeypatch):
        self.stopped(monkeypatch, at=0)
        words = ["--data", coco(tmp_path / "data"), "--steps", 9, "--out", tmp_path / "out"]
        _, err = train(*words, status=130)
        assert err.splitlines()[-1].startswith("detlearn train: stopped: nothing is kept")
        assert set(os.listdir(tmp_path / "out")) == {"command.json", "detector.json"}

    def test_what_is_kept_is_said_and_can_be_used(self, train, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
        self.stopped(monkeypatch, at=3)
        data, out = coco(tmp_path / "data"), tmp_path / "out"
        _, err = train("--data", data, "--steps", 9, "--out", out, status=130)
        assert f"{out / 'training.safetensors'} holds 2 steps" in err.splitlines()[-1]

        assert main(["evaluate", str(out), "--data", data]) == 0
        assert "the averaged weights after 2 steps" in capsys.readouterr().err

        # The averaged weights of the checkpoint, not the last ones.
        tensors, _ = load_tensors(out / "training.safetensors")
        for name, value in load(out, "cpu").model.state_dict().items():
            assert torch.equal(value, tensors[f"averaged.module.{name}"])

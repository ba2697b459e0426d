"""The command line, from training to detections, on a handful of drawn scenes."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from detlearn import models, training
from detlearn.cli import main, parser
from detlearn.cli import train as train_command
from detlearn.data import ToyTown, transforms
from detlearn.machine import checkpoints, doctor
from detlearn.machine.checkpoints import load_tensors
from detlearn.training import loop

COMMANDS = ("data", "train", "evaluate", "detect", "grade", "nbgrader", "doctor")
XML = """<annotation><size><width>48</width><height>32</height><depth>3</depth></size>{}
</annotation>"""
OBJECT = """<object><name>{}</name>
<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>{}</xmax><ymax>20</ymax></bndbox></object>"""


def voc_folder(root, names=("cat", "dog"), number=4, bad_objects=0):
    """A VOC data set of grey images with one object each, of the classes in turn."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    stems = [f"image{i}" for i in range(number)]
    for i, stem in enumerate(stems):
        pixels = np.full((32, 48, 3), 60 * i, dtype=np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{stem}.jpg")
        objects = OBJECT.format(names[i % len(names)], 25)
        objects += OBJECT.format(names[0], 5) * (bad_objects if i == 0 else 0)
        (root / "Annotations" / f"{stem}.xml").write_text(XML.format(objects))
    for split in ("train", "test"):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems))
    return root


def said(capsys, *words, status=0):
    """Run a command in this process; returns what it wrote to stdout and stderr."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert code == status, err
    assert "Traceback" not in err
    return out, err


def fails(capsys, *words):
    """Run a command that must fail; returns its one sentence."""
    out, err = said(capsys, *words, status=2)
    assert out == "" and err.splitlines()[-1].startswith(f"detlearn {words[0]}: ")
    return err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data set, and the folder of a detector trained on it."""
    root = tmp_path_factory.mktemp("cli")
    data, out = voc_folder(root / "voc"), root / "runs" / "first"
    words = ["train", "--data", f"voc:{data}", "--steps", "2", "--batch-size", "2"]
    assert main([*words, "--out", str(out)]) == 0
    return data, out


@pytest.fixture(scope="module")
def finds(trained, tmp_path_factory):
    """The detector's file, changed such that it finds something: two steps teach it nothing."""
    _, out = trained
    tensors, info = load_tensors(out / "detector.safetensors")
    tensors["heatmap_head.1.bias"] += 4
    path = tmp_path_factory.mktemp("finds") / "detector.safetensors"
    checkpoints.save_tensors(path, tensors, info)
    return path


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_shows_examples(self, capsys, command):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert f"examples:\n  detlearn {command}" in text

    def test_lists_the_commands(self, capsys):
        with pytest.raises(SystemExit):
            main(["--help"])
        text = capsys.readouterr().out
        assert all(command in text for command in COMMANDS)

    def test_examples_can_be_parsed(self):
        """Every line of the help that starts with detlearn is a command it understands."""
        for command in parser.COMMANDS.values():
            for line in command.EXAMPLES.splitlines():
                words = line.split("   ")[0].split()  # the doctor's has a remark behind it
                if words and words[0] == "detlearn":
                    parser.make_parser().parse_args(words[1:])
                if words and words[0] == "torchrun":
                    parser.make_parser().parse_args(words[words.index("detlearn.cli") + 1 :])

    def test_options_may_stand_between_words(self):
        options = parser.parse(["detect", "run", "a.png", "--min-score", "0.5", "b.png", "c.png"])
        assert options.images == [Path("a.png"), Path("b.png"), Path("c.png")]
        assert options.folder == Path("run") and options.min_score == 0.5

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "required: command"),
            (["train", "--out", "x", "--steps", "1"], "required: --data"),
            (["train", "--out", "x", "--data", "toytown"], "--epochs --steps --minutes"),
            (["train", "--steps", "1", "--epochs", "1"], "not allowed with"),
            (["train", "--augment", "twist"], "invalid choice: 'twist'"),
            (["train", "--multi-scale", "96"], "'96' is no range of image sizes: expected MIN:MAX"),
            (["train", "--multi-scale", "160:96"], "is no range of image sizes"),
            (["train", "--multi-scale", "a:b"], "is no range of image sizes"),
            (["fly"], "invalid choice: 'fly'"),
            (["doctor", "now"], "usage: detlearn doctor"),
            (["detect", "x", "a.png", "--oot", "y"], "unrecognized arguments: --oot y"),
            (["evaluate", "x", "--data", "toytown", "y"], "unrecognized arguments: y"),
        ],
    )
    def test_usage_errors(self, capsys, words, message):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


class TestTrain:
    def test_leaves_a_detector(self, trained):
        _, out = trained
        _, info = load_tensors(out / "detector.safetensors")
        assert info["class_names"] == ["cat", "dog"] and info["model"] == "point"
        assert load_tensors(out / "training.safetensors")[1]["finished"]

    def test_the_same_command_again_returns_at_once(self, trained, capsys, monkeypatch):
        data, out = trained
        before = load_tensors(out / "detector.safetensors")[0]

        def never(*arguments):
            raise AssertionError("a step was taken")

        monkeypatch.setattr(loop.Trainer, "step", never)
        words = ["train", "--data", f"voc:{data}", "--steps", 2, "--batch-size", 2, "--out", out]
        text, _ = said(capsys, *words)
        assert "2 steps" in text and f"detector: {out / 'detector.safetensors'}" in text
        assert "--resume-with and a larger --epochs or --steps makes it longer" in text
        after = load_tensors(out / "detector.safetensors")[0]
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_an_interrupted_command_continues(self, trained, tmp_path, capsys, monkeypatch):
        data, out = trained
        step = loop.Trainer.step

        def stops(trainer, *batch):
            if trainer.steps_done == 1:
                raise KeyboardInterrupt
            step(trainer, *batch)

        monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 1)
        words = ["train", "--data", f"voc:{data}", "--steps", 2, "--batch-size", 2]
        with monkeypatch.context() as patch:
            patch.setattr(loop.Trainer, "step", stops)
            _, err = said(capsys, *words, "--out", tmp_path, status=130)
            assert "training.safetensors holds 1 steps; the same command goes on from there" in err
        text, _ = said(capsys, *words, "--out", tmp_path)
        assert "2 steps" in text and "nothing was trained" not in text
        wanted = load_tensors(out / "detector.safetensors")[0]
        found = load_tensors(tmp_path / "detector.safetensors")[0]
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--steps", "3"], "'total': 2}, this one has {'total': 3}"),
            (["--min-size", "40", "--max-size", "60"], "'min_size': None"),
            (["--num-queries", "7"], "'num_queries': None}, this one has {'num_queries': 7}"),
            (["--augment"], "'augment': ['hflip']}, this one has {'augment': []}"),
            (["--split", "test"], "'split': 'train'"),
        ],
    )
    def test_other_options_need_another_folder(self, trained, capsys, options, words):
        data, out = trained
        length = [] if "--steps" in options else ["--steps", "2"]
        base = ["train", "--data", f"voc:{data}", "--batch-size", "2", "--out", out]
        assert words in fails(capsys, *base, *length, *options)

    def test_toytown(self, tmp_path, capsys, monkeypatch):
        asked = []

        def few(name, num_images, **options):
            asked.append((name, num_images, options))
            return ToyTown(4, size=64)

        monkeypatch.setattr(ToyTown, "scenario", few)
        words = ["--steps", 1, "--batch-size", 2, "--out", tmp_path, "--seed", 3]
        said(capsys, "train", "--data", "toytown:crowd", *words)
        assert asked == [("crowd", 2000, {"seed": 3})]
        out, _ = said(capsys, "evaluate", tmp_path, "--data", "toytown")
        assert "Average Precision" in out
        assert asked[1][:2] == ("default", 500)  # the issue: at least 500 scenes …
        assert asked[1][2]["seed"] not in range(1000)  # … of another seed

    def test_only_the_first_process_writes(self, trained, tmp_path, capsys, monkeypatch):
        data, _ = trained
        monkeypatch.setenv("RANK", "1")
        words = ["train", "--data", f"voc:{data}", "--steps", 1, "--batch-size", 2]
        out, _ = said(capsys, *words, "--out", tmp_path)
        assert out == "" and not (tmp_path / "detector.safetensors").exists()

    def test_what_was_left_out_is_said_in_one_line(self, tmp_path, capsys):
        data = voc_folder(tmp_path / "voc", bad_objects=2)  # of 6: more than a tenth
        words = ["train", "--data", f"voc:{data}", "--steps", 1, "--batch-size", 2]
        words.append("--accept-left-out")
        shown = warnings.showwarning
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            _, err = said(capsys, *words, "--out", tmp_path / "out")
        (note,) = [line for line in err.splitlines() if line.startswith("note: ")]
        assert "VOCDetection" in note and "2" in note
        assert warnings.showwarning is shown

    @pytest.mark.parametrize("names", [[], ["hflip"], ["crop", "hflip", "vflip", "color"]])
    def test_augmentations(self, names):
        transform = train_command.augmentation(names)
        image, target = (
            torch.rand(3, 40, 60),
            {
                "boxes": torch.tensor([[2.0, 3, 30, 35]]),
                "labels": torch.tensor([1]),
            },
        )
        torch.manual_seed(0)
        changed, moved = transform(image, target)
        assert len(moved["labels"]) == len(moved["boxes"])
        if not names:
            assert torch.equal(changed, image)
        if names == ["hflip"]:
            torch.manual_seed(0)
            wanted, _ = transforms.flip(image, target)
            assert torch.equal(changed, wanted)


class TestRecipe:
    @pytest.fixture
    def asked(self, trained, tmp_path, monkeypatch):
        """A function: what `fit` is given for some words, and the model."""
        monkeypatch.delenv("DETLEARN_FAST", raising=False)
        data, _ = trained

        def ask(*words):
            found = {}

            def watch(model, train, **settings):
                found.update(settings, model=model)
                return training.History()

            monkeypatch.setattr(training, "fit", watch)
            out = tmp_path / "out"
            command = ["train", "--data", f"voc:{data}", "--out", out, "--device", "cpu", *words]
            assert main([str(word) for word in command]) == 0
            assert found.pop("checkpoint") == out / "training.safetensors"
            assert found.pop("device") == torch.device("cpu")
            return found

        return ask

    @pytest.mark.parametrize("name", list(training.recipes.RECIPES))
    def test_trains_as_the_chapter_does(self, asked, tmp_path, name):
        found = asked("--recipe", name)
        wanted = models.create(name, 2)
        assert type(found.pop("model")) is type(wanted)
        settings = {**training.recipe(name).settings(), "seed": 0, "workers": 0}

        # A detector that squashes its pictures has that done as they are read.
        if wanted.batcher.resizes:
            assert name == "yolov1"
            image, _ = found.pop("augment")(torch.rand(3, 50, 40), {"boxes": torch.zeros(0, 4)})
            assert settings.pop("augment") is not None and image.shape == (3, 128, 128)
        assert found == settings
        _, info = load_tensors(tmp_path / "out" / "detector.safetensors")
        assert info["model"] == name

    def test_what_is_said_goes_before_it(self, asked):
        words = ["--recipe", "faster_rcnn", "--model", "point", "--lr", 0.1, "--warmup", 3]
        words += ["--clip-norm", 5, "--batch-size", 2, "--epochs", 1.5, "--augment"]
        found = asked(*words)
        assert isinstance(found.pop("model"), models.PointDetector)
        image, target = torch.rand(3, 8, 8), {"boxes": torch.rand(1, 4), "labels": torch.ones(1)}
        unchanged, _ = found.pop("augment")(image, target)
        assert unchanged is image
        assert found == {
            "epochs": 1.5, "lr": 0.1, "lr_warmup": 3, "clip_norm": 5.0, "batch_size": 2,
            "ema": 0.995, "seed": 0, "workers": 0,
        }  # fmt: skip

    def test_several_sizes(self, asked):
        found = asked("--recipe", "point", "--multi-scale", "90:160")
        assert found["multi_scale"] == training.MultiScale([96, 128, 160], 10, None)

    def test_the_backbones_steps(self, asked):
        assert asked("--recipe", "detr")["backbone_steps"] == 300
        assert asked("--recipe", "detr", "--backbone-steps", 7)["backbone_steps"] == 7
        assert asked("--recipe", "detr", "--backbone-steps", 0)["backbone_steps"] == 0
        assert asked("--steps", 5, "--backbone-steps", 3)["backbone_steps"] == 3
        assert asked("--recipe", "detr", "--minutes", 2)["backbone_steps"] == 300

    def test_its_steps_are_one_length_of_two(self, asked):
        assert asked("--recipe", "point", "--steps", 7)["steps"] == 7
        assert "steps" not in asked("--recipe", "point", "--minutes", 2)

    def test_without_one_the_defaults_are_those_of_fit(self, asked):
        found = asked("--steps", 5)
        assert isinstance(found.pop("model"), models.PointDetector)
        assert found.pop("augment") is not None
        assert found == {"steps": 5, "seed": 0, "workers": 0}

    def test_an_unknown_one(self, trained, tmp_path, capsys):
        data, _ = trained
        words = ["train", "--data", f"voc:{data}", "--out", tmp_path, "--recipe", "magic"]
        assert "no recipe called 'magic'; there are: cascade_rcnn" in fails(capsys, *words)

    def test_another_one_needs_another_folder(self, trained, capsys):
        data, out = trained
        words = ["train", "--data", f"voc:{data}", "--batch-size", 2, "--out", out, "--steps", 2]
        message = fails(capsys, *words, "--recipe", "point")
        assert "'recipe': None" in message and "'recipe': 'point'" in message


class TestEvaluate:
    def test_prints_a_table(self, trained, capsys):
        data, out = trained
        text, _ = said(capsys, "evaluate", out, "--data", f"voc:{data}", "--batch-size", 3)
        assert text.count("Average Precision") == 6 and text.count("Average Recall") == 6

    def test_prints_json(self, trained, capsys):
        data, out = trained
        text, _ = said(capsys, "evaluate", out, "--data", f"voc:{data}", "--json")
        numbers = json.loads(text)
        assert {"ap", "ap50", "ap75", "ar100"} <= set(numbers)
        assert set(numbers["per_class"]) == {"cat", "dog"}
        assert 0 <= numbers["ap"] <= numbers["ap50"] <= 1
        assert "NaN" not in text

    def test_a_class_without_objects_is_valid_json(self, trained, tmp_path, capsys):
        """JSON knows no NaN."""
        _, out = trained
        data = voc_folder(tmp_path / "voc")
        (data / "ImageSets" / "Main" / "test.txt").write_text("image0")  # no dog in it
        text, _ = said(capsys, "evaluate", out, "--data", f"voc:{data}", "--json")

        def refuse(constant):
            raise AssertionError(f"{constant} is no JSON")

        json.loads(text, parse_constant=refuse)

    def test_other_classes(self, trained, tmp_path, capsys):
        _, out = trained
        data = voc_folder(tmp_path / "voc", names=("cat", "horse"))
        message = fails(capsys, "evaluate", out, "--data", f"voc:{data}")
        assert "has the classes ['cat', 'horse']; ['horse'] are none of ['cat', 'dog']" in message


class TestDetect:
    def test_writes_a_drawing_and_the_numbers(self, trained, finds, tmp_path, capsys):
        data, _ = trained
        pictures = [data / "JPEGImages" / "image0.jpg", data / "JPEGImages" / "image3.jpg"]
        words = ["detect", finds, *pictures, "--out", tmp_path / "found", "--min-score", 0]
        text, _ = said(capsys, *words)
        for picture in pictures:
            assert f"{picture}: " in text
            with Image.open(tmp_path / "found" / f"{picture.stem}.png") as drawing:
                assert min(drawing.size) > 50
            rows = json.loads((tmp_path / "found" / f"{picture.stem}.json").read_text())
            assert len(rows) > 3
            assert [row["score"] for row in rows] == sorted(r["score"] for r in rows)[::-1]
            for row in rows:
                assert row.keys() == {"box", "score", "class"}
                assert row["class"] in ("cat", "dog") and 0 <= row["score"] <= 1
                x1, y1, x2, y2 = row["box"]
                assert 0 <= x1 <= x2 <= 48 and 0 <= y1 <= y2 <= 32

    def test_min_score(self, trained, finds, tmp_path, capsys):
        data, _ = trained
        picture = data / "JPEGImages" / "image0.jpg"
        said(capsys, "detect", finds, picture, "--out", tmp_path, "--min-score", 0)
        scores = [row["score"] for row in json.loads((tmp_path / "image0.json").read_text())]
        middle = scores[len(scores) // 2] + 5e-5  # between two rounded numbers
        said(capsys, "detect", finds, picture, "--out", tmp_path, "--min-score", middle)
        kept = [row["score"] for row in json.loads((tmp_path / "image0.json").read_text())]
        assert kept == [score for score in scores if score >= middle] != scores

    def test_names_with_dots(self, trained, tmp_path, capsys):
        """Neither overwrites the other."""
        data, out = trained
        pictures = []
        for name in ("frame.1.jpg", "frame.2.jpg"):
            pictures.append(tmp_path / name)
            shutil.copy(data / "JPEGImages" / "image0.jpg", pictures[-1])
        said(capsys, "detect", out, *pictures, "--out", tmp_path / "found")
        assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [
            *("frame.1.json", "frame.1.png", "frame.2.json", "frame.2.png")
        ]

    def test_two_images_of_one_name(self, trained, tmp_path, capsys):
        _, out = trained
        message = fails(capsys, "detect", out, "a/cat.jpg", "b/cat.png", "--out", tmp_path / "o")
        assert "two images are called cat" in message
        assert not (tmp_path / "o").exists()


class TestFilesInTheWay:
    """detect writes over its own files of an earlier time, and over no others."""

    @pytest.fixture
    def detect(self, trained, finds, tmp_path, capsys):
        """A folder, and a function that detects in an image and writes there."""
        data, _ = trained
        picture = data / "JPEGImages" / "image0.jpg"

        def run(status=0, images=(picture,), min_score=0):
            words = ["detect", finds, *images, "--out", tmp_path, "--min-score", min_score]
            return said(capsys, *words, status=status)[1]

        run.folder = tmp_path
        return run

    def test_its_own_files_are_written_again(self, detect):
        detect()
        before = (detect.folder / "image0.json").read_bytes()
        assert json.loads(before) != []
        detect(min_score=1)
        assert json.loads((detect.folder / "image0.json").read_text()) == []
        detect()
        assert (detect.folder / "image0.json").read_bytes() == before

    def test_a_photo_that_would_be_replaced_by_its_drawing(self, detect):
        """As a user lost them: shot.png, with annotations in shot.json, and --out is its folder."""
        shot, notes = detect.folder / "shot.png", detect.folder / "shot.json"
        Image.new("RGB", (48, 32), "red").save(shot)
        notes.write_text("{}")
        before = shot.read_bytes()
        message = detect(status=2, images=[shot])
        assert f"{shot} is there already, and detlearn detect did not write it" in message
        assert "give another --out, or move it away" in message
        assert shot.read_bytes() == before and notes.read_text() == "{}"
        assert sorted(path.name for path in detect.folder.iterdir()) == ["shot.json", "shot.png"]

    @pytest.mark.parametrize("name", ["image0.json", "image0.png"])
    @pytest.mark.parametrize("kind", ["text", "empty", "folder", "link to nowhere"])
    def test_anything_else(self, detect, name, kind):
        path = detect.folder / name
        if kind == "folder":
            path.mkdir()
        elif kind == "link to nowhere":
            path.symlink_to(detect.folder / "nowhere")
        else:
            path.write_text("hello" if kind == "text" else "")
        assert f"{path} is there already" in detect(status=2)
        assert os.listdir(detect.folder) == [name]

    def test_numbers_that_were_corrected_by_hand(self, detect):
        detect()
        path = detect.folder / "image0.json"
        path.write_text(path.read_text().replace("cat", "cow").replace("dog", "cow"))
        corrected = path.read_text()
        assert f"{path} is there already" in detect(status=2)
        assert path.read_text() == corrected

    def test_a_drawing_that_was_painted_on(self, detect):
        """The editor keeps the signature."""
        detect()
        path = detect.folder / "image0.png"
        with Image.open(path) as drawing:
            drawing.load()
        signature = PngImagePlugin.PngInfo()
        for key, text in drawing.text.items():
            signature.add_text(key, text)
        drawing.putpixel((3, 3), (1, 2, 3, 255))
        drawing.save(path, pnginfo=signature)
        assert f"{path} is there already" in detect(status=2)

    def test_an_earlier_drawing_as_its_own_photo(self, detect):
        """Signed, but of numbers that are not beside it."""
        detect()
        (detect.folder / "image0.png").rename(detect.folder / "other.png")
        assert "image0.json is there already" in detect(status=2)

    def test_one_of_several_keeps_all_from_being_written(self, detect, trained):
        data, _ = trained
        (detect.folder / "image3.json").write_text("mine")
        images = [data / "JPEGImages" / f"image{i}.jpg" for i in (0, 3)]
        assert "image3.json is there already" in detect(status=2, images=images)
        assert os.listdir(detect.folder) == ["image3.json"]

    @pytest.mark.parametrize("name", ["image0.png", "image0.json"])
    def test_stopped_while_writing(self, detect, monkeypatch, name):
        """Whatever it was writing, the next call goes on."""
        detect()
        write = checkpoints.write_atomically

        def broken(path, content):
            if path.name == name:
                raise OSError("disk full")
            write(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "write_atomically", broken)
            assert "disk full" in detect(status=2, min_score=1)
        detect()
        assert json.loads((detect.folder / "image0.json").read_text()) != []


class TestErrors:
    def test_data_that_is_not_understood(self, tmp_path, capsys):
        for text in ("imagenet", "voc", "voc:", "coco:only_images", ""):
            words = ["train", "--data", text, "--steps", 1, "--out", tmp_path / "out"]
            message = fails(capsys, *words)
            assert f"--data {text!r} is not understood; expected toytown" in message

    def test_things_that_are_not_there(self, trained, tmp_path, capsys):
        data, out = trained
        train = ["train", "--steps", 1, "--out", tmp_path / "out", "--data"]
        assert "no scenario 'moon'" in fails(capsys, *train, "toytown:moon")
        assert "nowhere" in fails(capsys, *train, f"voc:{tmp_path / 'nowhere'}")
        message = fails(capsys, *train, f"voc:{data}", "--split", "val")
        assert "val.txt: no such split" in message
        message = fails(capsys, "evaluate", tmp_path / "no", "--data", f"voc:{data}")
        assert "no such folder; expected the --out of a training" in message
        assert "no such picture" in fails(capsys, "detect", out, "gone.jpg", "--out", tmp_path)
        message = fails(capsys, *train, f"voc:{data}", "--model", "magic")
        assert "no detector called 'magic'; there are: " in message

    def test_numbers_that_cannot_be(self, trained, tmp_path, capsys):
        data, _ = trained
        words = ["train", "--data", f"voc:{data}", "--out", tmp_path / "out"]
        assert "positive length" in fails(capsys, *words, "--steps", 0)
        assert "lr is -1.0" in fails(capsys, *words, "--steps", 1, "--lr", -1)
        assert "batch_size is 0" in fails(capsys, *words, "--steps", 1, "--batch-size", 0)
        assert "give both" in fails(capsys, *words, "--steps", 1, "--min-size", 64)

    def test_a_device_that_is_not_there(self, trained, tmp_path, capsys):
        data, out = trained
        words = ["train", "--data", f"voc:{data}", "--steps", 1, "--out", tmp_path / "out"]
        assert "--device banana cannot be used" in fails(capsys, *words, "--device", "banana")
        words = ["evaluate", out, "--data", f"voc:{data}", "--device", "cuda:99"]
        assert "--device cuda:99 cannot be used" in fails(capsys, *words)

    def test_files_in_the_way(self, trained, tmp_path, capsys):
        data, _ = trained
        (tmp_path / "file").write_text("here I am")
        words = ["train", "--data", f"voc:{data}", "--steps", 1, "--out", tmp_path / "file"]
        assert "file" in fails(capsys, *words)

    def test_a_picture_that_is_none(self, trained, tmp_path, capsys):
        _, out = trained
        (tmp_path / "text.jpg").write_text("no picture")
        message = fails(capsys, "detect", out, tmp_path / "text.jpg", "--out", tmp_path)
        assert "text.jpg" in message

    def test_a_loss_that_explodes(self, trained, tmp_path, capsys, monkeypatch):
        data, _ = trained

        def explode(trainer, *batch):
            raise FloatingPointError("the loss is not finite")

        monkeypatch.setattr(loop.Trainer, "step", explode)
        words = ["train", "--data", f"voc:{data}", "--steps", 1, "--out", tmp_path / "out"]
        assert "the loss is not finite" in fails(capsys, *words)


def test_doctor(capsys, monkeypatch):
    for well, status in ((True, 0), (False, 1)):
        monkeypatch.setattr(doctor, "report", lambda well=well: ("what it found", well))
        out, _ = said(capsys, "doctor", status=status)
        assert out == "what it found\n"


def test_help_comes_without_waiting_for_torch():
    words = ["-X", "importtime", "-m", "detlearn.cli", "train", "--help"]
    result = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert result.returncode == 0 and "--recipe" in result.stdout
    assert "torch" not in result.stderr and "matplotlib" not in result.stderr


@pytest.mark.slow
def test_console_script(trained, tmp_path):
    """As a reader would type it."""
    data, out = trained
    script = Path(sys.executable).with_name("detlearn")
    if not script.exists():
        pytest.skip("the package is not installed beside this Python")
    words = ["evaluate", out, "--data", f"voc:{data}", "--json"]
    result = subprocess.run([script, *words], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "ap50" in json.loads(result.stdout)

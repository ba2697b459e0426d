"""The command line, from training to detections, on a handful of drawn scenes."""

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detlearn.cli import main
from detlearn.cli import parser as cli
from detlearn.data import ToyTown, transforms
from detlearn.machine import doctor
from detlearn.machine.checkpoints import load_tensors
from detlearn.training import loop

COMMANDS = ("train", "evaluate", "detect", "grade", "nbgrader", "doctor")
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
    out, err = said(capsys, *words, status=1)
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
        for examples in cli.EXAMPLES.values():
            for line in examples.splitlines():
                words = line.split("   ")[0].split()  # the doctor's has a remark behind it
                if words and words[0] == "detlearn":
                    cli._parser().parse_args(words[1:])
                if words and words[0] == "torchrun":
                    cli._parser().parse_args(words[words.index("detlearn.cli") + 1 :])

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "required: command"),
            (["train", "--out", "x", "--steps", "1"], "required: --data"),
            (["train", "--out", "x", "--data", "toytown"], "--epochs --steps --minutes"),
            (["train", "--steps", "1", "--epochs", "1"], "not allowed with"),
            (["train", "--augment", "twist"], "invalid choice: 'twist'"),
            (["fly"], "invalid choice: 'fly'"),
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

        monkeypatch.setattr(loop._Trainer, "step", never)
        words = ["train", "--data", f"voc:{data}", "--steps", 2, "--batch-size", 2, "--out", out]
        text, _ = said(capsys, *words)
        assert "2 steps" in text and f"detector: {out / 'detector.safetensors'}" in text
        after = load_tensors(out / "detector.safetensors")[0]
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_an_interrupted_command_continues(self, trained, tmp_path, capsys, monkeypatch):
        data, out = trained
        step = loop._Trainer.step

        def stops(trainer, *batch):
            if trainer.steps_done == 1:
                raise KeyboardInterrupt
            step(trainer, *batch)

        monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 1)
        words = ["train", "--data", f"voc:{data}", "--steps", 2, "--batch-size", 2]
        with monkeypatch.context() as patch:
            patch.setattr(loop._Trainer, "step", stops)
            _, err = said(capsys, *words, "--out", tmp_path, status=130)
            assert "the same command continues from the last checkpoint" in err
        said(capsys, *words, "--out", tmp_path)
        wanted = load_tensors(out / "detector.safetensors")[0]
        found = load_tensors(tmp_path / "detector.safetensors")[0]
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--steps", "3"], "'total': 2}, this one has {'total': 3}"),
            (["--min-size", "40", "--max-size", "60"], "'min_size': None"),
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
        data = voc_folder(tmp_path / "voc", bad_objects=2)
        words = ["train", "--data", f"voc:{data}", "--steps", 1, "--batch-size", 2]
        shown = warnings.showwarning
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            _, err = said(capsys, *words, "--out", tmp_path / "out")
        (note,) = [line for line in err.splitlines() if line.startswith("note: ")]
        assert "VOCDetection" in note and "2" in note
        assert warnings.showwarning is shown

    @pytest.mark.parametrize("names", [[], ["hflip"], ["crop", "hflip", "vflip", "color"]])
    def test_augmentations(self, names):
        transform = cli._augmentation(names)
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
        assert "knows the classes ['cat', 'dog'], the data set has ['cat', 'horse']" in message


class TestDetect:
    def test_writes_a_drawing_and_the_numbers(self, trained, tmp_path, capsys):
        data, out = trained
        pictures = [data / "JPEGImages" / "image0.jpg", data / "JPEGImages" / "image3.jpg"]
        words = ["detect", out, *pictures, "--out", tmp_path / "found", "--min-score", 0]
        text, _ = said(capsys, *words)
        for picture in pictures:
            assert f"{picture}: " in text
            with Image.open(tmp_path / "found" / f"{picture.stem}.png") as drawing:
                assert min(drawing.size) > 50
            rows = json.loads((tmp_path / "found" / f"{picture.stem}.json").read_text())
            for row in rows:
                assert row.keys() == {"box", "score", "class"}
                assert row["class"] in ("cat", "dog") and 0 <= row["score"] <= 1
                x1, y1, x2, y2 = row["box"]
                assert 0 <= x1 <= x2 <= 48 and 0 <= y1 <= y2 <= 32

    def test_min_score(self, trained, tmp_path, capsys):
        data, out = trained
        picture = data / "JPEGImages" / "image0.jpg"
        said(capsys, "detect", out, picture, "--out", tmp_path, "--min-score", 1.1)
        assert json.loads((tmp_path / "image0.json").read_text()) == []

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
        assert "no checkpoint at" in message
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

        monkeypatch.setattr(loop._Trainer, "step", explode)
        words = ["train", "--data", f"voc:{data}", "--steps", 1, "--out", tmp_path / "out"]
        assert "the loss is not finite" in fails(capsys, *words)


def test_doctor(capsys, monkeypatch):
    for well, status in ((True, 0), (False, 1)):
        monkeypatch.setattr(doctor, "report", lambda well=well: ("what it found", well))
        out, _ = said(capsys, "doctor", status=status)
        assert out == "what it found\n"


@pytest.mark.slow
def test_console_script(trained, tmp_path):
    """As a reader would type it; without torch, --help comes at once."""
    data, out = trained
    script = Path(sys.executable).with_name("detlearn")
    if not script.exists():
        pytest.skip("the package is not installed beside this Python")
    words = ["evaluate", out, "--data", f"voc:{data}", "--json"]
    result = subprocess.run([script, *words], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "ap50" in json.loads(result.stdout)
    words = ["-X", "importtime", "-m", "detlearn.cli", "--help"]
    result = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert result.returncode == 0 and "train" in result.stdout
    assert "torch" not in result.stderr

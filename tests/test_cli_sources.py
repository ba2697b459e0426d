"""What the words after ``--data`` mean, what is refused, and what is said of torch's errors."""

import argparse
import errno
import os
import sys
import warnings

import pytest
import torch
from PIL import Image

from detlearn.cli import main, parser
from detlearn.cli.errors import explain
from detlearn.cli.sources import add_reading_arguments, check_complete, open_dataset, open_source
from detlearn.data import convert
from detlearn.machine.checkpoints import write_atomically

XML = "<annotation><size><width>48</width><height>32</height></size>{}</annotation>"
OBJECT = """<object><name>{}</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>{}</xmax>
<ymax>20</ymax></bndbox></object>"""


def voc_folder(root, objects):
    """A VOC folder with one grey picture for each text of objects; returns its --data word."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for i, text in enumerate(objects):
        Image.new("RGB", (48, 32), "grey").save(root / "JPEGImages" / f"p{i}.png")
        (root / "Annotations" / f"p{i}.xml").write_text(XML.format(text))
    names = "\n".join(f"p{i}" for i in range(len(objects)))
    (root / "ImageSets" / "Main" / "test.txt").write_text(names)
    return f"voc:{root}"


def options_of(*words):
    """The reading options of a command line."""
    command = argparse.ArgumentParser()
    add_reading_arguments(command)
    return command.parse_args([str(word) for word in words])


def open_with(word, *words, class_names=None):
    return open_source(
        options_of(*words), word, "test", seed=0, num_images=3, class_names=class_names
    )


DRAWN = {"seed": 0, "num_images": 3}  # plays no part for files
CAT, DOG = OBJECT.format("cat", 25), OBJECT.format("dog", 25)
BAD = OBJECT.format("cat", 5)  # xmin = xmax


class TestSources:
    def test_a_tilde_is_the_home_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        voc_folder(tmp_path / "set", [CAT])
        data = open_dataset("voc:~/set", "test", **DRAWN)
        assert len(data) == 1 and data.class_names == ["cat"]

    def test_in_each_path(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        splits = {"test": open_dataset(voc_folder(tmp_path / "voc", [CAT]), "test", **DRAWN)}
        convert(splits, tmp_path / "coco", "coco")
        convert(splits, tmp_path / "yolo", "yolo")
        words = ["coco:~/coco/test,~/coco/annotations/test.json", "yolo:~/yolo/data.yaml"]
        for word in words:
            data = open_dataset(word, "test", **DRAWN)
            assert len(data) == 1 and data.class_names == ["cat"]

    def test_a_path_may_have_commas(self, tmp_path):
        splits = {"test": open_dataset(voc_folder(tmp_path / "voc", [CAT]), "test", **DRAWN)}
        convert(splits, tmp_path / "July, 2024", "coco")
        folder = tmp_path / "July, 2024"
        data = open_dataset(f"coco:{folder}/test,{folder}/annotations/test.json", "test", **DRAWN)
        assert len(data) == 1

        # Where nothing is there, the first comma counts, and its file is named.
        with pytest.raises(FileNotFoundError, match=r"^b,c\.json: no such file"):
            open_dataset("coco:a,b,c.json", "test", **DRAWN)

    def test_a_word_that_is_not_understood_is_nearly_right(self, tmp_path):
        def hint(word):
            with pytest.raises(ValueError, match="is not understood; expected toytown") as raised:
                open_dataset(word, "test", **DRAWN)
            return str(raised.value).partition("ANNOTATION_FILE")[2]

        file = tmp_path / "a.json"
        assert hint(f"coco:{tmp_path}").endswith(f"missing: coco:{tmp_path},ANNOTATION_FILE")
        file.write_text("{}")
        assert hint(f"coco:{tmp_path}").endswith(f"the file is missing: coco:{tmp_path},{file}")
        assert hint(f"coco:{file}").endswith(f"the folder is missing: coco:IMAGE_FOLDER,{file}")
        assert f"{tmp_path} is there: say before it" in hint(f"{tmp_path}")
        assert hint("imagenet") == ""

    def test_a_folder_that_is_not_there(self, tmp_path):
        """It is said once, and not as a hundred missing pictures, even if those may be missing."""
        splits = {"test": open_dataset(voc_folder(tmp_path / "voc", [CAT]), "test", **DRAWN)}
        convert(splits, tmp_path / "coco", "coco")
        word = f"coco:{tmp_path}/gone,{tmp_path}/coco/annotations/test.json"
        with pytest.raises(FileNotFoundError, match="gone: no such folder; expected the one that"):
            open_dataset(word, "test", **DRAWN, skip_bad_images=True)
        with pytest.raises(FileNotFoundError, match="gone: no such folder; expected one with JPEG"):
            open_dataset(f"voc:{tmp_path}/gone", "test", **DRAWN)

    def test_classes_in_another_order(self, tmp_path):
        word = voc_folder(tmp_path, [CAT + DOG])
        assert open_with(word).target(0)["labels"].tolist() == [0, 1]
        data = open_with(word, "--classes", "dog", "cat")
        assert data.class_names == ["dog", "cat"]
        assert data.target(0)["labels"].tolist() == [1, 0]

    def test_classes_that_a_detector_has(self, tmp_path):
        """By name: another order and a class that the file lacks are no matter."""
        word = voc_folder(tmp_path, [CAT + DOG])
        data = open_with(word, class_names=["dog", "cow", "cat"])
        assert data.class_names == ["dog", "cow", "cat"]
        assert data.target(0)["labels"].tolist() == [2, 0]

    def test_a_class_that_a_detector_does_not_have(self, tmp_path):
        word = voc_folder(tmp_path, [CAT + DOG])
        with pytest.raises(ValueError, match=r"\['dog'\] are none of \['cat', 'cow'\]"):
            open_with(word, class_names=["cat", "cow"])

        # As the message says; of two objects one is more than a tenth.
        words = ["--classes", "cat", "--accept-left-out"]
        with pytest.warns(UserWarning, match="1 × unknown category"):
            data = open_with(word, *words, class_names=["cat", "cow"])
        assert data.class_names == ["cat", "cow"] and data.target(0)["labels"].tolist() == [0]

    def test_a_class_that_no_object_has_is_no_matter(self, tmp_path):
        """The other split has a dog, this one has none."""
        word = voc_folder(tmp_path, [CAT])
        (tmp_path / "Annotations" / "other.xml").write_text(XML.format(DOG))
        assert open_with(word).class_names == ["cat", "dog"]
        data = open_with(word, class_names=["cow", "cat"])
        assert data.target(0)["labels"].tolist() == [1]

    def test_options_that_do_not_fit(self):
        with pytest.raises(ValueError, match="--zero-based is for voc:FOLDER"):
            open_with("toytown", "--zero-based")
        with pytest.raises(ValueError, match=r"to be \['cat'\]; ToyTown's are"):
            open_with("toytown", "--classes", "cat")

    def test_no_object(self, tmp_path):
        word = voc_folder(tmp_path, ["", ""])
        with pytest.raises(ValueError, match=r"no object in 2 pictures\. 'detlearn data voc:"):
            open_with(word, "--classes", "cat")
        assert len(open_with(word, "--classes", "cat", "--accept-empty")) == 2

    def test_crowds_alone_are_nothing_to_learn(self):
        """Neither the trainer nor COCO's metric takes a crowd for an object."""
        crowds = {"labels": torch.tensor([0, 0]), "iscrowd": torch.tensor([1, 1])}
        mixed = {"labels": torch.tensor([0, 0]), "iscrowd": torch.tensor([1, 0])}

        class Data:
            def __init__(self, *targets):
                self.left_out = {}
                self.target = targets.__getitem__
                self.count = len(targets)

            def __len__(self):
                return self.count

        with pytest.raises(ValueError, match="no object in 2 pictures"):
            check_complete(Data(crowds, crowds), "coco:here")
        check_complete(Data(crowds, mixed), "coco:here")

    def test_a_picture_that_is_cut_off(self, tmp_path):
        """Said before the first step, not when it is its turn."""
        word = voc_folder(tmp_path, [CAT, CAT])
        picture = tmp_path / "JPEGImages" / "p1.png"
        picture.write_bytes(picture.read_bytes()[:-30])
        with pytest.raises(ValueError, match=r"p1\.png: cannot be read as a picture"):
            open_with(word)

    def test_skip_bad_images(self, tmp_path):
        word = voc_folder(tmp_path, [CAT, CAT, CAT])
        (tmp_path / "JPEGImages" / "p0.png").unlink()
        (tmp_path / "JPEGImages" / "p1.png").write_bytes(b"no picture")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = open_with(word, "--skip-bad-images")
        said = " ".join(str(warning.message) for warning in caught)
        assert "p0" in said and "p1.png: cannot be read as a picture" in said
        assert len(data) == 1 and data.image_paths[0].name == "p2.png"

    def test_no_object_that_can_be_read(self, tmp_path):
        word = voc_folder(tmp_path, [BAD])
        with (
            pytest.warns(UserWarning),
            pytest.raises(ValueError, match="left out were 1 × box without area"),
        ):
            open_with(word)

    @pytest.mark.parametrize(("good", "refused"), [(9, False), (8, True)])
    def test_a_tenth_of_the_objects(self, tmp_path, good, refused):
        """1 of 10 is no more than a tenth, 1 of 9 is."""
        word = voc_folder(tmp_path, [CAT * good + BAD])
        with pytest.warns(UserWarning):
            data = open_dataset(word, "test", seed=0, num_images=3)
        check_complete(data, word, accept_left_out=True)
        if refused:
            with pytest.raises(ValueError, match=r"1 of 9 objects cannot be read \(1 × box"):
                check_complete(data, word)
        else:
            check_complete(data, word)

    def test_drawn_scenes_are_complete(self):
        assert len(open_with("toytown")) == 3


class TestErrors:
    def test_a_full_memory(self):
        with pytest.raises(RuntimeError) as raised:
            torch.empty(10**15)
        text = explain(raised.value, "train")
        assert text.startswith("the memory is full (") and "smaller --batch-size" in text
        assert "--device cpu" in explain(raised.value, "detect")
        assert "machine with more memory" in explain(raised.value, "data")

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has …"),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
            RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            MemoryError(),
        ],
    )
    def test_what_is_a_full_memory(self, error):
        assert explain(error, "train").startswith("the memory is full")

    def test_shared_memory(self):
        error = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is …")
        assert explain(error, "train").endswith("try --workers 0")

    def test_others_of_torch_are_one_line(self):
        with pytest.raises(RuntimeError) as raised:
            torch.rand(2, 3) @ torch.rand(2, 3)
        text = explain(raised.value, "train")
        assert text.startswith("PyTorch cannot do this: mat1 and mat2") and "\n" not in text
        assert "NotImplementedError" in explain(NotImplementedError("\n\n"), "train")

    def test_our_own_are_as_they_are(self):
        assert explain(ValueError("a.png:\n  is broken"), "train") == "a.png:\n  is broken"

    def test_what_the_system_says_has_a_path_and_an_advice(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError) as raised:
            write_atomically(tmp_path / "file" / "b.json", b"")
        text = explain(raised.value, "train")
        assert text.startswith(f"{tmp_path / 'file' / 'b.json'}: ") and "Errno" not in text
        assert text.endswith("a part of this path is a file and no folder: give another path")

        error = OSError(errno.ENOSPC, "No space left on device", "a/b")
        text = explain(error, "train")
        assert text.startswith("a/b: No space left on device; make room, and give the same command")
        assert explain(FileNotFoundError("a: no such folder"), "train") == "a: no such folder"

    def test_arguments_are_options(self):
        error = ValueError("a.png: broken; or pass skip_bad_images=True to go on")
        assert explain(error, "train") == "a.png: broken; or give --skip-bad-images to go on"
        error = ValueError("another path; pass longer=True to go on")
        assert explain(error, "train") == "another path; give --resume-with to go on"

    def test_the_command_says_it(self, capsys, monkeypatch):
        def fail(options):
            raise RuntimeError("out of memory")

        monkeypatch.setattr(parser.doctor, "run", fail)
        assert main(["doctor"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("detlearn doctor: the memory is full (out of memory): try it on")
        monkeypatch.setenv("DETLEARN_TRACEBACK", "1")
        with pytest.raises(RuntimeError):
            main(["doctor"])

    @pytest.mark.parametrize("text", ["a line", "a line\n" * 100_000])
    def test_who_reads_the_output_may_have_enough(self, capsys, monkeypatch, text):
        """As ``head`` has, before or behind what the pipe itself holds."""
        read_end, write_end = os.pipe()
        os.close(read_end)
        with os.fdopen(write_end, "w") as output:
            monkeypatch.setattr(sys, "stdout", output)
            monkeypatch.setattr(parser.doctor, "run", lambda options: print(text))
            assert main(["doctor"]) == 141
        assert capsys.readouterr().err == ""

    def test_another_broken_pipe_is_an_error(self, capsys, monkeypatch):
        def fail(options):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

        monkeypatch.setattr(parser.doctor, "run", fail)
        assert main(["doctor"]) == 2
        assert "Broken pipe" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "said"), [([], ""), (["step 5 is kept"], ": step 5 is kept")]
    )
    def test_stopped(self, capsys, monkeypatch, words, said):
        def stop(options):
            raise KeyboardInterrupt(*words)

        monkeypatch.setattr(parser.doctor, "run", stop)
        assert main(["doctor"]) == 130
        assert capsys.readouterr().err == f"detlearn doctor: stopped{said}\n"

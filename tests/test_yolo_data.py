"""``YOLODetection``: what labelling tools export, whole and broken."""

import os
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from detlearn.cli.sources import open_dataset
from detlearn.data import VOCDetection, YOLODetection

YAML = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


def add_image(root, name, *lines, split="train", size=(60, 40), ending=".jpg", **options):
    """Write a picture and its text file; without any line there is no text file."""
    picture = root / "images" / split / (name + ending)
    label = root / "labels" / split / f"{name}.txt"
    for path in (picture, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(picture, **options)
    if lines:
        label.write_text("\n".join(lines) + "\n")
    return picture, label


@pytest.fixture
def root(tmp_path):
    """A data set of one picture with two objects."""
    (tmp_path / "data.yaml").write_text(YAML)
    add_image(tmp_path, "a", "0 0.5 0.5 0.5 0.25", "1 0.25 0.5 0.1 0.2")
    return tmp_path


def boxes_of(data, index=0):
    return data[index][1]["boxes"].tolist()


# ------------------------------------------------------------------------------- by hand


def test_shares_of_centre_and_size_become_corners_in_pixels(root):
    data = YOLODetection(root / "data.yaml", "train")
    image, target = data[0]
    assert len(data) == 1 and data.class_names == ["cat", "dog"] and data.left_out == {}
    assert image.shape == (3, 40, 60) and image.dtype == torch.float32
    # centre (30, 20), 30 × 10; centre (15, 20), 6 × 8
    torch.testing.assert_close(
        target["boxes"], torch.tensor([[15.0, 15, 45, 25], [12, 16, 18, 24]])
    )
    assert target["labels"].tolist() == [0, 1] and target["labels"].dtype == torch.int64
    torch.testing.assert_close(target["area"], torch.tensor([300.0, 48]))
    assert target["iscrowd"].tolist() == [0, 0] and target["image_id"] == 0
    assert target.keys() == {"boxes", "labels", "area", "iscrowd", "image_id"}


def test_a_polygon_becomes_the_box_around_it(root):
    add_image(root, "b", "1 0.1 0.5 0.5 0.25 0.9 0.5 0.5 0.75", "0 0 0 1 0 1 1 0 1")
    data = YOLODetection(root, "train")
    wanted = torch.tensor([[6.0, 10, 54, 30], [0, 0, 60, 40]])
    torch.testing.assert_close(data[1][1]["boxes"], wanted)
    torch.testing.assert_close(data[1][1]["area"], torch.tensor([48.0 * 20, 2400]))


def test_no_text_file_and_an_empty_one_are_pictures_without_objects(root):
    add_image(root, "b")
    add_image(root, "c")[1].write_text("\n  \r\n")
    with pytest.warns(UserWarning, match="1 of 3 pictures have no file of labels"):
        data = YOLODetection(root, "train")
    assert [path.name for path in data.image_paths] == ["a.jpg", "b.jpg", "c.jpg"]
    for index in (1, 2):
        for name, value in data[index][1].items():
            assert name == "image_id" or len(value) == 0
            assert value.dtype == data[0][1][name].dtype
        assert data[index][1]["boxes"].shape == (0, 4)


def test_where_no_picture_has_labels_it_is_said_where_they_are_to_be(root):
    shutil.rmtree(root / "labels")
    message = (
        r"none of the 1 pictures has labels; expected such a file as .*/labels/train/a\.txt for"
    )
    with pytest.raises(FileNotFoundError, match=message):
        YOLODetection(root, "train")


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_reading_by_hand(root, seed):
    """Random lines, both forms mixed, against arithmetic on plain numbers."""
    draw = random.Random(seed)
    lines, wanted = [], []
    for _ in range(20):
        x, y = (
            sorted(draw.uniform(0.02, 0.98) for _ in range(2)),
            sorted(draw.uniform(0.02, 0.98) for _ in range(2)),
        )
        if draw.random() < 0.5:
            numbers = [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2, x[1] - x[0], y[1] - y[0]]
        else:
            numbers = [x[0], y[1], x[1], (y[0] + y[1]) / 2, x[0], y[0]]
        label = draw.randrange(2)
        lines.append(f"{label} " + " ".join(f"{n:.9f}" for n in numbers))
        wanted.append([60 * x[0], 40 * y[0], 60 * x[1], 40 * y[1], label])
    add_image(root, "b", *lines)
    target = YOLODetection(root, "train")[1][1]
    wanted = torch.tensor(wanted)
    torch.testing.assert_close(target["boxes"], wanted[:, :4], rtol=0, atol=1e-4)
    assert target["labels"].tolist() == wanted[:, 4].tolist()


def test_boxes_are_clipped_and_rounded_numbers_forgiven(root):
    add_image(root, "b", "0 0.95 0.5 0.2 1.004", "0.000000 -0.004 0.5 0.5 0.5")
    assert boxes_of(YOLODetection(root, "train"), 1) == [
        pytest.approx([51, 0, 60, 40]),
        pytest.approx([0, 10, 14.76, 30], abs=1e-4),
    ]


def test_shares_belong_to_the_upright_picture(root):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turned by 90 degrees
    add_image(root, "b", "0 0.5 0.5 1 0.5", exif=exif)
    image, target = YOLODetection(root, "train")[1]
    assert image.shape == (3, 60, 40) and target["boxes"].tolist() == [[0, 15, 40, 45]]


def test_tabs_windows_line_ends_and_byte_order_marks(root):
    _, label = add_image(root, "b", "0")
    label.write_bytes(b"\xef\xbb\xbf0\t0.5  0.5 0.5 0.5 \r\n\r\n1 0.5 0.5 0.1 0.1")
    assert YOLODetection(root, "train")[1][1]["labels"].tolist() == [0, 1]


def test_travels_to_the_workers_of_a_loader_and_gives_fresh_tensors(root):
    data = pickle.loads(pickle.dumps(YOLODetection(str(root), "train")))
    data[0][1]["boxes"].zero_()
    assert boxes_of(data)[0] == [15, 15, 45, 25]
    with pytest.raises(IndexError):
        data[1]


# ------------------------------------------------------------------- data.yaml and folders


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("names: [cat, dog]", ["cat", "dog"]),
        ("names:\n- cat\n- dog\nnc: 2", ["cat", "dog"]),
        ("names: {1: dog, 0: cat}", ["cat", "dog"]),
        ("names:\n  '0': cat\n  '1': dog", ["cat", "dog"]),
        ("names: ['no', 7, 2.5]", ["no", "7", "2.5"]),
    ],
)
def test_names_as_list_or_map(root, names, wanted):
    (root / "data.yaml").write_text(f"train: images/train\n{names}\n")
    assert YOLODetection(root, "train").class_names == wanted


@pytest.mark.parametrize(
    "text",
    [
        "train: images/train",
        "train: ./images/train/",
        "train: images\\train",
        "train: ../images/train",  # as if the file lay in a folder of its own
        "path: .\ntrain: images/train",
        "path: images\ntrain: train",
        "path: {root}\ntrain: images/train",
        "train: {root}/images/train",
        "train: [images/train]",
        "train: list.txt",
        "train: images/list.txt",
    ],
)
def test_where_pictures_may_be(root, text):
    (root / "list.txt").write_text("\ufeff./images/train/a.jpg\n\n", encoding="utf-8")
    (root / "images" / "list.txt").write_text("train\\a.jpg\r\n")
    (root / "data.yaml").write_text(f"{text.format(root=root)}\nnames: [cat, dog]\n")
    data = YOLODetection(root, "train")
    assert len(data) == 1 and len(boxes_of(data)) == 2


def test_folders_in_folders_and_several_places_of_a_split(root):
    add_image(root, "deep", "0 0.5 0.5 1 1", split="train/more")
    add_image(root, "b", "1 0.5 0.5 1 1", split="val", ending=".PNG")
    (root / "data.yaml").write_text("all: [images/train, images/val]\nnames: [cat, dog]\n")
    data = YOLODetection(root, "all")
    assert [path.name for path in data.image_paths] == ["a.jpg", "deep.jpg", "b.PNG"]
    assert [len(target["boxes"]) for _, target in data] == [2, 1, 1]


def test_labels_beside_their_pictures(tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "README.txt").write_text("exported by hand")
    (tmp_path / "my.yaml").write_text("val: .\nnames: {0: cat}")
    assert boxes_of(YOLODetection(tmp_path, "val")) == [[0, 0, 10, 10]]


def test_the_last_of_several_folders_called_images(root):
    inner = root / "images" / "project"
    add_image(inner, "x", "1 0.5 0.5 1 1")
    (root / "data.yaml").write_text("train: images/project/images/train\nnames: [cat, dog]\n")
    assert boxes_of(YOLODetection(root, "train")) == [[0, 0, 60, 40]]


def test_other_files_among_the_pictures(root):
    for name in ("notes.json", ".hidden.jpg", "._a.jpg", "Thumbs.db"):
        (root / "images" / "train" / name).write_text("no picture")
    (root / "labels" / "train" / "classes.txt").write_text("cat\ndog\n")
    assert len(YOLODetection(root, "train")) == 1


def test_a_list_may_leave_out_some(root):
    add_image(root, "b", "1 0.5 0.5 1 1")
    (root / "data.yaml").write_text("train: train.txt\nnames: [cat, dog]\n")
    (root / "train.txt").write_text("images/train/b.jpg\n")
    assert boxes_of(YOLODetection(root, "train")) == [[0, 0, 60, 40]]


def test_the_command_line_knows_it(root):
    data = open_dataset(f"yolo:{root / 'data.yaml'}", "train", seed=0, num_images=5)
    assert isinstance(data, YOLODetection) and len(data) == 1
    with pytest.raises(ValueError, match=r"'yolo:' is not understood; .*yolo:DATA\.YAML"):
        open_dataset("yolo:", "train", seed=0, num_images=5)


# ----------------------------------------------------------- broken exports: bad annotations

BAD_LINES = {  # one broken line → what the message says, and the reason in the summary
    "pixels instead of shares": ("0 30 20 30 10", r"value 2 is 30.*0 to 1; were", "not normalised"),
    "pixels of one side": ("0 0.5 0.5 0.5 10", "value 5 is 10", "not normalised"),
    "a centre outside": ("0 -0.2 0.5 0.5 0.5", "value 2 is -0.2", "not normalised"),
    "a polygon in pixels": ("0 1 1 30 1 30 20", "value 4 is 30", "not normalised"),
    "a polygon outside": ("0 0.1 0.1 0.5 -0.5 0.3 0.3", "value 5 is -0.5", "not normalised"),
    "no width": ("0 0.5 0.5 0 0.5", "width is 0 and its height 0.5", "box without area"),
    "a negative height": ("0 0.5 0.5 0.5 -0.1", "height -0.1", "box without area"),
    "a flat polygon": ("0 0.1 0.5 0.2 0.5 0.3 0.5", "height 0; both", "box without area"),
    "a class too many": ("2 0.5 0.5 0.5 0.5", r"class is 2, expected 0 … 1", "unknown category"),
    "classes from 1 on": ("-1 0.5 0.5 0.5 0.5", "class is -1", "unknown category"),
    "half a class": ("0.5 0.5 0.5 0.5 0.5", "class is 0.5", "unknown category"),
    "a name for a class": ("cat 0.5 0.5 0.5 0.5", "class is 'cat', expected a num", "no number"),
    "a value missing": ("0 0.5 0.5 0.5", "4 values, expected five", "wrong number of values"),
    "a confidence": ("0 0.5 0.5 0.5 0.5 0.9", "6 values.*detections are no lab", "wrong number"),
    "half a corner": ("0 0.1 0.1 0.5 0.1 0.3 0.3 0.2", "8 values", "wrong number of values"),
    "commas": ("0,0.5,0.5,0.5,0.5", "1 values.*with spaces between", "wrong number of values"),
    "decimal commas": ("0 0,5 0,5 0,5 0,5", "value 2 is '0,5'", "no number"),
    "not a number": ("0 nan 0.5 0.5 0.5", "value 2 is 'nan'", "NaN or infinity"),
    "infinity": ("0 0.5 0.5 inf 0.5", "value 4 is 'inf'", "NaN or infinity"),
    "given twice": ("0 0.5 0.5 0.50 0.5", "repeats line 1", "object given twice"),
    "thinner than a float": ("0 0.5 0.5 1e-12 0.5", "nothing of the box", "box outside"),
}


@pytest.mark.parametrize("fault", BAD_LINES)
def test_a_bad_line_is_named_or_left_out_with_one_summary(root, fault):
    bad, message, reason = BAD_LINES[fault]
    add_image(root, "b", "0 0.5 0.5 0.5 0.5", bad, "1 0.5 0.5 0.5 0.5")
    with pytest.raises(ValueError, match=rf"labels/train/b\.txt, line 2: .*{message}.*on_bad"):
        YOLODetection(root, "train")
    with pytest.warns(UserWarning, match=rf"1 × {reason}") as caught:
        data = YOLODetection(root, "train", on_bad="skip")
    assert len(caught) == 1 and caught[0].filename == __file__
    assert "b.txt, line 2" in str(caught[0].message)
    assert len(data) == 2 and sum(data.left_out.values()) == 1
    assert boxes_of(data, 1) == [[15, 10, 45, 30]] * 2
    assert data[1][1]["labels"].tolist() == [0, 1]


@pytest.mark.parametrize("content", [b"\xff\xfe0\x00 \x00", b"\x89PNG\r\n\x1a\n\xfe"])
def test_a_file_of_labels_that_is_no_text(root, content):
    add_image(root, "b", "0")[1].write_bytes(content)
    with pytest.raises(ValueError, match=r"b\.txt: no text in UTF-8 .*on_bad"):
        YOLODetection(root, "train")
    with pytest.warns(UserWarning, match="1 × file of labels is no text"):
        data = YOLODetection(root, "train", on_bad="skip")
    assert boxes_of(data, 1) == []


# ------------------------------------------------- broken exports: what always raises

BAD_YAML = {  # a broken data.yaml → what the message says
    "cut off": ("train: [images/train\nnames: [cat", r"data\.yaml: malformed YAML \(.*line"),
    "tabs": ("train:\n\timages/train\nnames: [cat]", "malformed YAML"),
    "no UTF-8": (b"train: images/train\nnames: [caf\xe9]", "malformed YAML"),
    "an object of Python": ("names: !!python/object:os.system {}", "malformed YAML"),
    "empty": ("", "no YAML, but an empty file"),
    "a comment alone": ("# names", "holds None, expected keys and values: names"),
    "a list": ("- cat\n- dog", r"holds \['cat', 'dog'\], expected keys"),
    "no names": ("train: images/train\nnc: 2", r"names is None, expected a list such as"),
    "no classes": ("train: images/train\nnames: []", r"names is \[\], expected a list"),
    "names as text": ("train: images/train\nnames: cat, dog", "names is 'cat, dog', expected"),
    "a hole": ("train: images/train\nnames: {0: cat, 2: dog}", r"numbers \[0, 2\], expected 0 … 1"),
    "from 1 on": ("train: images/train\nnames: {1: cat, 2: dog}", r"numbers \[1, 2\], expected 0"),
    "turned round": ("train: images/train\nnames: {cat: 0}", r"numbers \['cat'\], expected 0 … 0"),
    "twice a number": ("train: images/train\nnames: {0: cat, 0: dog}", "the key 0 is given twice"),
    "twice a name": ("train: images/train\nnames: [cat, cat]", r"\['cat'\] more than once; names"),
    "a truth": ("train: images/train\nnames: [yes, no]", "name 0 is True: YAML reads yes.*quotes"),
    "no word": ("train: images/train\nnames: [cat, ]\n- x", "malformed YAML"),
    "an empty name": ("train: images/train\nnames: [cat, '']", "name 1 is '', expected a word"),
    "a nested name": ("train: images/train\nnames: [[cat]]", r"name 0 is \['cat'\], expected a w"),
    "another number": ("train: images/train\nnames: [cat, dog]\nnc: 3", "nc is 3, but there are 2"),
    "no split": ("val: images/val\ntest:\nnames: [cat]", r"no split 'train'; there are \['val'\]"),
    "no splits": ("names: [cat]", "no split 'train'; there are none"),
    "a number": ("train: 5\nnames: [cat]", "train is 5, expected a path"),
    "a list of lists": ("train: [[a]]\nnames: [cat]", r"train is \['a'\], expected a path"),
    "a bad path": ("path: [x]\ntrain: a\nnames: [cat]", r"path is \['x'\], expected a path"),
    "another machine": ("path: /home/me/data\ntrain: a\nnames: [cat]", "which is no folder; give"),
    "no such folder": (
        "train: images/trian\nnames: [cat]",
        "no such folder or list: .*/trian; paths",
    ),
    "one picture": ("train: images/train/a.jpg\nnames: [cat]", "neither a folder nor a .txt list"),
    "an empty folder": ("train: empty\nnames: [cat]", r"empty: holds no picture; expected .*\.jpg"),
    "an empty list": ("train: empty.txt\nnames: [cat]", r"empty\.txt: the list is empty"),
    "a list elsewhere": (
        "train: far.txt\nnames: [cat]",
        r"far\.txt, line 2: its picture 'im.*missing",
    ),
    "a list that climbs": ("train: up.txt\nnames: [cat]", r"up\.txt, line 1: .*\.\./x.*is missing"),
    "a list with a root": (
        "train: abs.txt\nnames: [cat]",
        r"abs\.txt, line 1: .*passwd.*is missing",
    ),
    "a zero byte": ("train: zero.txt\nnames: [cat]", r"zero\.txt, line 1: .*'a\\x00\.jpg'"),
    "a list of bytes": ("train: bytes.txt\nnames: [cat]", r"bytes\.txt: no text in UTF-8"),
    "twice a picture": ("train: twice.txt\nnames: [cat]", r"has .*a\.jpg more than once"),
    "twice a folder": ("train: [images, images/train]\nnames: [cat, dog]", "more than once"),
    "no labels at all": (
        "train: bare\nnames: [cat]",
        r"none of the 1 pictures has labels; .*b\.txt",
    ),
}


@pytest.mark.parametrize("on_bad", ["raise", "skip"])
@pytest.mark.parametrize("fault", BAD_YAML)
def test_a_bad_data_yaml_always_raises(root, fault, on_bad):
    text, message = BAD_YAML[fault]
    (root / "empty").mkdir()
    (root / "bare").mkdir()
    Image.new("RGB", (4, 4)).save(root / "bare" / "b.png")
    lists = {
        "empty": b"\n \n",
        "far": b"images/train/a.jpg\nimages/x.jpg\n",
        "up": b"../x.jpg\n",
        "abs": b"/etc/passwd\n",
        "zero": b"a\0.jpg\n",
        "bytes": b"\xff\xfea",
        "twice": b"images/train/a.jpg\n./images/train/a.jpg\n",
    }
    for name, content in lists.items():
        (root / f"{name}.txt").write_bytes(content)
    (root / "data.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=rf"(?s){message}"):
        YOLODetection(root, "train", on_bad)


def test_no_yaml_in_the_folder_or_too_many(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such file; expected a data\.yaml"):
        YOLODetection(tmp_path / "nowhere", "train")
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(FileNotFoundError, match=r"holds no data\.yaml\. Write one.*classes\.txt"):
        YOLODetection(tmp_path, "train")
    (tmp_path / "a.yaml").write_text(YAML)
    (tmp_path / "b.yml").write_text(YAML)
    with pytest.raises(ValueError, match=r"holds a\.yaml, b\.yml: give the one"):
        YOLODetection(tmp_path, "train")
    (tmp_path / "data.yaml").write_text(YAML)
    with pytest.raises(FileNotFoundError, match="images/train"):
        YOLODetection(tmp_path, "train")


@pytest.mark.parametrize("on_bad", ["raise", "skip"])
def test_pictures_are_never_left_out(root, on_bad):
    picture, label = add_image(root, "b", "0 0.5 0.5 1 1")
    data = YOLODetection(root, "train", on_bad)
    content = picture.read_bytes()
    picture.write_bytes(content[:-200])
    with pytest.raises(ValueError, match=r"b\.jpg: cannot be read as a picture"):
        data[1]
    picture.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"b\.jpg: cannot be read as a picture"):
        YOLODetection(root, "train", on_bad)
    Image.new("RGB", (30, 30)).save(picture)
    with pytest.raises(ValueError, match=r"b\.jpg: the upright picture is 30×30 .* say 60×40"):
        data[1]
    picture.unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.jpg: no such picture"):
        data[1]
    with pytest.raises(FileNotFoundError, match=r"b\.txt: no picture belongs to these labels"):
        YOLODetection(root, "train", on_bad)
    label.unlink()
    assert len(YOLODetection(root, "train", on_bad)) == 1


def test_two_pictures_with_one_file_of_labels(root):
    add_image(root, "a", ending=".png")
    with pytest.raises(ValueError, match=r"a\.txt: belongs to two pictures, a\.jpg and a\.png"):
        YOLODetection(root, "train")


def test_a_bomb_of_aliases_is_shown_short(root):
    """Nine lists of nine of the one before: 10⁹ words if written out."""
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    (root / "data.yaml").write_text("\n".join([*lines, "train: *a9", "names: *a9"]))
    with pytest.raises(ValueError) as caught:
        YOLODetection(root, "train")
    assert len(str(caught.value)) < 1000


def test_on_bad(root):
    with pytest.raises(ValueError, match=r"on_bad must be .*got 'ignore'"):
        YOLODetection(root, "train", on_bad="ignore")


# ------------------------------------------------------------------- as tools write it


def labels_of(data, index=0):
    return data[index][1]["labels"].tolist()


def test_pictures_without_a_file_of_labels_are_counted(root):
    add_image(root, "b")
    add_image(root, "c")[1].write_text("")  # looked at, and nothing there
    says = r"1 of 3 pictures have no file of labels .* without objects, the first is .*b\.jpg"
    with pytest.warns(UserWarning, match=says) as caught:
        data = YOLODetection(root, "train")
    assert len(caught) == 1 and caught[0].filename == __file__
    assert [len(boxes_of(data, i)) for i in range(3)] == [2, 0, 0]


def test_classes_are_matched_by_name(root):
    (root / "other.yaml").write_text("train: images/train\nnames: [bird, dog, cat]\n")
    add_image(root, "a", "2 0.5 0.5 0.5 0.25", "1 0.25 0.5 0.1 0.2")
    data = YOLODetection(root / "other.yaml", "train", class_names=["cat", "dog"])
    assert data.class_names == ["cat", "dog"] and labels_of(data) == [0, 1]
    data = YOLODetection(root / "other.yaml", "train", class_names=("dog", "fish", "cat"))
    assert data.class_names == ["dog", "fish", "cat"] and labels_of(data) == [2, 0]
    with pytest.raises(ValueError, match=r"a\.txt, line 1: its class 'cat' is none of \['dog'\]"):
        YOLODetection(root / "other.yaml", "train", class_names=["dog"])
    with pytest.raises(ValueError, match=r"other\.yaml: none of the classes \['cow'\] is in the f"):
        YOLODetection(root / "other.yaml", "train", class_names=["cow"])
    with pytest.raises(ValueError, match="differ from one another"):
        YOLODetection(root, "train", class_names=["cat", "cat"])
    with pytest.raises(TypeError, match="sequence of"):
        YOLODetection(root, "train", class_names="cat")


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("names: [1_2, 010, 1:30, 2.50, .5, 0x1F]", ["1_2", "010", "1:30", "2.50", ".5", "0x1F"]),
        ("names: ['it''s', \"a \\\"b\\\"\", ' c ']", ["it's", 'a "b"', "c"]),
        ("names: [方块, $5, 'a: b', '#1']", ["方块", "$5", "a: b", "#1"]),
        ("nc: '2'\nnames: {'0': cat, 1: dog}", ["cat", "dog"]),
        ("names:\r\n  01: dog\r\n  00: cat\r\n", ["cat", "dog"]),
        ("\ufeffnames: [cat]", ["cat"]),
        ("roboflow:\n  project: x\n  version: 1\nnames: [cat]\nnc: 1", ["cat"]),
    ],
)
def test_names_are_taken_as_they_are_written(root, names, wanted):
    add_image(root, "a", "0 0.5 0.5 0.5 0.25")
    (root / "data.yaml").write_text(f"{names}\ntrain: images/train\n", encoding="utf-8", newline="")
    assert YOLODetection(root, "train").class_names == wanted


@pytest.mark.parametrize("content", [YAML.encode("utf-16"), b"\xef\xbb\xbf" + YAML.encode()])
def test_a_yaml_with_a_byte_order_mark(root, content):
    (root / "data.yaml").write_bytes(content)
    assert YOLODetection(root, "train").class_names == ["cat", "dog"]


STRANGE_YAML = [  # what PyYAML answers with errors of other kinds, or with endless work
    "names: !!timestamp x",
    "names: !!bool x",
    "names: !!int ''",
    "names: [2024-99-99]",
    "? [a]\n: b",
    "names: &a [*a]\ntrain: *a",
    "[" * 1000,
    "a: &a {x: 1}\nb:\n  <<: *a",
    "names: 1" + "0" * 5000,
]


@pytest.mark.parametrize("text", STRANGE_YAML)
def test_a_strange_yaml_is_named(root, text):
    (root / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"data\.yaml: ") as caught:
        YOLODetection(root, "train")
    assert len(str(caught.value)) < 2000


def test_a_bomb_of_merged_maps_is_refused_at_once(root):
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)]
    (root / "data.yaml").write_text("\n".join([*lines, YAML]))
    with pytest.raises(ValueError, match=r"data\.yaml: malformed YAML .*<<"):
        YOLODetection(root, "train")


def test_keypoints_are_no_polygons(root):
    """Two keypoints of two values each: nine values, as many as a polygon of four corners has."""
    add_image(root, "a", "0 0.5 0.5 0.5 0.25 0.1 0.1 0.9 0.9", "1 0.5 0.5 0.5 0.5")
    (root / "data.yaml").write_text(YAML + "kpt_shape: [2, 2]\nflip_idx: [1, 0]\n")
    assert boxes_of(YOLODetection(root, "train")) == [[15, 15, 45, 25], [15, 10, 45, 30]]
    add_image(root, "a", "0 0.5 0.5 0.5 0.25 0.1 0.1 2 0.9 0.9 0")
    with pytest.raises(ValueError, match=r"line 1: 11 values, expected five .* and 4 of keypoints"):
        YOLODetection(root, "train")
    (root / "data.yaml").write_text(YAML + "kpt_shape: [2, 3]\n")
    assert boxes_of(YOLODetection(root, "train")) == [[15, 15, 45, 25]]
    (root / "data.yaml").write_text(YAML + "kpt_shape: two\n")
    with pytest.raises(ValueError, match=r"data\.yaml: kpt_shape is 'two', expected such as"):
        YOLODetection(root, "train")


@pytest.mark.parametrize("ending", [".tif", ".TIFF", ".JPEG", ".webp", ".BMP", ".gif", ".Png"])
def test_any_format_that_pillow_reads_in_any_case(root, ending):
    _, label = add_image(root, "b", "0 0.5 0.5 1 1", ending=ending)
    label.rename(label.with_suffix(".TXT"))
    data = YOLODetection(root, "train")
    assert data.image_paths[1].name == f"b{ending}" and boxes_of(data, 1) == [[0, 0, 60, 40]]


def test_a_tilde_is_the_home_folder(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root))
    assert len(YOLODetection("~/data.yaml", "train")) == 1
    for text in ("path: ~\ntrain: images/train", "train: ~/images/train", "train: ~/list.txt"):
        text = text.replace("path: ~\n", "path: ~/\n")  # YAML reads ~ alone as nothing
        (root / "list.txt").write_text("images/train/a.jpg\n")
        (root / "data.yaml").write_text(f"{text}\nnames: [cat, dog]\n")
        assert len(boxes_of(YOLODetection("~", "train"))) == 2


def test_what_is_no_file_of_labels_is_no_picture_without_objects(root):
    _, label = add_image(root, "b")
    message = r"b\.txt: is no file, expected the labels of .*b\.jpg"
    for make in (label.mkdir, lambda: os.mkfifo(label), lambda: label.symlink_to("nowhere")):
        make()
        with pytest.raises(ValueError, match=message):
            YOLODetection(root, "train")
        label.rmdir() if label.is_dir() else label.unlink()


def test_marks_inside_a_line_end_no_line(root):
    """A vertical tab and a form feed are blanks here, though Python's splitlines breaks there."""
    add_image(root, "b")[1].write_bytes(b"0 0.5\x0b0.5 0.5\x0c0.5\r1 0.5 0.5 0.1 0.1\r")
    assert labels_of(YOLODetection(root, "train"), 1) == [0, 1]


def test_the_exports_of_roboflow(tmp_path):
    """Its data.yaml stands beside train/ and valid/, and yet climbs; names are in quotes."""
    for split in ("train", "valid"):
        picture = tmp_path / split / "images" / "a_jpg.rf.0f1e.jpg"
        label = tmp_path / split / "labels" / "a_jpg.rf.0f1e.txt"
        for path in (picture, label):
            path.parent.mkdir(parents=True)
        Image.new("RGB", (60, 40)).save(picture)
        label.write_text("1 0.5 0.5 0.5 0.5" if split == "train" else "")  # one without objects
    (tmp_path / "README.roboflow.txt").write_text("exported")
    (tmp_path / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\n"
        "names: ['cat', 'dog']\n\nroboflow:\n  workspace: me\n  version: 1\n  url: https://x.org\n"
    )
    assert boxes_of(YOLODetection(tmp_path, "train")) == [[15, 10, 45, 30]]
    assert boxes_of(YOLODetection(tmp_path, "val")) == []
    with pytest.raises(FileNotFoundError, match=r"data\.yaml, test: no such folder or list"):
        YOLODetection(tmp_path, "test")


def test_paths_of_another_machine_lead_to_what_lies_beside_the_file(root):
    add_image(root, "b", "0 0.5 0.5 1 1", split="val")
    (root / "data.yaml").write_text(
        "train: /content/my data/images/train\nval: C:\\data\\images\\val\nnames: [cat, dog]\n"
    )
    assert [len(YOLODetection(root, split)) for split in ("train", "val")] == [1, 1]
    assert YOLODetection(root, "val").image_paths[0].name == "b.jpg"

    # Where two of them may be the same folder, none is guessed.
    text = "train: /x/train/images\nval: /x/val/images\nnames: [cat, dog]\n"
    (root / "data.yaml").write_text(text)
    with pytest.raises(FileNotFoundError, match=r"data\.yaml, train: no such folder or list"):
        YOLODetection(root, "train")


def test_lists_with_paths_of_another_machine(root):
    """As Darknet's lists and CVAT's have them."""
    add_image(root, "b", "1 0.5 0.5 1 1", split="val")
    (root / "data.yaml").write_text("train: train.txt\nnames: [cat, dog]\n")
    for lines in (
        ["data/images/train/a.jpg", "data/images/val/b.jpg"],
        ["/content/set/images/train/a.jpg", "D:\\set\\images\\val\\b.jpg"],
        ["../images/train/a.jpg", "./images/val/b.jpg"],
        ["/somewhere/a.jpg", "b.jpg"],
    ):
        (root / "train.txt").write_text("\n".join(lines))
        data = YOLODetection(root, "train")
        assert [path.name for path in data.image_paths] == ["a.jpg", "b.jpg"]
        assert [len(boxes_of(data, i)) for i in range(2)] == [2, 1]

    add_image(root, "a", "1 0.5 0.5 1 1", split="val")
    with pytest.raises(FileNotFoundError, match=r"train\.txt, line 1: .*several files have"):
        YOLODetection(root, "train")


def test_an_export_of_cvat_for_darknet(tmp_path):
    """obj.data and obj.names, labels beside their pictures, paths that start with data/."""
    (tmp_path / "obj_train_data").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (60, 40)).save(tmp_path / "obj_train_data" / f"{name}.png")
        (tmp_path / "obj_train_data" / f"{name}.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (tmp_path / "obj.names").write_text("cat\r\nsmall dog\r\n\r\n")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.png\ndata/obj_train_data/b.png\n")
    obj_data = tmp_path / "obj.data"
    obj_data.write_text(
        "# made by hand\nclasses = 2\ntrain = data/train.txt\nnames=data/obj.names\nbackup = x/\n"
    )
    for given in (tmp_path, obj_data):
        data = YOLODetection(given, "train")
        assert data.class_names == ["cat", "small dog"] and len(data) == 2
        assert boxes_of(data, 1) == [[15, 10, 45, 30]] and labels_of(data, 1) == [1]
    for text, message in {
        "classes = 3\ntrain = train.txt\nnames = obj.names": "classes is '3', but there are 2 nam",
        "train = train.txt\nnames = none.names": r"obj\.data, names: no such file: .*none\.names",
        "train = train.txt": r"obj\.data: names is None",
        "train train.txt": r"obj\.data, line 1: 'train train\.txt', expected KEY = VALUE",
        "train = a\ntrain = b": r"obj\.data, line 2: the key 'train' is given twice",
        "names = obj.names\ntrain = other.txt": r"obj\.data, train: no such folder or list",
    }.items():
        obj_data.write_text(text)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            YOLODetection(tmp_path, "train")


def test_the_names_of_pictures_may_hold_spaces_and_dots(root):
    for name in ("a b", "a.b.c", "名", "it's", "100%"):
        add_image(root, name, "0 0.5 0.5 1 1")
    data = YOLODetection(root, "train")
    assert len(data) == 6 and all(len(target["boxes"]) for _, target in data)


@pytest.mark.parametrize("text", ["0.5_5", "٠.5", "0,5", "5e-1x", "0x1", "infinity", "1e400"])
def test_what_is_no_number_is_not_read_as_one(root, text):
    add_image(root, "b", f"0 {text} 0.5 0.1 0.1")
    with pytest.raises(ValueError, match=r"b\.txt, line 1: value 2 is "):
        YOLODetection(root, "train")


@pytest.mark.parametrize("text", ["9223372036854775808", "1_0", "1e0x", "--1", "0.0001"])
def test_what_is_no_class_is_not_read_as_one(root, text):
    add_image(root, "b", f"{text} 0.5 0.5 0.1 0.1")
    with pytest.raises(ValueError, match=r"b\.txt, line 1: the class is "):
        YOLODetection(root, "train")


def test_more_than_a_tenth_of_the_objects_is_not_left_out_unasked(root):
    good = [f"0 0.5 0.5 0.5 0.{i}" for i in range(1, 8)]
    add_image(root, "b", "7 0.5 0.5 0.5 0.5", *good)  # and two in picture a
    with pytest.warns(UserWarning, match="annotations left out: 1 × unknown category"):
        YOLODetection(root, "train", "skip").check(progress=False)
    add_image(root, "c", "8 0.5 0.5 0.5 0.5")
    with pytest.warns(UserWarning, match="annotations left out: 2 × unknown category"):
        data = YOLODetection(root, "train", "skip")
    with pytest.raises(ValueError, match="2 of 11 annotations were left out, more than a tenth"):
        data.check(progress=False)


def test_bad_pictures_are_left_out_when_asked_for(root):
    pictures = [add_image(root, name, "0 0.5 0.5 1 1")[0] for name in "bcd"]
    pictures[0].unlink()
    pictures[1].write_bytes(b"no picture")
    with pytest.raises(FileNotFoundError, match=r"b\.txt: no picture belongs.*skip_bad_images"):
        YOLODetection(root, "train")
    with pytest.warns(UserWarning, match=r"2 of 4 images left out(.|\n)*b\.txt(.|\n)*c\.jpg"):
        data = YOLODetection(root, "train", skip_bad_images=True)
    assert [path.name for path in data.image_paths] == ["a.jpg", "d.jpg"]
    assert [len(boxes_of(data, i)) for i in range(2)] == [2, 1]

    (root / "data.yaml").write_text("train: list.txt\nnames: [cat, dog]\n")
    (root / "list.txt").write_text("images/train/d.jpg\nimages/train/gone.jpg\n")
    with pytest.warns(UserWarning, match=r"1 of 2 images left out(.|\n)*list\.txt, line 2: .*gone"):
        assert len(YOLODetection(root, "train", skip_bad_images=True)) == 1
    (root / "list.txt").write_text("images/train/gone.jpg\n")
    with pytest.raises(FileNotFoundError, match=r"data\.yaml: none of the pictures of .*'train'"):
        YOLODetection(root, "train", skip_bad_images=True)


def test_an_export_of_cvat_for_ultralytics(root):
    """Its list has a folder data/ that is not in the archive; labels of subsets lie apart."""
    (root / "data.yaml").write_text("path: .\ntrain: train.txt\nnames:\n  0: cat\n  1: dog\n")
    (root / "train.txt").write_text("data/images/train/a.jpg\n")
    assert len(boxes_of(YOLODetection(root, "train"))) == 2


def test_an_export_of_label_studio(root):
    """classes.txt and notes.json, but no data.yaml: the message says how to write one."""
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("cat\ndog\n")
    (root / "notes.json").write_text('{"categories": []}')
    with pytest.raises(FileNotFoundError, match=r"no data\.yaml\. Write one .*classes\.txt"):
        YOLODetection(root, "train")
    (root / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    assert len(boxes_of(YOLODetection(root, "train"))) == 2


def test_a_pipe_is_not_waited_for(root):
    (root / "data.yaml").unlink()
    os.mkfifo(root / "data.yaml")
    with pytest.raises(FileNotFoundError, match=r"holds no data\.yaml"):
        YOLODetection(root, "train")
    with pytest.raises(FileNotFoundError, match=r"data\.yaml: no such file"):
        YOLODetection(root / "data.yaml", "train")


# ----------------------------------------------------------------------------- real data


def test_bccd_rewritten_for_yolo_reads_the_same(tmp_path):
    """Blood cells from Pascal VOC's files, written as shares and read back."""
    folder = Path(os.environ.get("DETLEARN_DATA", "")) / "bccd"
    if "DETLEARN_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("BCCD is not here: set DETLEARN_DATA to the folder that holds bccd/")

    voc = VOCDetection(folder, "test")
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for path, record in zip(voc.image_paths, voc._records):
        (tmp_path / "images" / path.name).symlink_to(path.resolve())
        width, height = record.size
        lines = []
        for (x1, y1, x2, y2), label in zip(record.arrays["boxes"], record.arrays["labels"]):
            centre_x, centre_y = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
            w, h = (x2 - x1) / width, (y2 - y1) / height
            lines.append(f"{label} {centre_x:.7f} {centre_y:.7f} {w:.7f} {h:.7f}")
        (tmp_path / "labels" / f"{path.stem}.txt").write_text("\n".join(lines))
    (tmp_path / "data.yaml").write_text(f"test: images\nnames: {voc.class_names}\n")

    data = YOLODetection(tmp_path, "test")
    wanted = {path.name: record for path, record in zip(voc.image_paths, voc._records)}
    assert data.class_names == voc.class_names and len(data) == len(wanted) == 72
    for path, record in zip(data.image_paths, data._records):
        arrays = wanted[path.name].arrays
        np.testing.assert_allclose(record.arrays["boxes"], arrays["boxes"], atol=1e-3)
        np.testing.assert_array_equal(record.arrays["labels"], arrays["labels"])

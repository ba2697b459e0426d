"""``VOCDetection``: corners, flags, classes of all splits, faults; BCCD against a manual parse."""

import importlib.util
import os
import pickle
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detlearn.data.voc import VOCDetection

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>
<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"""


def an_object(name="cat", xmin=11, ymin=21, xmax=50, ymax=40, difficult=0):
    """The XML of one object."""
    return OBJECT.format(**locals())


def add_image(root, name, *objects, size=(60, 40), split="train", mode="RGB", ending=".jpg"):
    """Write a picture, its annotation file and its line in the split."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(root / "JPEGImages" / (name + ending))
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    xml = f"<annotation><filename>{name}.jpg</filename>{sides}{''.join(objects)}</annotation>"
    (root / "Annotations" / f"{name}.xml").write_text(xml)
    with open(root / "ImageSets" / "Main" / f"{split}.txt", "a") as file:
        file.write(f"{name}\n")


def bccd():
    """The folder of the BCCD data set, or a visible skip."""
    folder = Path(os.environ.get("DETLEARN_DATA", "")) / "bccd"
    if "DETLEARN_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("BCCD is not here: set DETLEARN_DATA to the folder that holds bccd/")
    return folder


# ------------------------------------------------------------------------------- by hand


def test_one_based_inclusive_corners_become_continuous(tmp_path):
    add_image(tmp_path, "a", an_object(), an_object("dog", 1, 1, 60, 40, difficult=1))
    image, target = VOCDetection(tmp_path, "train")[0]
    assert image.shape == (3, 40, 60) and image.dtype == torch.float32 and image.is_contiguous()
    # the dog covers the whole image of 60 × 40 pixels
    assert target["boxes"].tolist() == [[10, 20, 50, 40], [0, 0, 60, 40]]
    assert target["labels"].tolist() == [0, 1]
    assert target["area"].tolist() == [40 * 20, 60 * 40]
    assert target["difficult"].tolist() == [0, 1]
    assert target["iscrowd"].tolist() == [0, 0]
    assert target["image_id"] == 0
    assert target["boxes"].dtype == target["area"].dtype == torch.float32
    assert target["labels"].dtype == target["difficult"].dtype == torch.int64


def test_image_without_objects_has_empty_tensors_of_the_right_shape_and_type(tmp_path):
    add_image(tmp_path, "a", an_object())
    add_image(tmp_path, "b")
    data = VOCDetection(tmp_path, "train")
    _, full = data[0]
    _, empty = data[1]
    assert len(data) == 2 and data.image_names == ["a", "b"]
    assert empty["boxes"].shape == (0, 4) and empty["labels"].shape == (0,)
    for name in ("boxes", "labels", "area", "iscrowd", "difficult"):
        assert empty[name].dtype == full[name].dtype
        assert len(empty[name]) == 0
    assert empty["image_id"] == 1


def test_classes_are_the_sorted_names_of_all_annotations_not_only_the_splits(tmp_path):
    add_image(tmp_path, "a", an_object("zebra"))
    add_image(tmp_path, "b", an_object("ant"), split="val")
    for split, label in (("train", 1), ("val", 0)):
        data = VOCDetection(tmp_path, split)
        assert data.class_names == ["ant", "zebra"]
        assert data[0][1]["labels"].tolist() == [label]


def test_class_names_give_the_order_of_the_labels(tmp_path):
    add_image(tmp_path, "a", an_object("zebra"), an_object("ant"))
    data = VOCDetection(tmp_path, "train", class_names=("zebra", "cow", "ant"))
    assert data.class_names == ["zebra", "cow", "ant"]
    assert data[0][1]["labels"].tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"'ant'.*none of \['zebra'\]"):
        VOCDetection(tmp_path, "train", class_names=["zebra"])
    with pytest.raises(ValueError, match="differ from one another"):
        VOCDetection(tmp_path, "train", class_names=["ant", "ant"])
    with pytest.raises(TypeError, match="sequence of"):
        VOCDetection(tmp_path, "train", class_names="ant")


def test_fractions_are_read_and_boxes_clipped_to_the_image(tmp_path):
    add_image(tmp_path, "a", an_object(xmin=1.5, ymin=0, xmax=60.25, ymax=12.75), size=(60, 40))
    target = VOCDetection(tmp_path, "train")[0][1]
    assert target["boxes"].tolist() == [[0.5, 0, 60, 12.75]]
    assert target["area"].tolist() == [59.5 * 12.75]


def test_parts_of_an_object_are_no_objects(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>5</xmin></bndbox></part></object>"
    add_image(tmp_path, "a", an_object("person").replace("</object>", part))
    data = VOCDetection(tmp_path, "train")
    assert data.class_names == ["person"] and len(data[0][1]["boxes"]) == 1


def test_difficult_left_out_is_not_difficult_and_size_left_out_is_the_pictures(tmp_path):
    xml = an_object(xmax=500).replace("<difficult>0</difficult>", "")
    add_image(tmp_path, "a", xml, size=(60, 40))
    path = tmp_path / "Annotations" / "a.xml"
    path.write_text(re.sub("<size>.*</size>", "", path.read_text()))
    target = VOCDetection(tmp_path, "train")[0][1]
    assert target["difficult"].tolist() == [0]
    assert target["boxes"].tolist() == [[10, 20, 60, 40]]  # clipped to the picture's width


def test_pictures_with_other_endings_and_split_files_with_blank_lines(tmp_path):
    add_image(tmp_path, "a", an_object(), ending=".png")
    with open(tmp_path / "ImageSets" / "Main" / "train.txt", "a") as file:
        file.write("\r\n  \n")
    data = VOCDetection(tmp_path, "train")
    assert len(data) == 1 and data.image_paths[0].name == "a.png"


def test_split_file_with_the_byte_order_mark_of_windows(tmp_path):
    add_image(tmp_path, "a", an_object())
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("\ufeffa\n", encoding="utf-8")
    assert VOCDetection(tmp_path, "train").image_names == ["a"]


def test_every_access_returns_fresh_tensors(tmp_path):
    add_image(tmp_path, "a", an_object())
    data = VOCDetection(str(tmp_path), "train")
    image, target = data[-1]
    image.fill_(1)
    target["boxes"].zero_()
    image, target = data[0]
    assert image.max() == 0 and target["boxes"].tolist() == [[10, 20, 50, 40]]
    with pytest.raises(IndexError):
        data[1]


def test_travels_to_the_workers_of_a_loader(tmp_path):
    add_image(tmp_path, "a", an_object())
    data = pickle.loads(pickle.dumps(VOCDetection(tmp_path, "train")))
    assert data[0][1]["boxes"].tolist() == [[10, 20, 50, 40]]


# -------------------------------------------------------------------------------- faults

FAULTS = {  # one broken object → what the message says, and the reason in the summary
    "no width": (an_object(xmin=50, xmax=50), "xmin 50.*xmax 50", "box without area"),
    "no height": (an_object(ymin=40, ymax=40), "ymin 40.*ymax 40", "box without area"),
    "inverted": (an_object(xmin=50, xmax=11), "xmin < xmax", "box without area"),
    "upside down": (an_object(ymin=40, ymax=21), "ymin < ymax", "box without area"),
    "nan": (an_object(ymin="nan"), "ymin is 'nan'", "NaN or infinity"),
    "infinite": (an_object(xmax="1e999"), "xmax is '1e999'", "NaN or infinity"),
    "text": (an_object(xmax="wide"), "xmax is 'wide'", "no number"),
    "empty": (an_object(xmax=""), "xmax is ''", "no number"),
    "missing": (an_object().replace("<xmin>11</xmin>", ""), "xmin is None", "no number"),
    "no box": (re.sub("<bndbox>.*</bndbox>", "", an_object(), flags=re.S), "xmin", "no number"),
    "outside": (
        an_object(xmin=61, xmax=90),
        r"\(60, 20, 90, 40\) lies in the 60×40",
        "box outside",
    ),
    "flag": (an_object(difficult=7), "difficult is '7'", "bad flag"),
    "unnamed": (an_object(name=" "), "no name", "unknown category"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_names_file_and_object_or_is_left_out_with_one_summary(tmp_path, fault):
    bad, message, reason = FAULTS[fault]
    add_image(tmp_path, "first", an_object())
    add_image(tmp_path, "second", an_object(xmin=1), bad, an_object("dog"))
    with pytest.raises(ValueError, match=rf"(?s)second\.xml, object 2 .*{message}.*on_bad"):
        VOCDetection(tmp_path, "train")
    with pytest.warns(UserWarning, match=rf"1 × {reason}") as caught:
        data = VOCDetection(tmp_path, "train", on_bad="skip")
    assert len(caught) == 1 and "second.xml, object 2" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert len(data) == 2 and sum(data.left_out.values()) == 1
    assert data[1][1]["labels"].tolist() == [0, 1]
    assert data[1][1]["boxes"].tolist() == [[0, 20, 50, 40], [10, 20, 50, 40]]


def test_summary_counts_every_reason_once(tmp_path):
    flat, unnamed = an_object(xmin=50, xmax=50), an_object(name="")
    for name in "abcde":
        add_image(tmp_path, name, flat, unnamed, flat)
    with pytest.warns(UserWarning) as caught:
        data = VOCDetection(tmp_path, "train", on_bad="skip")
    (message,) = (str(w.message) for w in caught)
    assert "10 × box without area, 5 × unknown category" in message
    assert message.count("\n") == 3  # three examples
    assert data.left_out == {"box without area": 10, "unknown category": 5}
    assert [len(target["boxes"]) for _, target in data] == [0] * 5


@pytest.mark.parametrize(
    "content",
    [
        b"<annotation><object>",
        b"",
        b"\xff\xfe\x00",
        b"<?xml version='1.0' encoding='no-such-thing'?><annotation/>",
        b"<!DOCTYPE a [<!ENTITY e 'cat'>]><annotation>%s</annotation>" % an_object("&e;").encode(),
        b"<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><annotation>&e;</annotation>",
        b"<annotation><size><width>wide</width><height>3</height></size></annotation>",
        b"<annotation><size><width>-4</width><height>3</height></size></annotation>",
        b"<annotation><size><width>60.5</width><height>40</height></size></annotation>",
        b"<annotation><size><width>60</width><height>40.5</height></size></annotation>",
    ],
)
def test_broken_annotation_file_is_named_or_its_image_kept_without_objects(tmp_path, content):
    add_image(tmp_path, "a", an_object())
    add_image(tmp_path, "b", an_object())
    (tmp_path / "Annotations" / "b.xml").write_bytes(content)
    with pytest.raises(ValueError, match=r"b\.xml"):
        VOCDetection(tmp_path, "train")
    with pytest.warns(UserWarning, match=r"b\.xml") as caught:
        data = VOCDetection(tmp_path, "train", on_bad="skip")
    assert len(caught) == 1 and sum(data.left_out.values()) == 1
    assert len(data) == 2 and data[1][1]["boxes"].shape == (0, 4)


def test_malformed_file_of_another_split_is_a_fault_unless_the_classes_are_given(tmp_path):
    add_image(tmp_path, "a", an_object())
    add_image(tmp_path, "b", split="val")
    (tmp_path / "Annotations" / "b.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match=r"b\.xml: malformed XML"):
        VOCDetection(tmp_path, "train")
    assert len(VOCDetection(tmp_path, "train", class_names=["cat"])) == 1


def test_missing_annotation_file(tmp_path):
    add_image(tmp_path, "a", an_object())
    (tmp_path / "Annotations" / "a.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.xml: no such file"):
        VOCDetection(tmp_path, "train")
    with pytest.warns(UserWarning, match="1 × no annotation file"):
        data = VOCDetection(tmp_path, "train", on_bad="skip")
    assert len(data[0][1]["boxes"]) == 0


@pytest.mark.parametrize("on_bad", ["raise", "skip"])
def test_pictures_are_never_left_out(tmp_path, on_bad):
    add_image(tmp_path, "a", an_object())
    add_image(tmp_path, "b", an_object())
    path = tmp_path / "JPEGImages" / "b.jpg"
    data = VOCDetection(tmp_path, "train", on_bad)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"b\.jpg: cannot be read as a picture"):
        data[1]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.jpg: no such picture"):
        data[1]
    with pytest.raises(FileNotFoundError, match=r"b\.jpg: no such picture"):
        VOCDetection(tmp_path, "train", on_bad)


def test_size_of_another_picture_is_found_when_it_is_read(tmp_path):
    add_image(tmp_path, "a", an_object())
    Image.new("RGB", (30, 40)).save(tmp_path / "JPEGImages" / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg.* is 30×40 .*say 60×40"):
        VOCDetection(tmp_path, "train")[0]


def test_splits(tmp_path):
    add_image(tmp_path, "a", an_object())
    with pytest.raises(FileNotFoundError, match=r"val\.txt: no such split; .*\['train'\]"):
        VOCDetection(tmp_path, "val")
    with pytest.raises(FileNotFoundError, match="is root the VOC folder"):
        VOCDetection(tmp_path / "JPEGImages", "train")
    with pytest.raises(ValueError, match=r"\.\..*must be relative"):
        VOCDetection(tmp_path, "../../train")
    with pytest.raises(ValueError, match=r"on_bad must be .*got 'ignore'"):
        VOCDetection(tmp_path, "train", on_bad="ignore")
    path = tmp_path / "ImageSets" / "Main" / "train.txt"
    path.write_text("a\na\n")
    with pytest.raises(ValueError, match=r"train\.txt: given more than once: \['a'\]"):
        VOCDetection(tmp_path, "train")
    path.write_text("../../a\n")
    with pytest.raises(ValueError, match="must be relative"):
        VOCDetection(tmp_path, "train")
    path.write_text("\n")
    with pytest.raises(ValueError, match="split is empty"):
        VOCDetection(tmp_path, "train")


# ------------------------------------------------------ as labelling programs leave it


WHOLE = an_object(xmin=1, ymin=1, xmax=60, ymax=40)  # over a whole picture of 60 × 40 pixels


def write_xml(path, *objects, filename="", size=(60, 40), encoding="utf-8", mark=b""):
    """Write an annotation file in an encoding that it declares."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    text = f"<?xml version='1.0' encoding='{encoding}'?>\n<annotation><filename>{filename}"
    text += f"</filename>{sides}{''.join(objects)}</annotation>"
    path.write_bytes(mark + text.encode(encoding))


def write_picture(path, size=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def write_split(root, text, name="train"):
    path = root / "ImageSets" / "Main" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def read(root, split="train", says=None, **options):
    """Read a split and return its pictures' names and its boxes; expect a warning, or none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = VOCDetection(root, split, **options)
    messages = " ".join(str(warning.message) for warning in caught)
    assert re.search(says, messages) if says else not caught, messages
    names = [path.name for path in data.image_paths]
    return names, [target["boxes"].tolist() for _, target in data]


def test_a_folder_for_each_split_with_xml_beside_the_pictures(tmp_path):
    """As Roboflow exports it; its folder for validation is called valid."""
    for split, name, klass in (("train", "a", "cat"), ("valid", "b", "dog"), ("test", "c", "ant")):
        write_picture(tmp_path / split / f"{name}.jpg")
        write_xml(tmp_path / split / f"{name}.xml", an_object(klass), filename=f"{name}.jpg")
    (tmp_path / "README.roboflow.txt").write_text("exported")
    for split, name, label in (("train", "a", 1), ("val", "b", 2), ("valid", "b", 2)):
        assert read(tmp_path, split) == ([f"{name}.jpg"], [[[10, 20, 50, 40]]])
        data = VOCDetection(tmp_path, split)
        assert data.class_names == ["ant", "cat", "dog"] and data.image_names == [name]
        assert data[0][1]["labels"].tolist() == [label]
    with pytest.raises(
        FileNotFoundError, match=r"no split 'more'.*XML files lie in test, train, v"
    ):
        VOCDetection(tmp_path, "more")


@pytest.mark.parametrize(
    ("pictures", "annotations"),
    [
        (".", "."),
        ("JPEGImages", "Annotations"),
        ("images", "annotations"),
        ("images", "Annotations"),  # Label Studio
        ("images", "annots"),
        (".", "xmls"),
    ],
)
def test_without_a_split_all_annotation_files_are_it_and_that_is_said(
    tmp_path, pictures, annotations
):
    for name in "ab":
        write_picture(tmp_path / pictures / f"{name}.png")
        write_xml(tmp_path / annotations / f"{name}.xml", an_object(), filename=f"{name}.png")
    (tmp_path / annotations / "._a.xml").write_bytes(b"\0\5\26\7")  # left by macOS
    (tmp_path / ".idea").mkdir()
    (tmp_path / ".idea" / "misc.xml").write_text("<project/>")
    says = r"no .*ImageSets/Main/train\.txt, so all 2 XML files .* are taken as the split 'train'"
    assert read(tmp_path, says=says) == (["a.png", "b.png"], [[[10, 20, 50, 40]]] * 2)


def test_pictures_without_an_annotation_file_in_a_folder_are_counted(tmp_path):
    for name in "abc":
        write_picture(tmp_path / "train" / f"{name}.png")
    write_xml(tmp_path / "train" / "b.xml", an_object())
    says = r"2 pictures have no XML file and so no part in it, the first is .*train/a\.png"
    assert read(tmp_path, says=says)[0] == ["b.png"]


def test_splits_as_folders_in_the_folders_of_annotations_and_pictures(tmp_path):
    for split, name in (("train", "a"), ("test", "b")):
        write_picture(tmp_path / "images" / split / f"{name}.png")
        write_xml(tmp_path / "annotations" / split / f"{name}.xml", an_object(name))
    assert read(tmp_path, "test") == (["b.png"], [[[10, 20, 50, 40]]])
    assert VOCDetection(tmp_path, "test").class_names == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.png\nb.png\n", ["a", "b"]),
        ("a.PNG\nb.xml\n", ["a", "b"]),
        ("a  1\nb -1\n", ["a", "b"]),  # VOC's lists of one class
        ("a.png\t0\nb.png +1", ["a", "b"]),  # VoTT
        (b"\xef\xbb\xbfa\r\nb\r\n", ["a", "b"]),
        ("b\ra\r", ["b", "a"]),
        ("a 1 1\nb", ["a 1", "b"]),
        ("a 1\nscan.1\n", ["a 1", "scan.1"]),  # what has an annotation file is a name
        ("scan.1.png 1\nnew 2024\n", ["scan.1", "new 2024"]),
        ("deep/c.png\ndeep\\c 1\n", r"given more than once|deep"),
        ("a.png\na\n", r"train\.txt: given more than once: \['a'\]"),
        (b"\xff\xfea\0\n\0", r"train\.txt: no text in UTF-8"),
        ("名\n".encode("gbk"), r"train\.txt: no text in UTF-8"),
        ("a\n/etc/passwd\n", r"train\.txt, line 2: file name '/etc/passwd.*must be relative"),
        ("a\nb/\n", r"train\.txt, line 2: 'b/' is the name of a folder"),
        ("a\nb\0\n", r"train\.txt, line 2: .*must be relative"),
        ("x" * 5000, r"no such picture|no such file"),
    ],
)
def test_split_files(tmp_path, text, names):
    """Names with endings, with flags, with a byte-order mark; or an error that says which line."""
    for name in ("a", "b", "scan.1", "new 2024", "deep/c"):
        write_picture(tmp_path / "JPEGImages" / f"{name}.png")
        write_xml(tmp_path / "Annotations" / f"{name}.xml", an_object())
    if "a 1" in names:
        write_picture(tmp_path / "JPEGImages" / "a 1.png")
        write_xml(tmp_path / "Annotations" / "a 1.xml", an_object())
    write_split(tmp_path, text)
    if isinstance(names, str):
        with pytest.raises((ValueError, FileNotFoundError), match=names):
            VOCDetection(tmp_path, "train")
    else:
        assert VOCDetection(tmp_path, "train").image_names == names


def test_the_ending_in_a_list_decides_between_two_pictures(tmp_path):
    for ending in (".jpg", ".png"):
        write_picture(tmp_path / "JPEGImages" / f"a{ending}")
    write_xml(tmp_path / "Annotations" / "a.xml", an_object())
    for ending in (".jpg", ".png"):
        write_split(tmp_path, f"a{ending} 1\n")
        assert read(tmp_path)[0] == [f"a{ending}"]


def test_lists_of_each_class_only(tmp_path):
    """As VoTT exports: cat_train.txt and dog_train.txt, but no train.txt."""
    for name, klass in (("a", "cat"), ("b", "dog")):
        write_picture(tmp_path / "JPEGImages" / f"{name}.jpg")
        write_xml(tmp_path / "Annotations" / f"{name}.xml", an_object(klass))
    write_split(tmp_path, "a.jpg 1\nb.jpg -1\n", "cat_train")
    write_split(tmp_path, "a.jpg -1\nb.jpg 1\n", "dog_train")
    says = r"its images are those of cat_train\.txt, dog_train\.txt"
    assert read(tmp_path, says=says)[0] == ["a.jpg", "b.jpg"]
    with pytest.raises(FileNotFoundError, match=r"val\.txt: no such split; .*cat_train"):
        VOCDetection(tmp_path, "val")


def test_folders_in_the_lists(tmp_path):
    """As CVAT exports a project with folders, with its attributes, which have names, too."""
    attributes = "<attributes><attribute><name>rotation</name><value>0.0</value></attribute>"
    found = an_object(xmin=10.5, ymin="2.00", xmax="20.25", ymax=1e1)
    found = found.replace("</object>", f"{attributes}</attributes></object>")
    write_picture(tmp_path / "JPEGImages" / "day 1" / "a.jpg")
    write_xml(tmp_path / "Annotations" / "day 1" / "a.xml", found, filename="day 1/a.jpg")
    write_split(tmp_path, "day 1/a\n", "default")
    data = VOCDetection(tmp_path, "default")
    assert data.class_names == ["cat"] and data.image_names == ["day 1/a"]
    assert data[0][1]["boxes"].tolist() == [[9.5, 1, 20.25, 10]]


@pytest.mark.parametrize(
    "ending", [".tif", ".TIFF", ".Jpg", ".JPEG", ".webp", ".bmp", ".BMP", ".gif", ".ppm", ".PnG"]
)
def test_any_format_that_pillow_reads_in_any_case(tmp_path, ending):
    write_picture(tmp_path / "JPEGImages" / f"a{ending}")
    write_xml(tmp_path / "Annotations" / "a.XML", WHOLE)
    write_split(tmp_path, "a\n")
    assert read(tmp_path) == ([f"a{ending}"], [[[0, 0, 60, 40]]])


PICTURES = {  # pictures, annotation file → <filename>, and whose picture it is, or the error
    "the file's name": (["a.jpg"], {"a": "a.jpg"}, ["a.jpg"]),
    "renamed pictures": (["a.jpg"], {"a": "IMG_7.jpg"}, ["a.jpg"]),
    "filename": (["x.jpg"], {"a": "x.jpg"}, ["x.jpg"]),
    "a path": (["x.jpg"], {"a": r"C:\\photos\\x.jpg"}, ["x.jpg"]),
    "filename decides": (["a.jpg", "a.png"], {"a": "a.png"}, ["a.png"]),
    "no choice made": (["a.jpg", "a.png"], {"a": ""}, r"a\.xml: .* may be .*a\.jpg and .*a\.png"),
    "two answers": (["a.jpg", "x.jpg"], {"a": "x.jpg"}, r"a\.xml: .*a\.jpg, by its name, or .*x\."),
    "copied files": (["a.jpg", "b.jpg"], {"a": "a.jpg", "b": "a.jpg"}, ["a.jpg", "b.jpg"]),
    "another's": (["b.jpg"], {"a": "b.jpg", "b": "b.jpg"}, r"a\.jpg: no such picture .*b\.jpg, wh"),
    "one for two": (["x.jpg"], {"a": "x.jpg", "b": "x.jpg"}, r"x\.jpg: belongs to two .*a\.xml.*b"),
    "the whole name": (["a.jpg"], {"a.jpg": "a.jpg"}, ["a.jpg"]),
    "nowhere": (["x.jpg"], {"a": "y.jpg"}, r"a\.jpg: no such picture .*y\.jpg, which <filename>"),
    "climbing": (["x.jpg"], {"a": "../.."}, r"a\.jpg: no such picture .* one for .*a\.xml"),
    "no picture": (["a.txt"], {"a": "a.txt"}, r"a\.jpg: no such picture"),
}


@pytest.mark.parametrize("case", PICTURES)
def test_the_picture_of_an_annotation_file(tmp_path, case):
    pictures, annotations, wanted = PICTURES[case]
    for name in pictures:
        write_picture(tmp_path / "JPEGImages" / name) if name != "a.txt" else None
    for name, filename in annotations.items():
        write_xml(tmp_path / "Annotations" / f"{name}.xml", an_object(), filename=filename)
    write_split(tmp_path, "\n".join(annotations))
    if isinstance(wanted, str):
        with pytest.raises((ValueError, FileNotFoundError), match=wanted):
            VOCDetection(tmp_path, "train")
    else:
        assert read(tmp_path)[0] == wanted


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("gb2312", b""),
        ("gbk", b""),
        ("gb18030", b""),
        ("big5", b""),
        ("shift_jis", b""),
        ("euc-kr", b""),
        ("utf-16", b""),  # Python writes the mark
        ("utf-16-le", b"\xff\xfe"),
        ("utf-16-be", b""),
        ("utf-8", b"\xef\xbb\xbf"),
        ("utf-8", b""),
        ("iso-8859-1", b""),
        ("windows-1252", b""),
    ],
)
def test_declared_encodings(tmp_path, encoding, mark):
    name = {"euc-kr": "고양", "iso-8859-1": "Grün", "windows-1252": "Grün"}.get(encoding, "方")
    write_picture(tmp_path / "JPEGImages" / "a.png")
    path = tmp_path / "Annotations" / "a.xml"
    write_xml(path, an_object(name), encoding=encoding, mark=mark)
    write_split(tmp_path, "a\n")
    data = VOCDetection(tmp_path, "train")
    assert data.class_names == [name] and data[0][1]["boxes"].tolist() == [[10, 20, 50, 40]]


def test_more_characters_than_gb2312_declares(tmp_path):
    """朱镕基's second character is in GBK, not in GB2312; many files declare the latter."""
    write_picture(tmp_path / "a.png")
    write_xml(tmp_path / "a.xml", an_object("镕"), encoding="gbk")
    path = tmp_path / "a.xml"
    path.write_bytes(path.read_bytes().replace(b"gbk", b"gb2312"))
    with pytest.warns(UserWarning, match="all 1 XML files"):
        assert VOCDetection(tmp_path, "train").class_names == ["镕"]


def test_zero_based_corners_are_taken_as_they_are(tmp_path):
    add_image(tmp_path, "a", an_object(xmin=8, ymin=0, xmax=28, ymax=40))
    assert read(tmp_path, zero_based=True)[1] == [[[8, 0, 28, 40]]]
    assert read(tmp_path)[1] == [[[7, 0, 28, 40]]]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    add_image(tmp_path / "set", "a", an_object())
    assert read("~/set")[1] == [[[10, 20, 50, 40]]]


DOUBLED = {  # what stands twice → the object's or the file's fault
    "name": an_object().replace("<difficult>", "<name>dog</name><difficult>"),
    "xmin": an_object().replace("<xmin>11<", "<xmin>1</xmin><xmin>11<"),
    "bndbox": re.sub("(<bndbox>.*</bndbox>)", r"\1\1", an_object(), flags=re.S),
    "difficult": an_object().replace("<difficult>", "<difficult>0</difficult><difficult>"),
}


@pytest.mark.parametrize("tag", DOUBLED)
def test_a_tag_given_twice_is_a_fault_of_the_object(tmp_path, tag):
    add_image(tmp_path, "a", an_object(), DOUBLED[tag], an_object("dog"))
    with pytest.raises(ValueError, match=rf"a\.xml, object 2.* 2 times <{tag}>, expected once"):
        VOCDetection(tmp_path, "train")
    with pytest.warns(UserWarning, match="1 × tag given twice"):
        data = VOCDetection(tmp_path, "train", on_bad="skip")
    assert data[0][1]["labels"].tolist() == [0, 1] and data.class_names == ["cat", "dog"]


NO_ANNOTATIONS = {  # well-formed content → the message
    "a page": ("<html><body>404 Not Found</body></html>", "no XML, but a page of the web"),
    "a page of another kind": ("<rss><item/></rss>", "its root is <rss>, expected <annotation>"),
    "another format": ("<annotations><image id='0'/></annotations>", "its root is <annotations>"),
    "objects in a list": (f"<annotation><objects>{WHOLE}</objects></annotation>", "does not stand"),
    "a box alone": ("<annotation><bndbox/></annotation>", "does not stand"),
    "capital letters": ("<annotation><Object/></annotation>", "does not stand"),
    "two sizes": ("<annotation><size/><size/></annotation>", "2 times <size>"),
    "two widths": ("<annotation><size><width>1</width><width>2</width></size></annotation>", "2 t"),
    "two file names": ("<annotation><filename/><filename/></annotation>", "2 times <filename>"),
    "no text": ("<annotation><filename><b>a</b></filename></annotation>", "<filename> holds <b>"),
    "another encoding": ("<?xml version='1.0' encoding='utf-16'?><annotation/>", "declares 'utf-1"),
    "an unknown one": ("<?xml version='1.0' encoding='klingon'?><annotation/>", "klingon"),
    "no encoding": ("<?xml version='1.0' encoding='hex'?><annotation/>", "not a text encoding"),
    "not UTF-8": ("<annotation>Gr\xfcn</annotation>".encode("latin-1"), "malformed XML .*utf-8"),
    "entities in UTF-16": (
        f"<!DOCTYPE a [<!ENTITY e 'cat'>]><annotation>{WHOLE}</annotation>".encode("utf-16"),
        "declares XML entities",
    ),
    "and without a mark": (
        f"<!DOCTYPE a [<!ENTITY e 'cat'>]><annotation>{WHOLE}</annotation>".encode("utf-16-be"),
        "declares XML entities|malformed",
    ),
}


@pytest.mark.parametrize("case", NO_ANNOTATIONS)
def test_what_is_no_annotation_is_no_image_without_objects(tmp_path, case):
    content, message = NO_ANNOTATIONS[case]
    add_image(tmp_path, "a", an_object())
    add_image(tmp_path, "b", an_object())
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "Annotations" / "b.xml").write_bytes(content)
    with pytest.raises(ValueError, match=rf"b\.xml: .*{message}"):
        VOCDetection(tmp_path, "train")
    with pytest.warns(UserWarning, match=r"annotations left out: 1 × [^\n]*\n.*b\.xml"):
        assert len(VOCDetection(tmp_path, "train", on_bad="skip")) == 2


def test_a_pipe_is_not_waited_for(tmp_path):
    add_image(tmp_path, "a", an_object())
    (tmp_path / "Annotations" / "a.xml").unlink()
    os.mkfifo(tmp_path / "Annotations" / "a.xml")
    with pytest.raises(FileNotFoundError, match=r"a\.xml: no such file"):
        VOCDetection(tmp_path, "train")
    os.mkfifo(tmp_path / "ImageSets" / "Main" / "val.txt")
    with pytest.raises(FileNotFoundError, match=r"val\.txt: no such"):
        VOCDetection(tmp_path, "val")


FLAGS = {  # what <difficult> holds → 0 or 1; the flag costs no object
    "0": 0,
    "1": 1,
    "true": 1,
    "True": 1,
    "false": 0,
    "FALSE": 0,
    " yes ": 1,
    "no": 0,
    "Unspecified": 0,
    "": 0,
    "1.0": 1,
}


@pytest.mark.parametrize("text", FLAGS)
def test_difficult_in_every_spelling(tmp_path, text):
    add_image(tmp_path, "a", an_object(difficult=text))
    target = VOCDetection(tmp_path, "train")[0][1]
    assert target["difficult"].tolist() == [FLAGS[text]] and len(target["boxes"]) == 1


@pytest.mark.parametrize(
    "text", ["1_2", "١٢", "12px", "0x1F", "infinity", "12,5", "1e400", "9" * 20]
)
def test_what_is_no_number_is_not_read_as_one(tmp_path, text):
    add_image(tmp_path, "a", an_object(xmin=text, xmax=59))
    with pytest.raises(ValueError, match=r"a\.xml, object 1 \(cat\): xmin is '"):
        VOCDetection(tmp_path, "train")


def test_more_than_a_tenth_of_the_objects_is_not_left_out_unasked(tmp_path):
    flat = an_object(xmin=50, xmax=50)
    add_image(tmp_path, "a", flat, *[an_object(xmin=i) for i in range(1, 10)])
    with pytest.warns(UserWarning, match="annotations left out: 1 × box without area"):
        VOCDetection(tmp_path, "train", "skip").check(progress=False)
    add_image(tmp_path, "b", flat)
    with pytest.warns(UserWarning, match="annotations left out: 2 × box without area"):
        data = VOCDetection(tmp_path, "train", "skip")
    with pytest.raises(ValueError, match="2 of 11 annotations were left out, more than a tenth"):
        data.check(progress=False)


def test_bad_pictures_are_left_out_when_asked_for(tmp_path):
    for name in "abcd":
        add_image(tmp_path, name, an_object())
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    (tmp_path / "JPEGImages" / "c.jpg").write_bytes(b"cut off")
    with pytest.raises(FileNotFoundError, match=r"a\.jpg: no such picture.*skip_bad_images"):
        VOCDetection(tmp_path, "train")
    with pytest.warns(UserWarning, match=r"1 of 4 images left out(.|\n)*a\.jpg"):
        data = VOCDetection(tmp_path, "train", skip_bad_images=True)
    assert data.image_names == ["b", "c", "d"]
    with pytest.warns(UserWarning, match=r"1 of 3 images left out(.|\n)*c\.jpg"):
        data.check(progress=False)
    assert data.image_names == ["b", "d"] and len(data.images_left_out) == 2
    assert [path.name for path in data.image_paths] == ["b.jpg", "d.jpg"]
    assert [int(target["image_id"]) for _, target in data] == [1, 3]


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder"):
        VOCDetection(tmp_path / "nowhere", "train")


# One object each, over the pixels 11 to 50 and 21 to 40, with all that the tool writes beside it.
TOOLS = {
    "LabelImg": (
        "<annotation><folder>train</folder><filename>a.jpg</filename><path>C:\\me\\a.jpg</path>"
        "<source><database>Unknown</database></source><size><width>60</width><height>40</height>"
        "<depth>3</depth></size><segmented>0</segmented><object><name>cat</name>"
        "<pose>Unspecified</pose><truncated>1</truncated><difficult>0</difficult><bndbox>"
        "<xmin>11</xmin><ymin>21</ymin><xmax>50</xmax><ymax>40</ymax></bndbox></object></annotation>"
    ),
    "makesense": (
        "<annotation>\n\t<folder>my-project</folder>\n\t<filename>a.jpg</filename>\n\t"
        "<path>/my-project/a.jpg</path>\n\t<source>\n\t\t<database>Unspecified</database>\n\t"
        "</source>\n\t<size>\n\t\t<width>60</width>\n\t\t<height>40</height>\n\t\t<depth>3</depth>"
        "\n\t</size>\n\t<object>\n\t\t<name>cat</name>\n\t\t<pose>Unspecified</pose>\n\t\t"
        "<truncated>Unspecified</truncated>\n\t\t<difficult>Unspecified</difficult>\n\t\t<bndbox>"
        "\n\t\t\t<xmin>11</xmin>\n\t\t\t<ymin>21</ymin>\n\t\t\t<xmax>50</xmax>\n\t\t\t"
        "<ymax>40</ymax>\n\t\t</bndbox>\n\t</object>\n</annotation>"
    ),
    "Roboflow": (
        "<annotation><folder></folder><filename>a.jpg</filename><path>a.jpg</path><source>"
        "<database>roboflow.com</database></source><size><width>60</width><height>40</height>"
        "<depth>3</depth></size><segmented>0</segmented><object><name>cat</name><pose>Unspecified"
        "</pose><truncated>0</truncated><difficult>0</difficult><occluded>0</occluded><bndbox>"
        "<xmin>11</xmin><xmax>50</xmax><ymin>21</ymin><ymax>40</ymax></bndbox><polygon><x1>11</x1>"
        "<y1>21</y1></polygon></object></annotation>"
    ),
    "VOC 2011, with fractions and parts": (
        "<annotation><filename>a.jpg</filename><size><width>60</width><height>40</height><depth>3"
        "</depth></size><object><name>cat</name><bndbox><xmax>50.00</xmax><xmin>11.0</xmin><ymax>40"
        "</ymax><ymin>21</ymin></bndbox><part><name>head</name><bndbox><xmin>12</xmin><ymin>22"
        "</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></part></object></annotation>"
    ),
    "VoTT": (
        '<annotation verified="yes"><folder>Annotation</folder><filename>a.jpg</filename><path>x'
        "</path><source><database>Unknown</database></source><size><width>60</width><height>40"
        "</height><depth>3</depth></size><segmented>0</segmented><object><name>cat</name><pose>"
        "Unspecified</pose><truncated>0</truncated><difficult>0</difficult><bndbox><xmin>"
        "10.999999999999998</xmin><ymin>21</ymin><xmax>50</xmax><ymax>40</ymax></bndbox></object>"
        "</annotation>"
    ),
    "labelme, with no size of its own": (
        "<annotation><folder/><filename>a.jpg</filename><database/><annotation/><image/><size><height"
        "/><width/></size><segmented/><object><name>cat</name><pose/><truncated/><difficult/>"
        "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>50</xmax><ymax>40</ymax></bndbox></object>"
        "</annotation>"
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_what_tools_write_beside_the_box_costs_nothing(tmp_path, tool):
    write_picture(tmp_path / "train" / "a.jpg")
    (tmp_path / "train" / "a.xml").write_text(TOOLS[tool])
    data = VOCDetection(tmp_path, "train")
    assert data.class_names == ["cat"] and data[0][1]["difficult"].tolist() == [0]
    np.testing.assert_allclose(data[0][1]["boxes"].numpy(), [[10, 20, 50, 40]], atol=1e-5)


def test_a_turned_box_is_no_box(tmp_path):
    """As roLabelImg writes it; its extent would be larger than the object."""
    turned = "<robndbox><cx>20</cx><cy>20</cy><w>9</w><h>5</h><angle>0.5</angle></robndbox>"
    add_image(tmp_path, "a", re.sub("<bndbox>.*</bndbox>", turned, an_object(), flags=re.S))
    with pytest.raises(ValueError, match=r"a\.xml, object 1 \(cat\): xmin is None"):
        VOCDetection(tmp_path, "train")


def test_files_changed_at_random_are_read_as_a_second_reader_reads_them():
    """A hundred cases of VOC and YOLO; the script runs thousands."""
    path = Path(__file__).parent / "fuzz" / "fuzz_voc_yolo.py"
    spec = importlib.util.spec_from_file_location("fuzz_voc_yolo", path)
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    counts, wrong = fuzz.run_cases(count=100, seed=10_000)
    assert wrong == [] and min(counts["read"], counts["refused"]) > 20


# ----------------------------------------------------------------------------- real data


def boxes_by_regular_expression(path):
    """An independent reading of a BCCD file: (name, xmin, ymin, xmax, ymax) of each object."""
    number = r"\s*<{0}>(\d+)</{0}>\s*"
    corners = "".join(number.format(key) for key in ("xmin", "ymin", "xmax", "ymax"))
    pattern = r"<name>(\w+)</name>(?:(?!</object>).)*?<bndbox>" + corners + "</bndbox>"
    found = re.findall(pattern, path.read_text(), flags=re.S)
    return [(name, *map(int, numbers)) for name, *numbers in found]


def test_bccd_equals_a_manual_parse():
    root, total, kept, left_out = bccd(), 0, 0, 0
    for split, images in {"train": 205, "val": 87, "test": 72}.items():
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            start = time.process_time()
            data = VOCDetection(root, split, on_bad="skip")
            assert time.process_time() - start < 1  # measured 0.1 to 0.2 s of CPU
        assert len(data) == images and data.class_names == ["Platelets", "RBC", "WBC"]
        left_out += sum(data.left_out.values())
        for name, record in zip(data.image_names, data._records):
            raw = boxes_by_regular_expression(root / "Annotations" / f"{name}.xml")
            good = [o for o in raw if o[1] < o[3] and o[2] < o[4]]
            expected = np.array([o[1:] for o in good], dtype=np.float32) - [1, 1, 0, 0]
            np.testing.assert_array_equal(record.arrays["boxes"], expected)
            labels = [data.class_names[label] for label in record.arrays["labels"]]
            assert labels == [o[0] for o in good]
            total, kept = total + len(raw), kept + len(good)
    assert (total, kept, left_out) == (4888, 4886, 2)


def test_bccd_names_its_two_boxes_without_area():
    root = bccd()
    with pytest.raises(ValueError, match=r"BloodImage_00343\.xml, object 4 \(RBC\)"):
        VOCDetection(root, "train")
    with pytest.raises(ValueError, match=r"BloodImage_00338\.xml, object 13 \(RBC\)"):
        VOCDetection(root, "val")
    data = VOCDetection(root, "test")
    assert data.left_out == {}
    image, target = data[0]
    expected = np.asarray(Image.open(data.image_paths[0]).convert("RGB")) / np.float32(255)
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), expected)
    assert target["boxes"][0].tolist() == [192, 91, 387, 285]  # BloodImage_00007, a WBC

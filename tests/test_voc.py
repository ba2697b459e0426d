"""``VOCDetection``: corners, flags, classes of all splits, faults; BCCD against a manual parse."""

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
    with pytest.raises(ValueError, match="must differ"):
        VOCDetection(tmp_path, "train", class_names=["ant", "ant"])
    with pytest.raises(TypeError, match="sequence of strings"):
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
    with pytest.raises(ValueError, match='on_bad must be "raise" or "skip", got \'ignore\''):
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

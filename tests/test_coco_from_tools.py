"""COCO files as labelling programs leave them; each case is drawn here and its boxes are known.

Four pictures of 96 × 64 pixels show a square, (8, 8, 28, 28), and a bar, (50, 20, 80, 44). Whatever
a program writes around these numbers, the same eight boxes come out, or an error that says why not.
"""

import contextlib
import copy
import importlib.util
import io
import json
import os
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from pycocotools import mask as official_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detlearn.data import reading
from detlearn.data.coco import CocoDetection
from detlearn.data.reading import PictureFolder, picture_size, read_picture
from detlearn.metrics import coco_metrics

SQUARE, BAR = [8, 8, 20, 20], [50, 20, 30, 24]  # x, y, width, height
CORNERS = [[8, 8, 28, 28], [50, 20, 80, 44]]
SIZE = (96, 64)


def standard():
    """Four images with two objects each, written by the book."""
    images, annotations = [], []
    for i in range(4):
        images.append({"id": i + 1, "file_name": f"p{i}.png", "width": 96, "height": 64})
        for bbox, area in ((SQUARE, 400), (BAR, 720)):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": i + 1, "category_id": 1}
                | {"bbox": list(bbox), "area": area, "iscrowd": 0}
            )
    categories = [{"id": 1, "name": "square", "supercategory": "none"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def with_each(part, change):
    """The standard file, every entry of one list changed by ``change(entry, index)``."""
    content = standard()
    for index, entry in enumerate(content[part]):
        change(entry, index)
    return content


def write(folder, content, pictures=("p0.png", "p1.png", "p2.png", "p3.png")):
    """Write a file and its pictures; return the path of the file."""
    for name in pictures:
        path = folder / "img" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE, (40, 90, 160)).save(path)
    path = folder / "ann.json"
    path.write_text(json.dumps(content))
    return path


def read(folder, content, pictures=("p0.png", "p1.png", "p2.png", "p3.png"), **options):
    """Write the file and its pictures, and open the data set; any warning is an error."""
    path = write(folder, content, pictures)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return CocoDetection(folder / "img", path, **options)


def assert_eight_boxes(data, areas=(400, 720)):
    assert data.class_names == ["square"] and len(data) == 4
    for index in range(4):
        target = data.target(index)
        assert target["boxes"].tolist() == CORNERS
        assert target["labels"].tolist() == [0, 0] and target["iscrowd"].tolist() == [0, 0]
        assert target["area"].tolist() == list(areas)
    data.check(progress=False)


def set_values(**values):
    """A change of an entry; None takes the key out, a list gives the entries a value in turn."""

    def change(entry, index):
        for key, value in values.items():
            if value is None:
                del entry[key]
            else:
                entry[key] = value[index % len(value)] if isinstance(value, tuple) else value

    return change


# -------------------------------------------------------------- what decides nothing costs nothing


HARMLESS = {
    "ids start again with each image": set_values(id=(1, 2)),
    "no ids": set_values(id=None),
    "ids are words": set_values(id=("f3a9-77", "a")),
    "ids are null, true, lists": set_values(id=(float("nan"), True, [1])),
    "ids beyond 64 bits": set_values(id=(2**63, 2**64 + 5)),
    "area is null or text": set_values(area=(float("nan"), "", "wide", -1, [], float("inf"), True)),
    "no area": set_values(area=None),
    "area as text": set_values(area=("400", "720.0")),
    "no iscrowd": set_values(iscrowd=None),
    "iscrowd in every spelling": set_values(
        iscrowd=(0, 0.0, False, "0", "0.0", "false", "False", "", " no ", "n")
    ),
    "numbers as text": lambda a, i: a.update(bbox=[str(v) for v in a["bbox"]]),
    "numbers as text with fractions": lambda a, i: a.update(bbox=[f" {v}.0" for v in a["bbox"]]),
    "numbers with an exponent": lambda a, i: a.update(bbox=[f"{v:e}" for v in a["bbox"]]),
    "image ids as text": lambda a, i: a.update(image_id=str(a["image_id"])),
    "image ids as floats": lambda a, i: a.update(image_id=float(a["image_id"])),
    "category ids as text": set_values(category_id="1"),
    "category ids as floats": set_values(category_id=1.0),
    "category ids as text of floats": set_values(category_id="1.0"),
    "fields of other tools": set_values(
        attributes={"occluded": False, "rotation": 0.0}, keypoints=[], ignore=0, segmentation=[]
    ),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_decides_nothing_costs_no_box(tmp_path, case):
    assert_eight_boxes(read(tmp_path, with_each("annotations", HARMLESS[case])))


def test_null_is_as_good_as_left_out(tmp_path):
    def change(annotation, index):
        annotation.update(area=None, iscrowd=None, id=None, segmentation=None)

    assert_eight_boxes(read(tmp_path, with_each("annotations", change)))


@pytest.mark.parametrize("spelling", [1, 1.0, True, "1", "1.0", "true", "True", "YES", "t"])
def test_a_crowd_in_every_spelling(tmp_path, spelling):
    data = read(tmp_path, with_each("annotations", set_values(iscrowd=(0, spelling))))
    assert data.target(0)["iscrowd"].tolist() == [0, 1]


@pytest.mark.parametrize("text", ["1_2", "٤", "0x10", "8,5", "8 px", "", "--8", "1e", "."])
def test_text_that_is_no_number_is_not_taken_for_one(tmp_path, text):
    content = standard()
    content["annotations"][0]["bbox"][0] = text
    with pytest.raises(ValueError, match=r"ann\.json, annotation 1 of image 1: a value in bbox is"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "size",
    [
        {"width": "96", "height": "64"},
        {"width": 96.0, "height": 64.0},
        {"width": "96.0", "height": " 64 "},
        {"width": None, "height": None},
        {"width": 0, "height": 0},
        {"width": "", "height": ""},
    ],
)
def test_sizes_in_every_spelling(tmp_path, size):
    data = read(tmp_path, with_each("images", lambda image, i: image.update(size)))
    assert_eight_boxes(data)
    assert data._records[0].size == SIZE


@pytest.mark.parametrize("side", ["width", "height"])
@pytest.mark.parametrize("value", [95.5, "wide", -96, [96], True, 1e300])
def test_sizes_that_are_none(tmp_path, side, value):
    content = standard()
    content["images"][2][side] = value
    with pytest.raises(ValueError, match=rf"ann\.json, image 3: .*{side}"):
        read(tmp_path, content)


IMAGE_IDS = {  # → the integers of the samples
    "numbers": ([40, 7, 12, 3], [40, 7, 12, 3]),
    "negative and zero": ([0, -1, 5, 2], [0, -1, 5, 2]),
    "floats": ([4.0, 3.0, 2.0, 1.0], [4, 3, 2, 1]),
    "names of files": (["p3", "p0", "p2", "p1"], [3, 0, 2, 1]),
    "text sorts as text": (["9", "10", "11", "1"], [3, 1, 2, 0]),
    "leading zeros are names": (["007", "7", "07", "70"], [0, 2, 1, 3]),
    "words and numbers": (["b", 2, "a", 1], [3, 1, 2, 0]),
    "beyond 64 bits": ([2**63, 5, 2**70, 1], [2, 1, 3, 0]),
    "below 64 bits": ([-(2**63) - 1, 5, -(2**70), 1], [1, 3, 0, 2]),
}


@pytest.mark.parametrize("case", IMAGE_IDS)
def test_image_ids_of_every_kind(tmp_path, case):
    ids, numbers = IMAGE_IDS[case]
    content = standard()
    for i, image in enumerate(content["images"]):
        image["id"] = ids[i]
    for i, annotation in enumerate(content["annotations"]):
        annotation["image_id"] = ids[i // 2]
    data = read(tmp_path, content)
    assert_eight_boxes(data)
    assert [int(data[i][1]["image_id"]) for i in range(4)] == numbers
    assert data.image_ids == ids


# ------------------------------------------------------------------------------ segmentations

POLYGONS = {
    "by the book": ([[8, 8, 28, 8, 28, 28, 8, 28]], [[50, 20, 80, 20, 80, 44, 50, 44]]),
    "text": ([["8", "8", "28", "8", "28", "28", "8", "28"]], [list("0123")]),
    "one alone": ([8, 8, 28, 8, 28, 28, 8, 28], [50, 20, 80, 20, 80, 44, 50, 44]),
    "pairs": ([[8, 8], [28, 8], [28, 28], [8, 28]], [[50, 20], [80, 20], [80, 44], [50, 44]]),
    "lists of pairs": (
        [[[8, 8], [28, 8], [28, 28], [8, 28]]],
        [[[50, 20], [80, 20], [80, 44], [50, 44]]],
    ),
    "two parts": (
        [[8, 8, 18, 8, 18, 28, 8, 28], [18, 8, 28, 8, 28, 28, 18, 28]],
        [[50, 20, 65, 20, 65, 44, 50, 44], [65, 20, 80, 20, 80, 44, 65, 44]],
    ),
}
POLYGONS["text"] = (POLYGONS["text"][0], [[str(v) for v in POLYGONS["by the book"][1][0]]])


@pytest.mark.parametrize("box", ["absent", "null", "empty"])
@pytest.mark.parametrize("case", POLYGONS)
def test_polygons_without_a_box_give_their_extent_and_area(tmp_path, case, box):
    def change(annotation, index):
        annotation["segmentation"] = POLYGONS[case][index % 2]
        annotation["bbox"] = {"null": None, "empty": []}.get(box)
        if box == "absent":
            del annotation["bbox"], annotation["area"]

    assert_eight_boxes(read(tmp_path, with_each("annotations", change)))


def test_extent_of_slanted_polygons(tmp_path):
    """A triangle, half of its box: area 10 · 20 / 2."""
    content = standard()
    content["annotations"] = content["annotations"][:1]
    content["annotations"][0]["segmentation"] = [[10.5, 4, 20.5, 4, 15, 24]]
    del content["annotations"][0]["bbox"], content["annotations"][0]["area"]
    target = read(tmp_path, content).target(0)
    assert target["boxes"].tolist() == [[10.5, 4, 20.5, 24]] and target["area"].tolist() == [100]


def rectangle_mask(x, y, width, height):
    mask = np.zeros((64, 96), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    return mask


def uncompressed(mask):
    """Counts down the columns, of zeros first."""
    pixels = mask.flatten(order="F").astype(int)
    edges = np.flatnonzero(np.diff(pixels)) + 1
    counts = np.diff([0, *edges, len(pixels)]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if pixels[0] else counts}


def compressed(mask):
    encoded = official_masks.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


@pytest.mark.parametrize("encode", [uncompressed, compressed])
def test_masks_without_a_box_give_their_extent_and_area(tmp_path, encode):
    def change(annotation, index):
        annotation["segmentation"] = encode(rectangle_mask(*annotation["bbox"]))
        del annotation["bbox"], annotation["area"]

    assert_eight_boxes(read(tmp_path, with_each("annotations", change)))


def test_segmentations_by_hand(tmp_path):
    """Corners the other way round; a run from pixel 70 to 169 of columns of 64 pixels."""
    content = standard()
    for annotation in content["annotations"]:
        del annotation["bbox"], annotation["area"]
        annotation["segmentation"] = [[8, 28, 28, 28, 28, 8, 8, 8]]
    mask = {"size": [64, 96], "counts": [70, 100, 64 * 96 - 170]}
    content["annotations"][1]["segmentation"] = mask
    target = read(tmp_path, content).target(0)
    assert target["boxes"].tolist() == [[8, 8, 28, 28], [1, 0, 3, 64]]
    assert target["area"].tolist() == [400, 100]


def test_a_compressed_mask_by_hand(tmp_path):
    """Runs of 2, 3, 4, 1, 2 pixels down columns of 4: the last two are stored as 1 − 3 and 2 − 4.

    Such a −2 is 30 in five bits, whose highest is the sign; 30 characters behind "0" stands "N".
    """
    content = standard()
    content["images"] = [{"id": 1, "file_name": "p0.png", "width": 3, "height": 4}]
    mask = {"size": [4, 3], "counts": "234NN"}
    content["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": mask}
    ]
    target = read(tmp_path, content).target(0)
    assert target["boxes"].tolist() == [[0, 0, 3, 4]] and target["area"].tolist() == [4]
    assert official_masks.area(mask) == 4 and official_masks.toBbox(mask).tolist() == [0, 0, 3, 4]


@pytest.mark.parametrize("encode", [uncompressed, compressed])
def test_random_masks_equal_pycocotools(tmp_path, encode):
    rng = np.random.default_rng(0)
    content = standard()
    masks = []
    for _ in range(60):
        mask = np.zeros((64, 96), np.uint8, order="F")
        x, y = rng.integers(0, 96), rng.integers(0, 64)
        mask[y : y + rng.integers(1, 64), x : x + rng.integers(1, 96)] = 1
        masks.append(np.asfortranarray(mask & (rng.random(mask.shape) < rng.choice([0.1, 1]))))
    masks = [mask for mask in masks if mask.any()]
    content["annotations"] = [
        {"image_id": 1, "category_id": 1, "segmentation": encode(mask)} for mask in masks
    ]
    target = read(tmp_path, content).target(0)

    official = [official_masks.encode(mask) for mask in masks]
    xywh = torch.tensor(official_masks.toBbox(official), dtype=torch.float32)
    assert torch.equal(target["boxes"], torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1))
    assert target["area"].tolist() == official_masks.area(official).tolist()


def test_the_area_of_a_mask_stands_in_for_one_that_is_left_out(tmp_path):
    content = standard()
    del content["annotations"][0]["area"], content["annotations"][1]["area"]
    content["annotations"][0]["segmentation"] = [[8, 8, 28, 8, 8, 28]]  # half of the square
    content["annotations"][1]["segmentation"] = [["x"]]  # nothing to be had: the box's
    assert read(tmp_path, content).target(0)["area"].tolist() == [200, 720]


BAD_SEGMENTATIONS = {
    "two corners": ([[8, 8, 28, 28]], "bad segmentation|expected polygons"),
    "odd": ([[8, 8, 28, 8, 28, 28, 8]], "expected polygons"),
    "word": ("mask.png", "expected polygons"),
    "line": ([[8, 8, 18, 8, 28, 8]], "nothing lies in"),
    "nan": ([[8, 8, float("nan"), 8, 28, 28]], "a value in segmentation is nan"),
    "deep": ([[[[8, 8]]]], "expected polygons"),
    "other size": ({"size": [96, 64], "counts": [0, 6144]}, r"mask has the size \[96, 64\]"),
    "no size": ({"counts": [0, 6144]}, "'size' is missing"),
    "no counts": ({"size": [64, 96]}, "'counts' is missing"),
    "too few": ({"size": [64, 96], "counts": [0, 6143]}, "add up to 6143, expected 6144"),
    "negative": ({"size": [64, 96], "counts": [-1, 6145]}, "expected numbers of pixels"),
    "fractions": ({"size": [64, 96], "counts": [0.5, 6143.5]}, "expected numbers of pixels"),
    "cut off": ({"size": [64, 96], "counts": "PPP"}, "counts is cut off"),
    "no characters of a mask": ({"size": [64, 96], "counts": "a b"}, "the character ' '"),
    "empty mask": ({"size": [64, 96], "counts": [6144]}, "nothing lies in"),
}


@pytest.mark.parametrize("case", BAD_SEGMENTATIONS)
def test_segmentations_that_give_no_box_name_their_annotation(tmp_path, case):
    segmentation, message = BAD_SEGMENTATIONS[case]
    content = standard()
    content["annotations"][1]["segmentation"] = segmentation
    assert_eight_boxes(read(tmp_path, content))  # with a box they do no harm
    del content["annotations"][1]["bbox"]
    with pytest.raises(ValueError, match=rf"ann\.json, annotation 2 of image 1: .*({message})"):
        read(tmp_path, content)


# --------------------------------------------------------------------------------- categories


def test_the_root_of_a_tree_is_no_class(tmp_path):
    content = standard()
    content["categories"] = [
        {"id": 0, "name": "things", "supercategory": "none"},
        {"id": 1, "name": "square", "supercategory": "things"},
    ]
    data = read(tmp_path, content)
    assert_eight_boxes(data)
    assert data.category_ids == [1]


def test_a_root_with_the_name_of_the_only_class(tmp_path):
    content = standard()
    content["categories"] = [
        {"id": 0, "name": "square", "supercategory": "none"},
        {"id": 1, "name": "square", "supercategory": "square"},
    ]
    assert_eight_boxes(read(tmp_path, content))


def test_a_root_that_has_annotations_is_a_class(tmp_path):
    content = standard()
    content["annotations"][0]["category_id"] = 0
    content["categories"] = [
        {"id": 0, "name": "things", "supercategory": "none"},
        {"id": 1, "name": "square", "supercategory": "things"},
    ]
    data = read(tmp_path, content)
    assert data.class_names == ["things", "square"]
    assert data.target(0)["labels"].tolist() == [0, 1]


def test_an_unused_class_that_is_its_own_parent_stays(tmp_path):
    """COCO's person has the supercategory person."""
    content = standard()
    content["categories"] = [
        {"id": 1, "name": "square", "supercategory": "shape"},
        {"id": 2, "name": "person", "supercategory": "person"},
    ]
    assert read(tmp_path, content).class_names == ["square", "person"]


def test_two_classes_of_one_name_with_annotations_are_an_error_with_both_ids(tmp_path):
    content = with_each("annotations", set_values(category_id=(1, 5)))
    content["categories"].append({"id": 5, "name": "square"})
    with pytest.raises(ValueError, match=r"ann\.json: two categories .*'square'.* ids 1 and 5"):
        read(tmp_path, content)


@pytest.mark.parametrize("used", [1, 5])
def test_a_second_class_of_one_name_without_annotations_does_no_harm(tmp_path, used):
    content = with_each("annotations", set_values(category_id=used))
    content["categories"].append({"id": 5, "name": "square"})
    data = read(tmp_path, content)
    assert_eight_boxes(data)
    assert data.category_ids == [used]


def test_ids_of_classes_sort_as_numbers_and_with_words_as_text(tmp_path):
    content = standard()
    names = {"2": "b", "10": "c", "1": "square"}
    content["categories"] = [{"id": i, "name": name} for i, name in names.items()]
    data = read(tmp_path, content)
    assert data.class_names == ["square", "b", "c"] and data.category_ids == ["1", "2", "10"]

    content["categories"].append({"id": "x", "name": "d"})
    assert read(tmp_path, content).category_ids == ["1", "10", "2", "x"]


def test_digits_as_names(tmp_path):
    content = standard()
    content["categories"][0]["name"] = 7
    assert read(tmp_path, content).class_names == ["7"]


def test_classes_are_matched_by_name_whatever_their_order_and_ids(tmp_path):
    content = with_each("annotations", set_values(category_id=(3, 8)))
    content["categories"] = [{"id": 3, "name": "square"}, {"id": 8, "name": "bar"}]
    first = read(tmp_path, content)
    assert first.class_names == ["square", "bar"]
    assert first.target(0)["labels"].tolist() == [0, 1]

    # Another file of the same classes, with other ids in another order, and one class more.
    other = with_each("annotations", set_values(category_id=(9, 2)))
    other["categories"] = [
        {"id": 2, "name": "bar"},
        {"id": 5, "name": "unused"},
        {"id": 9, "name": "square"},
    ]
    second = read(tmp_path, other, class_names=first.class_names)
    assert second.class_names == ["square", "bar"] and second.category_ids == [9, 2]
    assert second.target(0)["labels"].tolist() == [0, 1]

    # A class that this file does not have keeps its label.
    third = read(tmp_path, standard(), class_names=["bar", "square", "other"])
    assert third.class_names == ["bar", "square", "other"]
    assert third.category_ids == [None, 1, None]
    assert third.target(0)["labels"].tolist() == [1, 1]


def test_objects_of_a_class_that_is_not_asked_for_are_named(tmp_path):
    content = with_each("annotations", set_values(category_id=(1, 2)))
    content["categories"].append({"id": 2, "name": "bar"})
    with pytest.raises(ValueError, match=r"annotation 2 of image 1: its class 'bar' is none of"):
        read(tmp_path, content, class_names=["square"])
    with pytest.warns(UserWarning, match="4 × class 'bar' not asked for"):
        data = CocoDetection(
            tmp_path / "img", tmp_path / "ann.json", on_bad="skip", class_names=["square"]
        )
    assert data.target(0)["labels"].tolist() == [0]
    with pytest.raises(ValueError, match="4 of 8 annotations were left out, more than a tenth"):
        data.check(progress=False)
    data.check(accept_left_out=True, progress=False)


@pytest.mark.parametrize(
    "names, error, message",
    [
        ("square", TypeError, "sequence of strings"),
        ([1], TypeError, "sequence of strings"),
        ([], ValueError, "one name or more"),
        (["a", "a"], ValueError, "differ"),
        (["square", ""], ValueError, "one name or more"),
        (["cat", "dog"], ValueError, r"ann\.json: none of the classes \['cat', 'dog'\]"),
    ],
)
def test_names_that_cannot_be_asked_for(tmp_path, names, error, message):
    with pytest.raises(error, match=message):
        read(tmp_path, standard(), class_names=names)


def test_a_file_without_categories_has_no_class(tmp_path):
    content = standard() | {"categories": [], "annotations": []}
    with pytest.raises(ValueError, match=r"ann\.json: .*'categories' is empty, so there is no cl"):
        read(tmp_path, content)


# ------------------------------------------------------------------------ where pictures are

PLAIN = ("p0.png", "p1.png", "p2.png", "p3.png")
STORED = {  # how a program writes the path of p0.png → where the pictures lie
    "climbs, with backslashes": ("..\\..\\studio\\media\\upload\\4\\p{}.png", PLAIN),
    "climbs later": ("a/../../p{}.png", PLAIN),
    "absolute": ("/data/upload/4/p{}.png", PLAIN),
    "a drive": ("C:\\Users\\me\\p{}.png", PLAIN),
    "of a URL": ("https://host/bucket/p{}.png?token=a/b", PLAIN),
    "of a file URL": ("file:///home/me/p{}.png", PLAIN),
    "of a local store": ("/data/local-files/?d=shots/p{}.png", PLAIN),
    "a folder of the export": ("images/p{}.png", PLAIN),
    "the end of it": ("/srv/old/train/p{}.png", tuple(f"train/p{i}.png" for i in range(4))),
    "in a folder below": ("p{}.png", tuple(f"deep/er/p{i}.png" for i in range(4))),
    "quoted": ("p%20{}.png", tuple(f"p {i}.png" for i in range(4))),
    "quoted with a folder": ("shots%2Fp%20{}.png", tuple(f"shots/p {i}.png" for i in range(4))),
    "ending in capitals": ("p{}.png", tuple(f"p{i}.PNG" for i in range(4))),
    "name in capitals": ("IMG_{}.PNG", tuple(f"img_{i}.png" for i in range(4))),
    "accents in two parts": ("e\u0301{}.png", tuple(f"\u00e9{i}.png" for i in range(4))),
    "a dot in front": ("./p{}.png", PLAIN),
    "a name with signs": ("a#{}?.png", tuple(f"a#{i}?.png" for i in range(4))),
    "a name that looks quoted": ("100%25{}.png", tuple(f"100%25{i}.png" for i in range(4))),
}


@pytest.mark.parametrize("case", STORED)
def test_pictures_are_found_by_what_programs_store(tmp_path, case):
    stored, pictures = STORED[case]
    content = with_each("images", lambda image, i: image.update(file_name=stored.format(i)))
    data = read(tmp_path, content, pictures)
    assert_eight_boxes(data)
    assert data.image_paths == [tmp_path / "img" / name for name in pictures]


def test_two_folders_with_the_same_names_are_told_apart(tmp_path):
    pictures = ("a/p.png", "b/p.png", "c/p.png", "d/p.png")
    content = with_each("images", lambda im, i: im.update(file_name=f"/old/{'abcd'[i]}/p.png"))
    assert read(tmp_path, content, pictures).image_paths == [
        tmp_path / "img" / name for name in pictures
    ]


def test_nothing_outside_the_folder_is_read(tmp_path):
    Image.new("RGB", SIZE).save(tmp_path / "secret.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "x/../../secret.png", ".."):
        content = standard()
        content["images"][0]["file_name"] = name
        with pytest.raises(FileNotFoundError, match=r"ann\.json, image 1: its picture .*missing"):
            read(tmp_path, content)


AMBIGUOUS = {  # stored paths of images 1 and 2, pictures, message
    "two files": (("x/q.png", "p1.png"), ("a/q.png", "b/q.png"), "several files have its name"),
    "two in capitals": (("Q.png", "p1.png"), ("q.png", "q.PNG"), "several files have its name"),
    "two images": (("x/q.png", "y/q.png"), ("q.png",), r"of another image whose path ends in 'q"),
    "one stands there": (("q.png", "y/q.png"), ("q.png",), "of another image"),
    "one below another": (("x/q.png", "p1.png"), ("q.png", "b/q.png"), "several files"),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_a_path_that_could_mean_two_pictures_is_an_error(tmp_path, case):
    stored, pictures, message = AMBIGUOUS[case]
    content = standard()
    for image, name in zip(content["images"], stored):
        image["file_name"] = name
    with pytest.raises(FileNotFoundError, match=rf"ann\.json, image [12]: .*{message}"):
        read(tmp_path, content, (*pictures, *PLAIN[1:]))


@pytest.mark.parametrize(
    "name", ["", "a\0b.png", "x" * 5000 + ".png", "\ud800.png", "/", "..", "?"]
)
def test_paths_that_no_file_can_have(tmp_path, name):
    content = standard()
    content["images"][0]["file_name"] = name
    with pytest.raises((ValueError, FileNotFoundError), match=r"ann\.json, image 1: .*its picture"):
        read(tmp_path, content)


def test_a_folder_is_searched_once(tmp_path, monkeypatch):
    walks = []
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda root: walks.append(root) or walk(root))
    read(tmp_path, standard())
    assert walks == []
    content = with_each("images", lambda im, i: im.update(file_name=f"/old/p{i}.png"))
    read(tmp_path, content)
    assert len(walks) == 1


def test_a_picture_folder_by_hand(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jpg").touch()
    folder = PictureFolder(tmp_path, ["D:\\x\\A.JPG"])
    assert folder.find("D:\\x\\A.JPG") == tmp_path / "sub" / "a.jpg"


# --------------------------------------------------------------------- what is in the pictures


@pytest.mark.parametrize(
    "ending", ["tif", "webp", "gif", "bmp", "jp2", "ppm", "tga", "avif", "Jpg"]
)
def test_any_format_that_pillow_reads(tmp_path, ending):
    names = tuple(f"p{i}.{ending}" for i in range(4))
    content = with_each("images", lambda image, i: image.update(file_name=names[i]))
    data = read(tmp_path, content, names)
    assert_eight_boxes(data)
    assert data[0][0].shape == (3, 64, 96)


@pytest.mark.parametrize("ending", ["jpg", "tif", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_in_the_header_is_that_of_the_upright_picture(tmp_path, orientation, ending):
    """Orientations 5 to 8 swap the sides, two of them mirrored; decoding must agree."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    upright = (64, 96) if orientation >= 5 else (96, 64)
    for mode in ("RGB", "L"):
        Image.new(mode, SIZE).save(path, exif=exif)
        assert picture_size(path) == upright
        assert read_picture(path).shape == (3, upright[1], upright[0])


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_tiff_files_have_every_pixel_in_its_place(tmp_path, orientation, mode):
    """Pillow applies their turn itself, and to grey files wrongly if it is given a path."""
    stored = np.arange(24 * 16, dtype=np.uint8).reshape(16, 24)
    upright = {  # by the EXIF standard: where the stored first row and column are seen
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.T,
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].T,
        8: np.rot90(stored),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.tif"
    Image.fromarray(stored).convert(mode).save(path, exif=exif)
    assert (read_picture(path)[0].numpy() * 255).round().tolist() == upright.tolist()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_size_of_the_turned_pixels_is_said_before_the_first_step(tmp_path, orientation):
    names = (*PLAIN[:3], "p3.jpg")
    content = standard()
    content["images"][3]["file_name"] = "p3.jpg"
    write(tmp_path, content, names)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (64, 96)).save(tmp_path / "img" / "p3.jpg", exif=exif)
    assert_eight_boxes(CocoDetection(tmp_path / "img", tmp_path / "ann.json"))

    # The same picture, whose size in the file is that of the pixels as they are stored.
    content["images"][3].update(width=64, height=96)
    content["annotations"] = content["annotations"][:7]
    (tmp_path / "ann.json").write_text(json.dumps(content))
    data = CocoDetection(tmp_path / "img", tmp_path / "ann.json")
    for decode in (True, False):
        with pytest.raises(ValueError, match=r"p3\.jpg: .* 96×64 .* say 64×96: was the EXIF"):
            data.check(decode=decode, progress=False)

    # Without a size in the file the upright one counts.
    del content["images"][3]["width"], content["images"][3]["height"]
    (tmp_path / "ann.json").write_text(json.dumps(content))
    data = CocoDetection(tmp_path / "img", tmp_path / "ann.json")
    data.check(progress=False)
    assert data.target(3)["boxes"].tolist() == [[8, 8, 28, 28]]


def noise(path, **options):
    """A picture that does not compress, so that a cut is felt."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


@pytest.mark.parametrize(
    "name, options",
    [("c.jpg", {}), ("c.jpg", {"progressive": True}), ("c.png", {}), ("c.webp", {}), ("c.tif", {})],
)
@pytest.mark.parametrize("missing", [40, 2000])  # of a PNG, the last 20 hold no pixels
def test_a_picture_that_is_cut_off_is_found_before_the_first_step(tmp_path, name, options, missing):
    content = standard()
    content["images"][3]["file_name"] = name
    path = write(tmp_path, content, (*PLAIN[:3],))
    picture = tmp_path / "img" / name
    noise(picture, **options)
    CocoDetection(tmp_path / "img", path).check(progress=False)

    picture.write_bytes(picture.read_bytes()[:-missing])
    data = CocoDetection(tmp_path / "img", path)
    with pytest.raises(ValueError, match=rf"{name}: cannot be read .*skip_bad_images=True"):
        data.check(progress=False)

    data = CocoDetection(tmp_path / "img", path, skip_bad_images=True)
    with pytest.warns(UserWarning, match=rf"1 of 4 images left out(.|\n)*{name}"):
        data.check(progress=False)
    assert len(data) == 3 and data.image_ids == [1, 2, 3] and len(data.images_left_out) == 1
    assert data.target(2)["boxes"].tolist() == CORNERS


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (40, 5), (7, 7)])
def test_a_small_jpeg_passes_the_check(tmp_path, size):
    """An eighth of its size, at which the check decodes it, is less than a pixel."""
    Image.new("RGB", size, (200, 0, 0)).save(tmp_path / "p.jpg")
    reading.check_picture(tmp_path / "p.jpg", size, decode=True)
    (tmp_path / "p.jpg").write_bytes((tmp_path / "p.jpg").read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"p\.jpg: cannot be read as a picture"):
        reading.check_picture(tmp_path / "p.jpg", size, decode=True)


def test_a_missing_picture_is_said_or_left_out_with_its_objects(tmp_path):
    path = write(tmp_path, standard(), (PLAIN[0], PLAIN[2], PLAIN[3]))
    with pytest.raises(
        FileNotFoundError, match=r"ann\.json, image 2: its picture 'p1\.png' is missing.*skip_bad"
    ):
        CocoDetection(tmp_path / "img", path)
    with pytest.warns(UserWarning, match=r"1 of 4 images left out") as caught:
        data = CocoDetection(tmp_path / "img", path, skip_bad_images=True)
    assert caught[0].filename == __file__
    assert data.image_ids == [1, 3, 4] and data.left_out == {}
    assert data.target(1)["boxes"].tolist() == CORNERS and data.target(1)["image_id"] == 3
    assert len(data.images_left_out) == 1 and "image 2" in data.images_left_out[0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html><body>404 Not Found</body></html>",
        b"version https://git-lfs.github.com/spec/v1",
    ],
)
def test_what_is_no_picture_is_found_by_its_header(tmp_path, content):
    path = write(tmp_path, standard())
    (tmp_path / "img" / "p2.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"p2\.png: cannot be read as a picture"):
        CocoDetection(tmp_path / "img", path).check(decode=False, progress=False)


def test_pictures_of_iphones(tmp_path, monkeypatch):
    """Pillow does not read HEIC; with the package pillow-heif it does."""
    path = write(tmp_path, standard())
    (tmp_path / "img" / "p2.png").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    message = r"p2\.png: cannot be read as a picture .* in HEIC.*: install pillow-heif"
    with pytest.raises(ValueError, match=message):
        CocoDetection(tmp_path / "img", path).check(decode=False, progress=False)

    # What that package does when it is asked to: tell Pillow of one more format.
    class Opened(ImageFile.ImageFile):
        def _open(self):
            self._size, self._mode, self.tile = SIZE, "RGB", []

    fake = types.ModuleType("pillow_heif")
    fake.register_heif_opener = lambda: Image.register_open(
        "HEIF", Opened, lambda start: start[4:12] == b"ftypheic"
    )
    monkeypatch.setitem(sys.modules, "pillow_heif", fake)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    reading._readable_formats.cache_clear()
    try:
        CocoDetection(tmp_path / "img", path).check(decode=False, progress=False)
    finally:
        reading._readable_formats.cache_clear()


def test_pictures_that_are_pipes_folders_or_programs_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png"):
        for reader in (read_picture, picture_size):
            with pytest.raises(ValueError, match=rf"{name}: is no file but a folder, a pipe"):
                reader(tmp_path / name)
    with pytest.raises(ValueError, match="/dev/zero: is no file"):
        read_picture("/dev/zero")
    with pytest.raises(FileNotFoundError, match=r"none\.png: no such picture"):
        read_picture(tmp_path / "none.png")

    # A program in PostScript, which another program would have to run.
    Image.new("RGB", SIZE).save(tmp_path / "a.eps")
    with pytest.raises(ValueError, match=r"a\.eps: cannot be read as a picture"):
        picture_size(tmp_path / "a.eps")

    # A pipe in place of a picture or of the annotation file.
    content = standard()
    path = write(tmp_path, content, PLAIN[:3])
    os.mkfifo(tmp_path / "img" / "p3.png")
    with pytest.raises(FileNotFoundError, match=r"image 4: its picture"):
        CocoDetection(tmp_path / "img", path)
    with pytest.raises(FileNotFoundError, match=r"pipe\.png: no such file"):
        CocoDetection(tmp_path / "img", tmp_path / "pipe.png")


# -------------------------------------------------------------------------------- nothing silently


def test_left_out_annotations_are_counted_by_kind_with_the_first(tmp_path):
    content = with_each("annotations", set_values(bbox=None))
    path = write(tmp_path, content)
    with pytest.warns(UserWarning, match=r"8 × missing key 'bbox'") as caught:
        data = CocoDetection(tmp_path / "img", path, on_bad="skip")
    assert "ann.json, annotation 1 of image 1: the key 'bbox' is missing" in str(caught[0].message)
    assert data.left_out == {"missing key 'bbox'": 8}
    with pytest.raises(ValueError, match=r"8 of 8 annotations were left out.*8 × missing key 'bb"):
        data.check(progress=False)


@pytest.mark.parametrize("num_bad, stops", [(1, False), (2, True)])
def test_a_tenth_may_be_left_out_and_no_more(tmp_path, num_bad, stops):
    """Of 10 annotations."""
    content = standard()
    content["annotations"] += copy.deepcopy(content["annotations"][:2])
    for annotation in content["annotations"][:num_bad]:
        annotation["bbox"] = [0, 0, -1, 5]
    path = write(tmp_path, content)
    with pytest.warns(UserWarning, match=f"{num_bad} × box without area"):
        data = CocoDetection(tmp_path / "img", path, on_bad="skip")
    with pytest.raises(ValueError, match="more than") if stops else contextlib.nullcontext():
        data.check(progress=False)


@pytest.mark.parametrize("annotations", [[], "crowds"])
def test_a_data_set_without_an_object_is_an_error_unless_asked_for(tmp_path, annotations):
    content = standard()
    if annotations == "crowds":
        content = with_each("annotations", set_values(iscrowd=1))
    else:
        content["annotations"] = []
    data = read(tmp_path, content)
    with pytest.raises(ValueError, match=r"ann\.json.*none of the 4 images shows an object"):
        data.check(progress=False)
    data.check(accept_empty=True, progress=False)


@pytest.mark.parametrize(
    "part, key",
    [("images", "id"), ("images", "file_name"), ("categories", "id"), ("categories", "name")],
)
def test_a_missing_key_is_named(tmp_path, part, key):
    content = with_each(part, set_values(**{key: None}))
    with pytest.raises(ValueError, match=rf"ann\.json, .*the key '{key}' is missing"):
        read(tmp_path, content)


# ------------------------------------------------------------------- whole exports of known tools


def test_an_export_of_roboflow(tmp_path):
    """A root category, names with a hash, a size as always, a segmentation of zero length."""
    content = standard()
    content["info"] = {"year": "2024", "version": "1"}
    content["licenses"] = [{"id": 1, "url": "https://example.org", "name": "CC BY 4.0"}]
    content["categories"] = [
        {"id": 0, "name": "shapes-x7Qp", "supercategory": "none"},
        {"id": 1, "name": "square", "supercategory": "shapes-x7Qp"},
    ]
    names = tuple(f"p{i}_png.rf.9f0c{i}.jpg" for i in range(4))
    for image, name in zip(content["images"], names):
        image.update(file_name=name, license=1, extra={"name": "p.png"})
    for annotation in content["annotations"]:
        annotation["segmentation"] = []
    assert_eight_boxes(read(tmp_path, content, names))


def test_an_export_of_label_studio(tmp_path):
    """Ids from 0, paths of its server, polygons, an area that is text, no supercategory."""
    content = standard()
    for image in content["images"]:
        image["file_name"] = f"images\\\\1f0a-{image['file_name']}"
        image["id"] -= 1
    for index, annotation in enumerate(content["annotations"]):
        annotation.update(id=index, image_id=annotation["image_id"] - 1, category_id=0)
        annotation.update(ignore=0, area=str(annotation["area"]))
    content["categories"] = [{"id": 0, "name": "square"}]
    assert_eight_boxes(read(tmp_path, content, tuple(f"1f0a-p{i}.png" for i in range(4))))


def test_an_export_of_cvat(tmp_path):
    """Attributes, an empty supercategory, masks as uncompressed runs with an area, floats."""
    content = standard()
    content["categories"][0]["supercategory"] = ""
    for annotation in content["annotations"]:
        annotation["segmentation"] = uncompressed(rectangle_mask(*annotation["bbox"]))
        annotation["bbox"] = [float(v) for v in annotation["bbox"]]
        annotation["attributes"] = {"occluded": False, "track_id": 4, "keyframe": True}
        annotation["area"] = float(annotation["area"])
    assert_eight_boxes(read(tmp_path, content))


def test_labelme_turned_into_coco(tmp_path):
    """Polygons as pairs, no boxes, no ids of annotations, folders of the machine it ran on."""
    content = standard()
    for image in content["images"]:
        image["file_name"] = f"JPEGImages\\{image['file_name']}"
    for annotation in content["annotations"]:
        x, y, w, h = annotation.pop("bbox")
        annotation["segmentation"] = [[[x, y], [x + w, y], [x + w, y + h], [x, y + h]]]
        del annotation["id"], annotation["area"]
    assert_eight_boxes(read(tmp_path, content))


def test_an_export_of_via(tmp_path):
    """Image and category ids are text in one list and numbers in the other, sizes are 0."""
    content = standard()
    for image in content["images"]:
        image.update(id=str(image["id"]), width=0, height=0, coco_url="", flickr_url="")
    content["categories"][0]["id"] = "1"
    assert_eight_boxes(read(tmp_path, content))


def test_an_export_of_fiftyone(tmp_path):
    """Null where nothing is known, categories with a null supercategory, data/ before the names."""
    content = standard()
    content["categories"][0]["supercategory"] = None
    for image in content["images"]:
        image.update(file_name=f"data/{image['file_name']}", license=None, coco_url=None)
    for annotation in content["annotations"]:
        annotation.update(segmentation=None, iscrowd=None)
    assert_eight_boxes(read(tmp_path, content))


def test_numbers_that_numpy_or_a_table_wrote(tmp_path):
    """Every number is a float, every flag a boolean; ids of a table are floats, too."""
    content = standard()
    for image in content["images"]:
        image.update(id=float(image["id"]), width=96.0, height=64.0)
    for annotation in content["annotations"]:
        annotation.update(image_id=float(annotation["image_id"]), category_id=1.0, iscrowd=False)
    content["categories"][0]["id"] = 1.0
    assert_eight_boxes(read(tmp_path, content))


def test_a_file_with_a_byte_order_mark_or_in_utf16(tmp_path):
    path = write(tmp_path, standard())
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes(json.dumps(standard()).encode(encoding))
        assert_eight_boxes(CocoDetection(tmp_path / "img", path))


def test_a_subset_whose_annotations_were_not_cut_down(tmp_path):
    content = standard()
    content["images"] = content["images"][:2]
    path = write(tmp_path, content)
    with pytest.warns(UserWarning, match="4 × unknown image"):
        data = CocoDetection(tmp_path / "img", path, on_bad="skip")
    assert [len(data.target(i)["boxes"]) for i in range(2)] == [2, 2]


def test_names_in_any_writing(tmp_path):
    content = standard()
    content["categories"] = [{"id": 1, "name": "猫 $5$"}, {"id": 2, "name": "note $\\frac{"}]
    assert read(tmp_path, content).class_names == ["猫 $5$", "note $\\frac{"]


def test_boxes_over_the_border_are_clipped(tmp_path):
    """pycocotools keeps them whole, so that IoUs differ there; it is said in the module."""
    content = standard()
    content["annotations"][0].update(bbox=[-10, 8, 30, 20], area=600)
    target = read(tmp_path, content).target(0)
    assert target["boxes"].tolist() == [[0, 8, 20, 28], [50, 20, 80, 44]]
    assert target["area"].tolist() == [600, 720]


def test_annotations_alone(tmp_path):
    """To measure a file of detections no picture is needed, if the file has their sizes."""
    path = write(tmp_path, standard(), pictures=())
    data = CocoDetection(tmp_path / "nowhere", path, reads_pictures=False)
    assert [data.target(i)["boxes"].tolist() for i in range(4)] == [CORNERS] * 4
    assert [picture.name for picture in data.image_paths] == [
        "p0.png",
        "p1.png",
        "p2.png",
        "p3.png",
    ]
    with pytest.raises(ValueError, match=r"ann\.json'\) was made with reads_pictures=False"):
        data[0]


# ------------------------------------------------------------------ files changed at random


def fuzz_script(name):
    path = Path(__file__).parent / "fuzz" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_changed_at_random_are_read_as_a_second_reader_reads_them():
    """A hundred cases; the script runs thousands."""
    counts, wrong = fuzz_script("fuzz_coco").run(num_cases=100, seed=1)
    assert wrong == [] and min(counts.values()) > 30


def test_damaged_pictures_are_read_or_refused_and_the_check_knows_it(capfd):
    """Two hundred cases; the script runs thousands. Decoders in C write what they think of them."""
    counts, wrong = fuzz_script("fuzz_pictures").run(num_cases=200, seed=1, decodes_twice=False)
    assert wrong == [] and min(counts[kind] for kind in ("whole", "read", "refused")) > 20


# ------------------------------------------------------------------------- ties, with pycocotools


@pytest.mark.parametrize(
    "ids", [[4, 3, 2, 1], [1, 2, 3, 4], ["9", "10", "b", "a"], [2**63, 7, 5, 6]]
)
def test_equal_scores_across_images_give_the_ap_of_pycocotools(tmp_path, ids):
    """One object, in the image whose id comes first or last; the same detection everywhere."""
    for owner in range(4):
        content = standard()
        for image, image_id in zip(content["images"], ids):
            image["id"] = image_id
        content["annotations"] = [content["annotations"][0] | {"image_id": ids[owner]}]
        data = read(tmp_path, content)
        found = {
            "boxes": torch.tensor([[8.0, 8, 28, 28]]),
            "scores": torch.tensor([0.5]),
            "labels": torch.tensor([0]),
        }
        ours = coco_metrics([found] * 4, [data.target(i) for i in range(4)], 1)

        results = [
            {"image_id": image_id, "category_id": 1, "bbox": SQUARE, "score": 0.5}
            for image_id in data.image_ids
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            official = COCO(str(tmp_path / "ann.json"))
            evaluation = COCOeval(official, official.loadRes(results), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        np.testing.assert_allclose(list(ours.to_dict().values()), evaluation.stats, atol=1e-12)

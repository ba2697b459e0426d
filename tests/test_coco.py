"""``CocoDetection``: labels, pictures of every kind, faults, and real files against pycocotools."""

import contextlib
import copy
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from detlearn.data.coco import CocoDetection

CONTENT = {
    "images": [
        {"id": 7, "file_name": "a.png", "width": 60, "height": 40},
        {"id": 3, "file_name": "b.png", "width": 60, "height": 40},
    ],
    "categories": [
        {"id": 90, "name": "brush"},
        {"id": 1, "name": "cat"},
        {"id": 44, "name": "dog"},
    ],
    "annotations": [
        {"id": 10, "image_id": 7, "category_id": 90, "bbox": [1.5, 2, 10, 20], "area": 130.5},
        {"id": 11, "image_id": 7, "category_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 1},
    ],
}


def make(tmp_path, content=CONTENT, on_bad="raise", pictures=None):
    """Write the JSON file and its pictures, and open the data set."""
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    path = tmp_path / "instances.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for name, picture in (pictures or dict.fromkeys(("a.png", "b.png"))).items():
        (picture or Image.new("RGB", (60, 40))).save(tmp_path / name)
    return CocoDetection(tmp_path, path, on_bad)


def changed(part, index, **values):
    """A copy of CONTENT with values of one entry changed; the value None takes the key out."""
    content = copy.deepcopy(CONTENT)
    entry = content[part][index]
    entry.update(values)
    for key in [key for key, value in entry.items() if value is None]:
        del entry[key]
    return content


def shared(*parts):
    """A file or folder of the shared data, or a visible skip."""
    path = Path(os.environ.get("DETLEARN_DATA", "")).joinpath(*parts)
    if "DETLEARN_DATA" not in os.environ or not path.exists():
        pytest.skip(f"{'/'.join(parts)} is not here: set DETLEARN_DATA to the folder that holds it")
    return path


# ------------------------------------------------------------------------------- by hand


def test_boxes_become_corners_and_ids_with_holes_become_labels(tmp_path):
    data = make(tmp_path)
    assert len(data) == 2
    assert data.class_names == ["cat", "dog", "brush"] and data.category_ids == [1, 44, 90]
    image, target = data[0]
    assert image.shape == (3, 40, 60) and image.dtype == torch.float32 and image.is_contiguous()
    assert target["boxes"].tolist() == [[1.5, 2, 11.5, 22], [0, 0, 60, 40]]
    assert target["labels"].tolist() == [2, 0]
    assert target["area"].tolist() == [130.5, 2400]  # the file's, else the box's
    assert target["iscrowd"].tolist() == [0, 1]
    assert target["image_id"] == 7
    assert target["boxes"].dtype == target["area"].dtype == torch.float32
    assert target["labels"].dtype == target["iscrowd"].dtype == torch.int64
    assert set(target) == {"boxes", "labels", "area", "iscrowd", "image_id"}


def test_image_without_objects_is_kept(tmp_path):
    _, target = make(tmp_path)[1]
    assert target["image_id"] == 3
    assert target["boxes"].shape == (0, 4) and target["boxes"].dtype == torch.float32
    assert target["labels"].shape == (0,) and target["labels"].dtype == torch.int64
    assert target["area"].shape == target["iscrowd"].shape == (0,)


def test_boxes_over_the_border_are_clipped_and_keep_the_files_area(tmp_path):
    content = changed("annotations", 0, bbox=[-3.5, 30, 70, 10.25], area=700)
    target = make(tmp_path, content)[0][1]
    assert target["boxes"][0].tolist() == [0, 30, 60, 40] and target["area"][0] == 700


def test_run_length_masks_are_ignored(tmp_path):
    mask = {"size": [40, 60], "counts": [0, 2400]}
    target = make(tmp_path, changed("annotations", 1, segmentation=mask))[0][1]
    assert target["iscrowd"].tolist() == [0, 1]


def test_file_names_from_windows(tmp_path):
    (tmp_path / "photos").mkdir()
    content = changed("images", 0, file_name="photos\\a.png")
    data = make(tmp_path, content, pictures=dict.fromkeys(("photos/a.png", "b.png")))
    assert data.image_paths[0] == tmp_path / "photos" / "a.png" and len(data[0]) == 2


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_size_left_out_is_read_from_the_upright_picture(tmp_path, orientation):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    content = changed("images", 0, width=None, height=None)
    content["annotations"][1]["bbox"] = [0, 0, 100, 100]
    make(tmp_path)
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "instances.json").write_text(json.dumps(content))
    _, target = CocoDetection(tmp_path, tmp_path / "instances.json")[0]
    turned = orientation in (5, 6, 7, 8)  # 5 and 7 are mirrored besides
    assert target["boxes"][1].tolist() == ([0, 0, 40, 60] if turned else [0, 0, 60, 40])


# ------------------------------------------------------------------------------ pictures

GRADIENT = np.arange(2400, dtype=np.uint32).reshape(40, 60)


def pictures_of_every_kind():
    """(name, picture, expected (40, 60, 3) values in [0, 1], tolerance)."""
    grey = (GRADIENT % 256).astype(np.uint8)
    colour = np.stack([grey, 255 - grey, grey // 2], axis=2)
    rgb = Image.fromarray(colour)
    palette = Image.fromarray(grey % 4)
    palette = Image.frombytes("P", palette.size, palette.tobytes())
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30])
    table = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]) / 255
    see_through = palette.copy()
    see_through.info["transparency"] = b"\x00\xff\x80\xff"
    alpha = Image.fromarray(np.dstack([colour, 255 - grey]))
    grey_alpha = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(255 - grey)])
    deep = (GRADIENT * 27).astype(np.uint16)
    three = np.repeat(grey[:, :, None] / 255, 3, axis=2)
    return [
        ("rgb.png", rgb, colour / 255, 0),
        ("grey.png", Image.fromarray(grey), three, 0),
        ("bilevel.png", Image.fromarray(grey > 99), np.repeat((grey > 99)[:, :, None], 3, 2), 0),
        ("palette.png", palette, table[grey % 4], 0),
        ("palette_transparent.png", see_through, table[grey % 4], 0),
        ("rgba.png", alpha, colour / 255, 0),
        ("grey_alpha.png", grey_alpha, three, 0),
        ("cmyk.tif", rgb.convert("CMYK"), colour / 255, 0.02),
        ("deep.png", Image.fromarray(deep), np.repeat(deep[:, :, None] / 65535, 3, 2), 0),
        ("deep.tif", Image.fromarray(deep), np.repeat(deep[:, :, None] / 65535, 3, 2), 0),
    ]


@pytest.mark.parametrize("index", range(10))
def test_pictures_of_every_kind_become_rgb(tmp_path, index):
    name, picture, expected, tolerance = pictures_of_every_kind()[index]
    content = changed("images", 0, file_name=name)
    image, _ = make(tmp_path, content, pictures={name: picture, "b.png": None})[0]
    assert image.dtype == torch.float32 and image.shape == (3, 40, 60)
    np.testing.assert_allclose(image.permute(1, 2, 0), expected, atol=tolerance + 1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_and_boxes_are_those_of_the_upright_picture(tmp_path, orientation):
    # Upright, the picture is black with a white patch exactly in the box. The stored pixels are
    # turned such that the viewer's turn (numpy below, from the EXIF standard) makes them upright.
    upright = np.zeros((40, 60), np.uint8)
    upright[8:16, 32:56] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = changed("annotations", 0, bbox=[32, 8, 24, 8])
    data = make(tmp_path, changed("images", 0) | {"annotations": content["annotations"]})
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    image, target = data[0]
    x1, y1, x2, y2 = target["boxes"][0].int().tolist()
    assert image.shape == (3, 40, 60)
    assert image[:, y1:y2, x1:x2].min() == 1
    assert image.sum() == 3 * 24 * 8


def test_size_of_the_unturned_pixels_is_a_contradiction(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = make(tmp_path)
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png", exif=exif)
    with pytest.raises(ValueError, match=r"a\.png.* is 40×60 .*say 60×40.*EXIF"):
        data[0]


def test_broken_pictures_name_their_file(tmp_path):
    data = make(
        tmp_path, changed("images", 0, file_name="a.jpg"), pictures={"a.jpg": None, "b.png": None}
    )
    whole = (tmp_path / "a.jpg").read_bytes()
    for broken in (b"", b"no picture", whole[:-100], whole[:300]):
        (tmp_path / "a.jpg").write_bytes(broken)
        with pytest.raises(ValueError, match=r"a\.jpg: cannot be read as a picture"):
            data[0]
    Image.new("F", (60, 40)).save(tmp_path / "f.tif")
    os.replace(tmp_path / "f.tif", tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="floats of unknown range"):
        data[0]
    Image.fromarray(np.full((40, 60), 70_000, np.int32)).save(tmp_path / "i.tif")
    os.replace(tmp_path / "i.tif", tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="do not fit into 16 bits"):
        data[0]


# -------------------------------------------------------------------------------- faults

FAULTS = {  # changes of annotation 10 → what the message says
    "inverted": ({"bbox": [20, 2, -10, 20]}, r"annotation 10 of image 7.*width -10"),
    "no width": ({"bbox": [20, 2, 0, 20]}, r"annotation 10 of image 7.*width 0"),
    "no height": ({"bbox": [20, 2, 10, 0]}, r"annotation 10 of image 7.*height 0"),
    "nan": ({"bbox": [float("nan"), 2, 10, 20]}, r"annotation 10 of image 7.*nan"),
    "infinite": ({"bbox": [0, 2, float("inf"), 20]}, r"annotation 10 of image 7.*inf"),
    "huge": ({"bbox": [0, 2, 10**400, 20]}, r"annotation 10 of image 7.*expected a number"),
    "null": ({"bbox": [0, [], 10, 20]}, r"annotation 10 of image 7.*expected a number"),
    "true": ({"bbox": [0, True, 10, 20]}, r"annotation 10 of image 7.*is True"),
    "three": ({"bbox": [0, 2, 10]}, r"annotation 10 of image 7.*expected \[x, y, width, height\]"),
    "no bbox": ({"bbox": None}, r"annotation 10 of image 7.*'bbox' is missing"),
    "no list": ({"bbox": "0 2 10 20"}, r"annotation 10 of image 7.*expected \[x, y"),
    "enormous": ({"bbox": [0, 2, 1e300, 20]}, r"annotation 10 of image 7.*at most 1e\+12"),
    "outside": ({"bbox": [60, 2, 10, 20]}, r"annotation 10 of image 7.*lies in the 60×40 image"),
    "too thin": ({"bbox": [50, 2, 1e-9, 20]}, r"annotation 10 of image 7.*lies in the"),
    "category": ({"category_id": 2}, r"annotation 10 of image 7.*category.* id 2; .*1, 44, 90"),
    "no category": ({"category_id": None}, r"annotation 10 of image 7.*'category_id' is missing"),
    "image": ({"image_id": 99}, r"annotation 10: no image has the id 99"),
    "no image": ({"image_id": None}, r"annotation 10: .*'image_id' is missing"),
    "crowd": ({"iscrowd": 2}, r"annotation 10 of image 7.*iscrowd is 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_names_file_and_annotation_or_is_left_out_with_one_summary(tmp_path, fault):
    values, message = FAULTS[fault]
    content = changed("annotations", 0, **values)
    with pytest.raises(ValueError, match=rf"instances\.json, {message}"):
        make(tmp_path, content)
    with pytest.warns(UserWarning, match=message) as caught:
        data = make(tmp_path, content, on_bad="skip")
    assert len(caught) == 1 and sum(data.left_out.values()) == 1
    assert len(data) == 2 and data[0][1]["labels"].tolist() == [0]


LIST_FAULTS = {  # faults of images and categories, which raise in both modes
    "id twice": (changed("images", 1, id=7), "image 7: two images have this id"),
    "no file name": (changed("images", 0, file_name=None), "image 7: .*'file_name' is missing"),
    "no id": (changed("images", 0, id=None), r"images\[0\]: .*'id' is missing"),
    "width only": (changed("images", 0, height=None), "image 7: .*'height' is missing"),
    "width": (changed("images", 0, width=-60), "image 7: width -60"),
    "category twice": (changed("categories", 1, id=90), r"categories\[1\]: id 90 is taken"),
    "no name": (changed("categories", 1, name=None), r"categories\[1\]: .*'name' is missing"),
    "cut off": (json.dumps(CONTENT)[:-9], "malformed JSON"),
    "binary": (b"\xff\xfe\xfa\x00", "malformed JSON"),
    "deep": ("[" * 100_000, "malformed JSON"),
    "list": ([], "no list 'images'"),
    "no annotations": ({k: CONTENT[k] for k in ("images", "categories")}, "no list 'annotations'"),
    "null": (CONTENT | {"categories": None}, "no list 'categories'"),
    "word": (CONTENT | {"images": ["a.png"]}, r"images\[0\]: the key 'id' is missing"),
}


@pytest.mark.parametrize("on_bad", ["raise", "skip"])
@pytest.mark.parametrize("fault", LIST_FAULTS)
def test_faults_of_the_lists_always_raise(tmp_path, fault, on_bad):
    content, message = LIST_FAULTS[fault]
    with pytest.raises(ValueError, match=rf"instances\.json.*{message}"):
        make(tmp_path, content, on_bad)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        CocoDetection(tmp_path, tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match=r"image 7: its picture 'gone\.png' is missing"):
        make(tmp_path, changed("images", 0, file_name="gone.png"), on_bad="skip")
    with pytest.raises(ValueError, match="on_bad must be"):
        make(tmp_path, on_bad=True)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_whatever_stands_in_the_file_the_reader_raises_valueerror_or_gives_sound_boxes(
    tmp_path, data
):
    content = copy.deepcopy(CONTENT)
    part = data.draw(st.sampled_from(["images", "categories", "annotations"]))
    key = data.draw(st.sampled_from(sorted(set().union(*content[part]))))
    content[part][data.draw(st.integers(0, 1))][key] = data.draw(JSON_VALUES)
    if data.draw(st.integers(0, 3)) == 0:
        content[part] = data.draw(JSON_VALUES)
    try:
        samples = make(tmp_path, content)
    except (ValueError, FileNotFoundError) as error:
        assert "instances.json" in str(error)
        return
    for record in samples._records:
        x1, y1, x2, y2 = record.arrays["boxes"].T
        assert (0 <= x1).all() and (x1 < x2).all() and (x2 <= record.size[0]).all()
        assert (0 <= y1).all() and (y1 < y2).all() and (y2 <= record.size[1]).all()
        assert np.isfinite(record.arrays["area"]).all()


# ----------------------------------------------------------------------------- real data


def pycocotools(path):
    """The official reader, silenced."""
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def assert_equal_to_pycocotools(data, path):
    """Compare every annotation with the official API; return their number."""
    official = pycocotools(path)
    assert data.category_ids == sorted(official.getCatIds())
    count = 0
    for record, image_id in zip(data._records, [i["id"] for i in official.dataset["images"]]):
        annotations = official.loadAnns(official.getAnnIds(imgIds=[image_id]))
        assert record.image_id == image_id
        xywh = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
        corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        np.testing.assert_allclose(record.arrays["boxes"], corners, atol=1e-4, rtol=0)
        category_ids = [data.category_ids[label] for label in record.arrays["labels"]]
        assert category_ids == [a["category_id"] for a in annotations]
        np.testing.assert_allclose(record.arrays["area"], [a["area"] for a in annotations], 1e-6)
        assert record.arrays["iscrowd"].tolist() == [a["iscrowd"] for a in annotations]
        count += len(annotations)
    return count


def test_photographs_of_coco_equal_pycocotools():
    path = shared("coco_free", "instances.json")
    data = CocoDetection(path.parent / "images", path)
    assert len(data) == 33 and len(data.class_names) == 80
    assert assert_equal_to_pycocotools(data, path) == 246
    present, crowds = set(), 0
    for image, target in data:
        assert image.shape[0] == 3 and image.dtype == torch.float32 and 0 <= image.min()
        assert image.max() <= 1 and len(target["boxes"]) == len(target["labels"])
        present |= set(target["labels"].tolist())
        crowds += int(target["iscrowd"].sum())
    assert len(present) == 44 and crowds == 3


@pytest.mark.parametrize("split, boxes", [("train", 2800), ("val", 1135), ("test", 944)])
def test_bccd_in_cocos_form_equals_pycocotools(split, boxes):
    path = shared("bccd", f"instances_{split}.json")
    data = CocoDetection(path.parent, path)
    assert assert_equal_to_pycocotools(data, path) == boxes
    assert data.class_names == ["RBC", "WBC", "Platelets"]

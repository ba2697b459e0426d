"""One picture with two objects as some forty programs write it; the same two boxes come out.

A picture of 96 × 64 pixels shows a square, (8, 8, 28, 28), and a bar, (50, 20, 80, 44). The other
files for readers hold what each format allows; here is what programs make of it, and what people
and disks do to their files afterwards.
"""

import json
import warnings
from pathlib import Path

import pytest
from PIL import Image

from detlearn.data import CocoDetection, VOCDetection, YOLODetection

SIZE = (96, 64)
CORNERS = [[8, 8, 28, 28], [50, 20, 80, 44]]
SQUARE, BAR = [8, 8, 20, 20], [50, 20, 30, 24]  # x, y, width, height


def save_picture(path, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, SIZE).save(path, **options)


def corners_of(data):
    """The class names, and the corners of each image; every picture is read."""
    assert all(image.shape == (3, 64, 96) for image, _ in (data[i] for i in range(len(data))))
    data.check(progress=False)
    return data.class_names, [data.target(i)["boxes"].tolist() for i in range(len(data))]


# -------------------------------------------------------------------------------------- COCO


def box(bbox, **more):
    return {"image_id": 1, "category_id": 1, "bbox": bbox, **more}


def polygon(x, y, w, h):
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def coco(image=None, first=None, second=None, categories=None, **lists):
    """A file with one image: the fields that a tool adds or writes otherwise."""
    return {
        "images": [{"id": 1, "file_name": "p.png", "width": 96, "height": 64} | (image or {})],
        "annotations": [box(SQUARE, id=1) | (first or {}), box(BAR, id=2) | (second or {})],
        "categories": categories or [{"id": 1, "name": "thing"}],
        **lists,
    }


def without(entry, *keys):
    return {key: value for key, value in entry.items() if key not in keys}


def lvis():
    """No file names: the last part of a URL; categories with synsets; no iscrowd."""
    content = coco({"coco_url": "http://images.cocodataset.org/val2017/p.png"})
    content["images"][0] |= {"neg_category_ids": [3], "not_exhaustive_category_ids": []}
    del content["images"][0]["file_name"]
    content["categories"] = [{"id": 1, "name": "thing", "synset": "thing.n.01", "frequency": "c"}]
    return content


COCO = {
    "LVIS": lvis(),
    "COCO itself, with everything": coco(
        {"license": 3, "coco_url": "http://x/1.jpg", "flickr_url": "", "date_captured": "2013"},
        {"iscrowd": 0, "area": 400.0, "segmentation": [polygon(*SQUARE)]},
        {"iscrowd": 0, "area": 720.0, "segmentation": [polygon(*BAR)]},
        [{"supercategory": "furniture", "id": 1, "name": "thing"}],
        info={"year": 2017},
        licenses=[{"id": 3}],
    ),
    "keypoints": coco(
        first={"num_keypoints": 1, "keypoints": [9, 9, 2], "iscrowd": 0},
        second={"num_keypoints": 0, "keypoints": [0, 0, 0]},
        categories=[{"id": 1, "name": "thing", "keypoints": ["nose"], "skeleton": [[1, 1]]}],
    ),
    "CVAT, tracks of a video": coco(
        {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0},
        {"attributes": {"occluded": False, "track_id": 0, "keyframe": True}, "segmentation": []},
        {"attributes": {"occluded": True, "track_id": 1, "keyframe": False}, "segmentation": []},
        [{"id": 1, "name": "thing", "supercategory": ""}],
        licenses=[{"name": "", "id": 0, "url": ""}],
    ),
    "Supervisely": coco(
        {"file_name": "dataset 1/img/p.png"},
        {"bbox": [8.0, 8.0, 20.0, 20.0], "area": 400.0, "segmentation": []},
        {"area": 720.0, "segmentation": [], "object_properties": {}},
        info={"description": "", "url": "None", "contributor": "me"},
    ),
    "VGG Image Annotator, flat polygons": coco(
        first={"segmentation": polygon(*SQUARE), "bbox": []},
        second={"segmentation": polygon(*BAR), "bbox": None, "iscrowd": "0"},
    ),
    "makesense": coco(
        {"file_name": "p.png", "width": 96, "height": 64},
        {"iscrowd": 0, "segmentation": [polygon(*SQUARE)], "area": 400.00000000000006},
        {"iscrowd": 0, "bbox": [50.0, 20.0, 29.999999999999996, 24.000000000000004]},
        info={"description": "my-project-name"},
    ),
    "labelme, ids from 0 and a class for nothing": coco(
        {"id": 0, "file_name": "JPEGImages/p.png", "license": 0, "url": None},
        {"id": 0, "image_id": 0, "segmentation": [polygon(*SQUARE)]},
        {"id": 1, "image_id": 0},
        [{"supercategory": None, "id": 1, "name": "thing"}],
        type="instances",
    ),
    "Datumaro": coco(
        first={"attributes": {}, "iscrowd": 0, "group": 0}, second={"attributes": {}, "score": 1}
    ),
    "FiftyOne, ids as words": coco(
        {"id": "64f1c0", "file_name": "data/p.png"},
        {"id": "64f1c1", "image_id": "64f1c0"},
        {"id": "64f1c2", "image_id": "64f1c0"},
    ),
    "V7, ids from a hash": coco(
        {"id": 2**61 + 7, "darwin_url": "https://x", "seq_id": 2},
        {"image_id": 2**61 + 7, "category_id": 2**40 + 1, "extra": {}},
        {"image_id": 2**61 + 7, "category_id": 2**40 + 1},
        [{"id": 2**40 + 1, "name": "thing", "supercategory": "root"}],
        tag_categories=[],
    ),
    "SageMaker, numbers from 0": coco(
        {"id": 0},
        {"id": 0, "image_id": 0, "category_id": 0},
        {"id": 1, "image_id": 0, "category_id": "0"},
        [{"id": 0, "name": "thing"}],
    ),
    "Objects365": coco(
        {"file_name": "images/v1/patch8/p.png"}, {"isfake": 0, "isreflected": 0}, {"isfake": 1}
    ),
    "TACO": coco(
        {"file_name": "batch_1/p.png", "flickr_640_url": None}, scene_annotations=[{"image_id": 1}]
    ),
    "frames of a video": coco(
        {"video_id": 1, "frame_id": 0, "mot_frame_id": 1},
        {"instance_id": 0, "is_vid_train_frame": True},
        {"instance_id": 1},
        videos=[{"id": 1, "name": "v"}],
    ),
    "a table saved as JSON": coco(
        {"id": 1.0, "width": 96.0, "height": "64"},
        {"bbox": ["8", "8.0", "2e1", 20], "image_id": 1.0, "category_id": 1.0, "area": ""},
        {"image_id": "1", "iscrowd": "False"},
    ),
    "paths of Windows": coco({"file_name": "C:\\Users\\me\\set\\p.png"}),
    "a blank behind the names": coco(
        {"file_name": "p.png "}, categories=[{"id": 1, "name": " thing\n"}]
    ),
    "a root with a blank behind its name": coco(
        categories=[
            {"id": 0, "name": "things ", "supercategory": "none"},
            {"id": 1, "name": "thing", "supercategory": "things "},
        ]
    ),
    "an escaped slash": coco({"file_name": "upload\\/p.png"}),
    "a box over two borders": coco(
        first={"bbox": [8, 8, 20, 20]}, second={"bbox": [50, 20, 30, 24], "segmentation": [[]]}
    ),
}


@pytest.mark.parametrize("tool", COCO)
def test_coco(tmp_path, tool):
    save_picture(tmp_path / "img" / "p.png")
    (tmp_path / "ann.json").write_text(json.dumps(COCO[tool]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = CocoDetection(tmp_path / "img", tmp_path / "ann.json")
    assert corners_of(data) == (["thing"], [CORNERS])


WRONG_COCO = {  # files that are no detections for training → what is said
    "shares": (
        coco(first={"bbox": [0.08, 0.1, 0.2, 0.3]}, second={"bbox": [0.5, 0.3, 0.5, 0.7]}),
        r"ann\.json: all 2 boxes lie within the first pixel .* were shares of its width",
    ),
    "panoptic": (
        coco() | {"annotations": [{"image_id": 1, "file_name": "p.png", "segments_info": []}]},
        r"annotations\[0\] of image 1: the key 'category_id' is missing",
    ),
    "captions": (without(coco(), "categories"), r"no list 'categories'"),
    "results": ([box(SQUARE, score=0.5)], r"no list 'images'"),
    "neither name nor URL": (
        coco() | {"images": [{"id": 1, "coco_url": ""}]},
        r"image 1: the key 'file_name' is missing",
    ),
    "turned boxes": (coco(first={"bbox": [18, 18, 20, 20, 0.5]}), r"annotation 1 .*expected \[x"),
    "corners that fall": (coco(first={"bbox": [28, 28, -20, -20]}), "both must be positive"),
    "beside the picture": (coco(first={"bbox": [100, 8, 20, 20]}), "nothing of the box"),
}


@pytest.mark.parametrize("case", WRONG_COCO)
def test_coco_files_that_are_refused(tmp_path, case):
    content, message = WRONG_COCO[case]
    save_picture(tmp_path / "img" / "p.png")
    (tmp_path / "ann.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        CocoDetection(tmp_path / "img", tmp_path / "ann.json")


# What programs keep for themselves: JSON, but none that this package reads.
OWN_FORMATS = {
    "labelme": {"version": "5.0", "shapes": [{"label": "thing"}], "imagePath": "p.png"},
    "Label Studio": [{"id": 1, "annotations": [{"result": []}], "data": {"image": "p.png"}}],
    "VGG Image Annotator": {"p.png400": {"filename": "p.png", "regions": []}},
    "Supervisely": {"size": {"width": 96, "height": 64}, "tags": [], "objects": []},
    "CVAT, Datumaro": {"info": {}, "categories": {"label": {"labels": []}}, "items": []},
    "createML": [{"image": "p.png", "annotations": [{"label": "thing", "coordinates": {}}]}],
    "VoTT": {"name": "p", "assets": {"a": {"asset": {}, "regions": []}}, "tags": []},
}


@pytest.mark.parametrize("program", OWN_FORMATS)
def test_what_a_program_keeps_for_itself_is_to_be_exported(tmp_path, program):
    path = tmp_path / "ann.json"
    path.write_text(json.dumps(OWN_FORMATS[program]))
    with pytest.raises(ValueError, match=r"ann\.json: no list 'images'.* export it there as COCO"):
        CocoDetection(tmp_path, path)


def test_one_value_a_line_is_another_format(tmp_path):
    """As Hugging Face's folders of pictures have it."""
    path = tmp_path / "metadata.jsonl"
    line = json.dumps({"file_name": "p.png", "objects": {"bbox": [SQUARE], "categories": [0]}})
    path.write_text(f"{line}\n{line}\n")
    with pytest.raises(ValueError, match=r"metadata\.jsonl: .*Extra data.*, one a line, are"):
        CocoDetection(tmp_path, path)


def test_boxes_over_the_border_and_of_one_pixel(tmp_path):
    """COCO counts continuously, so that a pixel is a box of its own; VOC's must be two wide."""
    save_picture(tmp_path / "p.png")
    content = coco(first={"bbox": [-5, -2.5, 10, 10]}, second={"bbox": [95, 63, 1, 1]})
    (tmp_path / "ann.json").write_text(json.dumps(content))
    data = CocoDetection(tmp_path, tmp_path / "ann.json")
    assert corners_of(data)[1] == [[[0, 0, 5, 7.5], [95, 63, 96, 64]]]

    write_voc(tmp_path / "voc", voc_object("a", -4, -1, 5, 7.5), voc_object("b", 95, 63, 96, 64))
    assert corners_of(VOCDetection(tmp_path / "voc", "train"))[1] == [
        [[0, 0, 5, 7.5], [94, 62, 96, 64]]
    ]


def test_capitals_make_another_class(tmp_path):
    """Names are compared as they are: Thing and thing may mean different things."""
    save_picture(tmp_path / "p.png")
    names = [
        {"id": 1, "name": "thing"},
        {"id": 2, "name": "Thing"},
        {"id": 3, "name": "ＴＨＩＮＧ"},
    ]
    content = coco(second={"category_id": 2}, categories=names)
    (tmp_path / "ann.json").write_text(json.dumps(content))
    data = CocoDetection(tmp_path, tmp_path / "ann.json")
    assert data.class_names == ["thing", "Thing", "ＴＨＩＮＧ"]
    assert data.target(0)["labels"].tolist() == [0, 1]


def test_a_picture_of_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), (255, 0, 0)).save(tmp_path / "p.png")
    content = coco({"width": 1, "height": 1}, {"bbox": [0, 0, 1, 1]}, {"bbox": [0, 0, 1, 1]})
    (tmp_path / "ann.json").write_text(json.dumps(content))
    image, target = CocoDetection(tmp_path, tmp_path / "ann.json")[0]
    assert image.flatten().tolist() == [1, 0, 0]
    assert target["boxes"].tolist() == [[0, 0, 1, 1]] * 2


@pytest.mark.parametrize("part", ["info", "images", "categories", "annotations"])
def test_a_key_given_twice_is_an_error_with_file_and_key(tmp_path, part):
    """Python keeps the last one and says nothing."""
    save_picture(tmp_path / "img" / "p.png")
    path = tmp_path / "ann.json"
    key = {"info": "year", "images": "width", "categories": "name", "annotations": "bbox"}[part]
    text = json.dumps(coco(info={"year": 1}))
    path.write_text(text.replace(f'"{key}": ', f'"{key}": "first", "{key}": ', 1))
    with pytest.raises(
        ValueError, match=rf"ann\.json: an object that begins .*'{key}' is given tw"
    ):
        CocoDetection(tmp_path / "img", path)
    path.write_text(text)
    assert corners_of(CocoDetection(tmp_path / "img", path))[1] == [CORNERS]


# --------------------------------------------------------------------------------------- VOC


def voc_object(name, xmin, ymin, xmax, ymax, more=""):
    corners = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


VOC_SQUARE, VOC_BAR = (9, 9, 28, 28), (51, 21, 80, 44)
TWO = voc_object("thing", *VOC_SQUARE) + voc_object("thing", *VOC_BAR)


def write_voc(root, *objects, filename="p.png", head="", size=SIZE, picture="p.png"):
    save_picture(root / "train" / picture)
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    text = f"<annotation>{head}<filename>{filename}</filename>{sides}{''.join(objects)}"
    path = (root / "train" / picture).with_suffix(".xml")
    path.write_text(f"{text}</annotation>", encoding="utf-8")


VOC = {
    "LabelImg": {"head": "<folder>train</folder><path>D:\\set\\p.png</path><source/>"},
    "ImageNet, a name without ending": {"filename": "n01440764_10026", "head": "<folder/>"},
    "SageMaker, turned into VOC": {
        "objects": [voc_object("thing", 9.0, 9.0, "28.0", "2.8e1"), voc_object("thing", *VOC_BAR)]
    },
    "Open Images, turned into VOC": {
        "objects": [
            voc_object("thing", *VOC_SQUARE, "<truncated>0</truncated><occluded>1</occluded>"),
            voc_object(" thing ", *VOC_BAR, "<difficult>  </difficult>"),
        ]
    },
    "actions and points of persons": {
        "objects": [
            voc_object("thing", *VOC_SQUARE, "<actions><jumping>0</jumping></actions>"),
            voc_object("thing", *VOC_BAR, "<point><x>60</x><y>30</y></point>"),
        ]
    },
    "parts": {
        "objects": [
            TWO.replace(
                "</object>", f"<part>{voc_object('head', 1, 1, 4, 4)[8:-9]}</part></object>"
            )
        ]
    },
    "a size of zero": {"size": (0, 0)},
    "a height of zero": {"size": (96, 0)},
    "a size as fractions": {"size": ("96.0", "64.0")},
    "a comment and an owner": {"head": "<!-- checked --><owner><name>me</name></owner>"},
    "capitals in the ending": {"picture": "p.PNG", "filename": "p.png"},
    "blanks around the name": {"filename": "\n\tp.png\n"},
}


@pytest.mark.parametrize("tool", VOC)
def test_voc(tmp_path, tool):
    fields = dict(VOC[tool])
    write_voc(tmp_path, *fields.pop("objects", [TWO]), **fields)
    (tmp_path / "train" / "desktop.ini").write_text("[x]")
    (tmp_path / "train" / "classes.txt").write_text("thing\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = VOCDetection(tmp_path, "train")
    assert corners_of(data) == (["thing"], [CORNERS])


# -------------------------------------------------------------------------------------- YOLO

# (8 + 28) / 2 / 96 = 0.1875, 18 / 64 = 0.28125, 20 / 96, 20 / 64, and the bar likewise.
YOLO_SQUARE = "0.1875 0.28125 0.20833333333 0.3125"
YOLO_BAR = "0.67708333333 0.5 0.3125 0.375"
LINES = f"0 {YOLO_SQUARE}\n0 {YOLO_BAR}\n"
CORNERS_IN_SHARES = "0.52083333 0.3125 0.83333333 0.3125 0.83333333 0.6875 0.52083333 0.6875"


def yolo(yaml="train: images/train\nnames: [thing]", lines=LINES, picture="images/train/p.png"):
    """The file data.yaml, the lines of labels, where the picture lies."""
    return yaml, lines, picture


YOLO = {
    "a path beside the file": yolo("path: ../set\ntrain: images/train\nnames: [thing]"),
    "keys without a value": yolo("train: images/train\nval:\ntest: # optional\nnames: {0: thing}"),
    "a script for a download": yolo(
        "path: .\ntrain: images/train\nnames:\n  0: thing\ndownload: |\n  import os\n  x = 1: 2\n"
    ),
    "a list of folders": yolo("train:\n  - images/train\nnames:\n- thing"),
    "a list of pictures": yolo("train: list.txt\nnames: [thing]"),
    "turned boxes": yolo(lines=f"0 {YOLO_SQUARE}\n0 {CORNERS_IN_SHARES}\n"),
    "exponents and tabs": yolo(
        lines=f"0\t1.875e-01\t2.8125E-1 .20833333333 +0.3125 \r\n0  {YOLO_BAR}"
    ),
    "classes as fractions": yolo(lines=LINES.replace("0 0.", "0.0 0.")),
    "Darknet's JPEGImages": yolo("train: JPEGImages\nnames: [thing]", picture="JPEGImages/p.png"),
    "folders with capitals": yolo(
        "train: Images/train\nnames: [thing]", picture="Images/train/p.png"
    ),
    "folders of splits": yolo("train: train/images\nnames: [thing]", picture="train/images/p.png"),
    "beside the pictures": yolo("train: pictures\nnames: [thing]", picture="pictures/p.png"),
}


@pytest.mark.parametrize("tool", YOLO)
def test_yolo(tmp_path, tool):
    yaml, lines, picture = YOLO[tool]
    root = tmp_path / "set"
    save_picture(root / picture)
    label = (root / picture).with_suffix(".txt")
    for folder, labels in (("Images", "Labels"), ("images", "labels"), ("JPEGImages", "labels")):
        label = Path(str(label).replace(f"/{folder}/", f"/{labels}/"))
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text(lines)
    (root / "data.yaml").write_text(yaml)
    (root / "list.txt").write_text(f"./{picture}\n")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = YOLODetection(root, "train")
    names, (boxes,) = corners_of(data)
    assert names == ["thing"] and boxes == [pytest.approx(box, abs=1e-5) for box in CORNERS]


WRONG_YOLO = {
    "names and pixels, as OIDv4 writes them": "thing 8 8 28 28",
    "pixels": "0 18 18 20 20",
    "commas": "0,0.1875,0.28125,0.2,0.3",
    "a confidence": f"0 {YOLO_SQUARE} 0.9",
    "classes from 1": f"1 {YOLO_SQUARE}",
}


@pytest.mark.parametrize("case", WRONG_YOLO)
def test_lines_that_are_refused_with_file_and_line(tmp_path, case):
    save_picture(tmp_path / "images" / "p.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "p.txt").write_text(f"0 {YOLO_BAR}\n{WRONG_YOLO[case]}\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [thing]")
    with pytest.raises(ValueError, match=r"labels/p\.txt, line 2: "):
        YOLODetection(tmp_path, "train")


# --------------------------------------------------- what lies in the place of a file at times


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html>\n<html><body>404 Not Found", "but a page of the web"),
        (
            b"\xef\xbb\xbf\n <HTML><head><title>Sign in</title></head></HTML>",
            "but a page of the web",
        ),
        (b"", "but an empty file"),
        (b" \n\n", "but an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "'git lfs pull'"),
        (b"PK\x03\x04\x14\0\0\0", "an archive: unpack it"),
        (b"\x1f\x8b\x08\0", "an archive: unpack it"),
    ],
)
def test_what_is_no_annotation_file_is_called_what_it_is(tmp_path, content, said):
    files = {"JSON": "ann.json", "XML": "train/p.xml", "YAML": "data.yaml"}
    save_picture(tmp_path / "train" / "p.png")
    for file in files.values():
        (tmp_path / file).write_bytes(content)

    readers = {
        "JSON": lambda: CocoDetection(tmp_path, tmp_path / "ann.json"),
        "XML": lambda: VOCDetection(tmp_path, "train"),
        "YAML": lambda: YOLODetection(tmp_path, "train"),
    }
    for kind, read in readers.items():
        with pytest.raises(ValueError, match=f"{tmp_path / files[kind]}: no {kind}, .*{said}"):
            read()


# ---------------------------------------------------------------------------------- pictures


def test_the_first_of_several_frames(tmp_path):
    """An animation, the pages of a scan, and a phone's picture with a second one behind it."""
    first, second = (Image.new("RGB", SIZE, colour) for colour in ("red", "blue"))
    for name, options in {
        "a.gif": {"duration": 40},
        "a.png": {"duration": 40},
        "a.webp": {"duration": 40, "lossless": True},
        "a.tif": {},
        "a.jpg": {"format": "MPO", "quality": 100, "subsampling": 0},
    }.items():
        first.save(tmp_path / name, save_all=True, append_images=[second], **options)
        (tmp_path / "ann.json").write_text(json.dumps(coco({"file_name": name})))
        data = CocoDetection(tmp_path, tmp_path / "ann.json")
        assert corners_of(data)[1] == [CORNERS]
        assert data[0][0][:, 5, 5].tolist() == pytest.approx([1, 0, 0], abs=0.02), name


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_jpeg_of_printers(tmp_path, mode):
    picture = Image.new("RGB", SIZE, (200, 120, 40)).convert(mode)
    picture.save(tmp_path / "p.jpg", quality=100)
    (tmp_path / "ann.json").write_text(json.dumps(coco({"file_name": "p.jpg"})))
    image, _ = CocoDetection(tmp_path, tmp_path / "ann.json")[0]
    grey = 0.299 * 200 + 0.587 * 120 + 0.114 * 40
    wanted = [200, 120, 40] if mode == "CMYK" else [grey] * 3
    assert (image[:, 9, 9] * 255).tolist() == pytest.approx(wanted, abs=3)

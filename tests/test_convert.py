"""Between COCO, VOC and YOLO: nothing is lost that both know, and what is lost is said."""

import errno
import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detlearn.data import CocoDetection, ToyTown, VOCDetection, YOLODetection, convert

NAMES = ["zebra", "a & <b>", "猫", "$5 bill", "yes", "7"]


def coco_set(root, objects, names=NAMES, files=None, size=(60, 40)):
    """A COCO data set with one grey picture for each list of (box, label, iscrowd)."""
    files = files or [f"p{i}.png" for i in range(len(objects))]
    images, annotations = [], []
    for i, (file, rows) in enumerate(zip(files, objects)):
        path = root / "img" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (i, 0, 0)).save(path)
        images.append({"id": 10 - i, "file_name": file, "width": size[0], "height": size[1]})
        for (x1, y1, x2, y2), label, iscrowd in rows:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 10 - i,
                    "category_id": label,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": 7.5,
                    "iscrowd": iscrowd,
                }
            )
    categories = [{"id": label, "name": name} for label, name in enumerate(names)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (root / "ann.json").write_text(json.dumps(content))
    return CocoDetection(root / "img", root / "ann.json")


def read(folder, form, names, split="train"):
    """What `convert` wrote."""
    if form == "coco":
        return CocoDetection(folder / split, folder / "annotations" / f"{split}.json")
    if form == "voc":
        return VOCDetection(folder, split, class_names=names)
    return YOLODetection(folder, split)


def objects_of(data):
    """Picture's red value → rows of label and corners: the pictures tell themselves apart."""
    found = {}
    for i in range(len(data)):
        image, target = data[i]
        red = round(float(image[0, 0, 0]) * 255)
        assert red not in found
        found[red] = (target["labels"].tolist(), target["boxes"].tolist())
    return found


def random_objects(seed, number=12, size=(60, 40)):
    """Lists of boxes more than a pixel wide, some on the border; some lists are empty."""
    random = np.random.default_rng(seed)
    result = []
    for _ in range(number):
        rows = []
        for _ in range(random.integers(0, 5)):
            x1, x2 = np.sort(random.uniform(0, size[0], 2).astype(np.float32))
            y1, y2 = np.sort(random.uniform(0, size[1], 2).astype(np.float32))
            if random.random() < 0.3:
                x1, y2 = 0.0, float(size[1])
            if x2 - x1 > 1.5 and y2 - y1 > 1.5:
                box = [float(v) for v in (x1, y1, x2, y2)]
                rows.append((box, int(random.integers(len(NAMES))), 0))
        result.append(rows)
    return result


class TestByHand:
    """One box 8, 6 … 28, 16.5 of class 1 in a picture of 60 × 40."""

    @pytest.fixture
    def data(self, tmp_path):
        return coco_set(tmp_path / "from", [[([8, 6, 28, 16.5], 1, 0)]], names=["cat", "dog"])

    def test_coco(self, data, tmp_path):
        convert({"val": data}, tmp_path / "to", "coco")
        content = json.loads((tmp_path / "to" / "annotations" / "val.json").read_text())
        assert content["images"] == [{"id": 10, "file_name": "p0.png", "width": 60, "height": 40}]
        assert content["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        assert content["annotations"] == [
            {
                "id": 1,
                "image_id": 10,
                "category_id": 2,
                "bbox": [8, 6, 20, 10.5],
                "area": 7.5,
                "iscrowd": 0,
            }
        ]
        assert (tmp_path / "to" / "val" / "p0.png").is_file()

    def test_voc(self, data, tmp_path):
        convert({"val": data}, tmp_path / "to", "voc")
        tree = ElementTree.parse(tmp_path / "to" / "Annotations" / "p0.xml")
        assert [tree.findtext(f"size/{key}") for key in ("width", "height")] == ["60", "40"]
        assert tree.findtext("filename") == "p0.png" and tree.findtext("object/name") == "dog"
        corners = [tree.findtext(f"object/bndbox/{k}") for k in ("xmin", "ymin", "xmax", "ymax")]
        assert corners == ["9", "7", "28", "16.5"]
        assert (tmp_path / "to" / "ImageSets" / "Main" / "val.txt").read_text() == "p0\n"

    def test_yolo(self, data, tmp_path):
        convert({"val": data}, tmp_path / "to", "yolo")
        words = (tmp_path / "to" / "labels" / "val" / "p0.txt").read_text().split()
        assert words[0] == "1"
        assert [float(word) for word in words[1:]] == [0.3, 11.25 / 40, 20 / 60, 10.5 / 40]
        text = (tmp_path / "to" / "data.yaml").read_text()
        assert text == "val: images/val\nnames:\n- cat\n- dog\n"


@pytest.mark.parametrize("first", ["coco", "voc", "yolo"])
@pytest.mark.parametrize("second", ["coco", "voc", "yolo"])
def test_there_and_on_and_back(tmp_path, first, second):
    """Any way round, every float32 of a box and every name is as before, bit for bit."""
    data = coco_set(tmp_path / "from", random_objects(seed=5))
    wanted = objects_of(data)
    assert sum(len(labels) for labels, _ in wanted.values()) > 15

    for step, form in enumerate((first, second, "coco")):
        folder = tmp_path / f"{step}"
        done = convert({"train": data}, folder, form)
        assert done.class_names == NAMES and done.num_images == 12 and done.notes == []
        data = read(folder, form, NAMES)
        assert list(data.class_names) == NAMES
        assert objects_of(data) == wanted


def test_boxes_near_the_origin_and_in_large_pictures(tmp_path):
    """YOLO's shares are good to 1e-9 pixels, whatever the size of the picture."""
    rows = [([1e-6, 1e-5, 12345.678, 3.0], 0, 0), ([19998.5, 0, 20000, 2.0], 0, 0)]
    data = coco_set(tmp_path / "from", [rows], names=["cat"], size=(20000, 3))
    convert({"train": data}, tmp_path / "to", "yolo")
    found = YOLODetection(tmp_path / "to", "train").target(0)["boxes"].double()
    assert torch.allclose(found, data.target(0)["boxes"].double(), rtol=2**-23, atol=1e-9)


class TestNames:
    def test_one_stem_in_several_folders(self, tmp_path):
        files = ["a/p.png", "b/p.png", "b/P.PNG", "p_2.png", "b/p.bmp"]
        rows = [[([i + 1, 1, 30, 30], 0, 0)] for i in range(5)]
        data = coco_set(tmp_path / "from", rows, names=["cat"], files=files)
        for form in ("coco", "voc", "yolo"):
            convert({"train": data}, tmp_path / form, form)
            assert objects_of(read(tmp_path / form, form, ["cat"])) == objects_of(data)
        pictures = sorted(path.name for path in (tmp_path / "voc" / "JPEGImages").iterdir())
        assert pictures == ["P_3.PNG", "p.png", "p_2.png", "p_2_2.png", "p_4.bmp"]

    def test_names_that_lists_would_misread(self, tmp_path):
        files = ["photo 1.png", "frame.1.png", "frame.2.png", "a b -1.png", "ü.jpg.png"]
        rows = [[([i + 1, 1, 30, 30], 0, 0)] for i in range(5)]
        data = coco_set(tmp_path / "from", rows, names=["cat"], files=files)
        for form in ("coco", "voc", "yolo"):
            convert({"train": data}, tmp_path / form, form)
            assert objects_of(read(tmp_path / form, form, ["cat"])) == objects_of(data)

        # Other readers take what stands behind a blank for a flag.
        names = (tmp_path / "voc" / "ImageSets" / "Main" / "train.txt").read_text().split("\n")
        assert names == ["photo_1", "frame.1", "frame.2", "a_b_-1", "ü.jpg", ""]

    def test_a_name_that_a_format_cannot_hold(self, tmp_path):
        data = coco_set(tmp_path / "from", [[([1, 1, 30, 30], 0, 0)]], names=["cat"])
        data.class_names = [" cat"]  # XML files are read without blanks around words
        with pytest.raises(ValueError, match=r"' cat'"):
            convert({"train": data}, tmp_path / "to", "voc")
        with pytest.raises(ValueError, match=r"COCO cannot hold the class names \[' cat'\]"):
            convert({"train": data}, tmp_path / "to", "coco")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["from"]


class TestSplits:
    def test_in_one_folder(self, tmp_path):
        parts = [
            coco_set(tmp_path / name, [[([left, 1, 30, 30], 0, 0)]], names=["cat", "dog"])
            for name, left in (("one", 3), ("two", 5))
        ]
        for form in ("coco", "voc", "yolo"):
            done = convert(dict(zip(("train", "val"), parts)), tmp_path / form, form)
            assert (done.num_images, done.num_objects) == (2, 2)
            for split, left in (("train", 3), ("val", 5)):
                found = read(tmp_path / form, form, ["cat", "dog"], split)
                assert found.target(0)["boxes"].tolist() == [[left, 1, 30, 30]]

    def test_classes_must_agree(self, tmp_path):
        one = coco_set(tmp_path / "one", [[]], names=["cat", "dog"])
        two = coco_set(tmp_path / "two", [[]], names=["dog", "cat"])
        with pytest.raises(ValueError, match=r"different classes: \['cat', 'dog'\] and"):
            convert({"train": one, "val": two}, tmp_path / "to", "coco")

    @pytest.mark.parametrize("name", ["", "../train", "a b", "a/b"])
    def test_their_names(self, tmp_path, name):
        data = coco_set(tmp_path / "one", [[]])
        with pytest.raises(ValueError, match="a split is called"):
            convert({name: data}, tmp_path / "to", "coco")


class TestWhatIsLost:
    def test_crowds(self, tmp_path):
        data = coco_set(tmp_path / "from", [[([1, 1, 30, 30], 0, 1), ([2, 2, 9, 9], 1, 0)]])
        assert convert({"train": data}, tmp_path / "coco", "coco").notes == []
        assert read(tmp_path / "coco", "coco", NAMES).target(0)["iscrowd"].tolist() == [1, 0]
        for form in ("voc", "yolo"):
            (note,) = convert({"train": data}, tmp_path / form, form).notes
            assert note == f"1 × mark iscrowd lost, which {form.upper()} does not know"

    def test_difficult_objects(self, tmp_path):
        data = coco_set(tmp_path / "from", [[([1, 1, 30, 30], 0, 0), ([2, 2, 9, 9], 1, 0)]])
        convert({"train": data}, tmp_path / "voc", "voc")
        path = tmp_path / "voc" / "Annotations" / "p0.xml"
        path.write_text(path.read_text().replace("<difficult>0", "<difficult>1", 1))
        marked = read(tmp_path / "voc", "voc", NAMES)
        assert convert({"train": marked}, tmp_path / "again", "voc").notes == []
        assert read(tmp_path / "again", "voc", NAMES).target(0)["difficult"].tolist() == [1, 0]
        (note,) = convert({"train": marked}, tmp_path / "coco", "coco").notes
        assert note == "1 × mark difficult lost, which COCO does not know"

    @pytest.mark.parametrize(
        ("form", "rows", "what"),
        [
            ("voc", [[1, 1, 2, 30], [1, 1, 30, 30]], "at most one pixel wide or high"),
            ("yolo", [[1, 1, 30, 30], [1, 1, 30, 30]], "given twice"),
        ],
    )
    def test_objects_that_a_format_cannot_hold(self, tmp_path, form, rows, what):
        data = coco_set(tmp_path / "from", [[(row, 0, 0) for row in rows]])
        with pytest.raises(ValueError, match=rf"p0\.png: object {what}"):
            convert({"train": data}, tmp_path / "to", form)
        assert not (tmp_path / "to").exists()
        done = convert({"train": data}, tmp_path / "to", form, drop_unwritable=True)
        assert done.num_objects == 1 and what in done.notes[0]
        assert objects_of(read(tmp_path / "to", form, NAMES)) == {0: ([0], [[1, 1, 30, 30]])}


class TestPictures:
    def test_copies_are_the_same_bytes(self, tmp_path):
        data = coco_set(tmp_path / "from", [[]], files=["a.png"])
        convert({"train": data}, tmp_path / "to", "coco")
        copy = tmp_path / "to" / "train" / "a.png"
        assert not copy.is_symlink()
        assert copy.read_bytes() == (tmp_path / "from" / "img" / "a.png").read_bytes()

    def test_links(self, tmp_path):
        data = coco_set(tmp_path / "from", [[([1, 1, 9, 9], 0, 0)]], files=["a.png"])
        convert({"train": data}, tmp_path / "to", "yolo", link=True)
        link = tmp_path / "to" / "images" / "train" / "a.png"
        assert link.is_symlink() and link.resolve() == tmp_path / "from" / "img" / "a.png"

    def test_links_to_a_folder_that_was_named_from_here(self, tmp_path, monkeypatch):
        coco_set(tmp_path / "from", [[([1, 1, 9, 9], 0, 0)]], files=["a.png"])
        monkeypatch.chdir(tmp_path)
        data = CocoDetection("from/img", "from/ann.json")
        convert({"train": data}, "to", "yolo", link=True)
        assert (tmp_path / "to" / "images" / "train" / "a.png").is_file()

    def test_shades_are_rounded_and_not_cut_off(self, tmp_path):
        shades = torch.tensor([0.4, 0.6, 99.6, 254.4, 254.6]).repeat(3, 1, 1)  # (3, 1, 5)
        target = {"boxes": torch.tensor([[0.0, 0, 3, 1]]), "labels": torch.tensor([0])}

        class Drawn(list):
            class_names = ("cat",)

        convert({"train": Drawn([(shades / 255, target)])}, tmp_path / "to", "coco")
        with Image.open(tmp_path / "to" / "train" / "000000.png") as picture:
            assert np.array(picture)[0, :, 0].tolist() == [0, 1, 100, 254, 255]

    def test_drawn_scenes(self, tmp_path):
        data = ToyTown(3, size=64, seed=1)
        convert({"train": data}, tmp_path / "to", "coco")
        found = read(tmp_path / "to", "coco", data.class_names)
        assert found.class_names == list(data.class_names)
        for i in range(3):
            image, target = found[i]
            assert torch.equal(image, (data[i][0] * 255).round() / 255)
            assert torch.equal(target["boxes"], data[i][1]["boxes"])
            assert torch.equal(target["labels"], data[i][1]["labels"])

    def test_a_photograph_that_was_stored_turned(self, tmp_path):
        """Boxes are those of the upright picture; the file stays as it is."""
        data = coco_set(tmp_path / "from", [[([1, 1, 9, 30], 0, 0)]], files=["a.jpg"])
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (40, 60)).save(tmp_path / "from" / "img" / "a.jpg", exif=exif)
        for form in ("coco", "voc", "yolo"):
            convert({"train": data}, tmp_path / form, form)
            image, target = read(tmp_path / form, form, NAMES)[0]
            assert image.shape == (3, 40, 60)
            assert target["boxes"].tolist() == [[1, 1, 9, 30]]

    def test_a_picture_of_another_size(self, tmp_path):
        data = coco_set(tmp_path / "from", [[([1, 1, 9, 30], 0, 0)]], files=["a.png"])
        Image.new("RGB", (80, 80)).save(tmp_path / "from" / "img" / "a.png")
        with pytest.raises(ValueError, match=r"a\.png.*80×80"):
            convert({"train": data}, tmp_path / "to", "yolo")


class TestFolder:
    @pytest.mark.parametrize("kind", ["folder", "file", "link to nowhere"])
    def test_what_is_there_stays(self, tmp_path, kind):
        data = coco_set(tmp_path / "from", [[]])
        place = tmp_path / "to"
        if kind == "folder":
            place.mkdir()
        elif kind == "file":
            place.write_text("mine")
        else:
            place.symlink_to(tmp_path / "nowhere")
        with pytest.raises(FileExistsError, match="is there already"):
            convert({"train": data}, place, "coco")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["from", "to"]

    def test_nothing_is_left_of_a_failure(self, tmp_path):
        data = coco_set(tmp_path / "from", [[], []])
        (tmp_path / "from" / "img" / "p1.png").unlink()
        with pytest.raises((FileNotFoundError, ValueError), match=r"p1\.png"):
            convert({"train": data}, tmp_path / "to", "coco")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["from"]

    def test_a_full_disk_is_that_of_the_new_folder(self, tmp_path, monkeypatch):
        """The system would name the picture that was read."""

        def full(source, goal):
            raise OSError(errno.ENOSPC, "No space left on device", str(source))

        data = coco_set(tmp_path / "from", [[]])
        monkeypatch.setattr("shutil.copyfile", full)
        with pytest.raises(OSError, match="No space left") as raised:
            convert({"train": data}, tmp_path / "to", "coco")
        assert raised.value.filename == str(tmp_path / "to")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["from"]

    def test_what_cannot_be_converted(self, tmp_path):
        data = coco_set(tmp_path / "from", [[]])
        with pytest.raises(ValueError, match="the format is 'csv', expected one of coco"):
            convert({"train": data}, tmp_path / "to", "csv")
        with pytest.raises(ValueError, match="nothing to convert"):
            convert({}, tmp_path / "to", "coco")


def test_random_sets_along_random_chains():
    """A few cases, read by a second reader; the script runs thousands."""
    path = Path(__file__).parent / "fuzz" / "fuzz_convert.py"
    spec = importlib.util.spec_from_file_location("fuzz_convert", path)
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    assert [problem for problem in map(fuzz.run_case, range(12)) if problem] == []

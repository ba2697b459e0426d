"""``detlearn data``: what it says of a data set, the sheet that it draws, and what it converts."""

import json

import pytest
from PIL import Image

from detlearn.cli import main
from detlearn.data import CocoDetection, VOCDetection, YOLODetection


def coco_folder(root, rows, names=("cat", "dog"), sizes=((60, 40), (60, 40), (200, 150))):
    """A COCO folder with grey pictures; rows of (picture, class, x, y, width, height)."""
    (root / "img").mkdir(parents=True)
    images, annotations = [], []
    for i, (width, height) in enumerate(sizes):
        Image.new("RGB", (width, height), "grey").save(root / "img" / f"p{i}.png")
        images.append({"id": i, "file_name": f"p{i}.png", "width": width, "height": height})
    for i, (picture, label, *box) in enumerate(rows, start=1):
        entry = {"id": i, "image_id": picture, "category_id": label, "bbox": box}
        annotations.append({**entry, "iscrowd": 0})
    categories = [{"id": label, "name": name} for label, name in enumerate(names)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (root / "ann.json").write_text(json.dumps(content))
    return f"coco:{root / 'img'},{root / 'ann.json'}"


ROWS = [(0, 0, 8, 6, 20, 10), (0, 0, 30, 6, 20, 20), (2, 1, 10, 10, 100, 120)]


class TestDescribe:
    def test_what_is_there(self, tmp_path, run):
        """Three boxes: 20 × 10, 20 × 20 and 100 × 120, so areas of 200, 400 and 12000."""
        assert run("data", coco_folder(tmp_path, ROWS)) == (
            "3 pictures, 3 objects, 2 classes\n"
            "\n"
            "picture sizes (width × height): 60×40 (2), 200×150 (1)\n"
            "objects in a picture: 0 to 2, on average 1.0; 1 picture without\n"
            "boxes in pixels: width 20 to 100, median 20; height 10 to 120, median 20\n"
            "by area: 2 small (below 32² pixels), 0 medium, 1 large (above 96²)\n"
            "\n"
            "label  class  objects  pictures\n"
            "    0  cat          2         1\n"
            "    1  dog          1         1\n"
            "\n"
            "nothing had to be left out\n"
        )

    def test_many_sizes(self, tmp_path, run):
        sizes = [(40, 40)] * 2 + [(20 + i, 50) for i in range(5)]
        out = run("data", coco_folder(tmp_path, ROWS[:2], sizes=sizes))
        assert "6 sizes from 20×50 to 40×40, most often 40×40 (2)" in out

    def test_marks(self, tmp_path, run):
        word = coco_folder(tmp_path, ROWS)
        path = tmp_path / "ann.json"
        path.write_text(path.read_text().replace('"iscrowd": 0', '"iscrowd": 1', 1))
        assert "marked iscrowd: 1\n" in run("data", word)

    def test_what_is_left_out(self, tmp_path, run):
        """Counts, kinds, and the first of them; and the exit status says it, too."""
        word = coco_folder(tmp_path, [*ROWS, (0, 0, 5, 5, 0, 9), (1, 0, 5, 5, 9, 0)])
        out = run("data", word, status=1)
        assert "3 pictures, 3 objects" in out and "2 × box without area" in out
        assert "annotation 4 of image 0" in out and "nothing had to be left out" not in out

    def test_pictures_that_are_missing_or_cut_off(self, tmp_path, run):
        """The others are shown all the same."""
        word = coco_folder(tmp_path, ROWS)
        (tmp_path / "img" / "p1.png").unlink()
        picture = tmp_path / "img" / "p2.png"
        picture.write_bytes(picture.read_bytes()[:-30])
        out = run("data", word, status=1)
        assert out.startswith("1 picture, 2 objects, 2 classes\n")
        assert "p1.png" in out and "p2.png" in out and "1 of 3 images left out" in out

    def test_no_object(self, tmp_path, run):
        assert "3 pictures, 0 objects" in run("data", coco_folder(tmp_path, []), status=1)

    def test_classes_in_another_order(self, tmp_path, run):
        out = run("data", coco_folder(tmp_path, ROWS), "--classes", "dog", "cat")
        assert "    0  dog          1         1\n    1  cat          2         1\n" in out

    def test_wide_characters_keep_the_columns(self, tmp_path, run):
        out = run("data", coco_folder(tmp_path, ROWS, names=("猫", "$dog")))
        assert "    0  猫           2" in out and "    1  $dog         1" in out

    def test_drawn_scenes(self, run, monkeypatch):
        monkeypatch.setattr("detlearn.cli.data.NUM_SCENES", 3)
        out = run("data", "toytown")
        assert out.startswith("3 pictures, ") and "128×128 (3)" in out

    @pytest.mark.parametrize(
        "words",
        [
            ["a", "b"],
            ["toytown", "--link"],
            ["convert", "toytown"],
            ["convert", "toytown", "toytown"],
            ["convert", "toytown", "coco:"],
            ["convert", "toytown", "coco:a,b"],
            ["convert", "toytown", "toytown", "coco:a"],
            ["convert", "toytown", "coco:a", "--sheet", "a.png"],
            ["convert", "toytown", "--link", "toytown"],
            ["toytown", "--split", "train", "b"],
            ["toytown", "--lnik"],
            ["toytown", "--split", "train", "b", "--lnik"],
        ],
    )
    def test_usage(self, words, capsys):
        with pytest.raises(SystemExit) as ended:
            main(["data", *words])
        assert ended.value.code == 2
        assert "usage: detlearn data" in capsys.readouterr().err

    def test_an_option_that_takes_the_words_behind_it(self, capsys):
        with pytest.raises(SystemExit):
            main(["data", "convert", "toytown", "--classes", "a", "b", "coco:to"])
        assert "and where to: coco:…, voc:… or yolo:FOLDER (before" in capsys.readouterr().err


class TestSheet:
    def test_is_drawn_and_drawn_again(self, tmp_path, run):
        word, sheet = coco_folder(tmp_path / "set", ROWS), tmp_path / "sheets" / "look.png"
        out = run("data", word, "--sheet", sheet)
        assert f"3 of 3 pictures are drawn in {sheet}" in out
        with Image.open(sheet) as drawing:
            assert drawing.width > 1000
        run("data", word, "--sheet", sheet)
        assert [path.name for path in sheet.parent.iterdir()] == ["look.png"]

    @pytest.mark.parametrize("kind", ["text", "photo", "link to nowhere", "painted on"])
    def test_what_is_somebodys_stays(self, tmp_path, run, kind):
        word, sheet = coco_folder(tmp_path / "set", ROWS), tmp_path / "look.png"
        if kind == "text":
            sheet.write_text("mine")
        elif kind == "photo":
            Image.new("RGB", (30, 30)).save(sheet)
        elif kind == "link to nowhere":
            sheet.symlink_to(tmp_path / "nowhere")
        else:
            run("data", word, "--sheet", sheet)
            with Image.open(sheet) as drawing:
                drawing.load()
            drawing.putpixel((3, 3), (1, 2, 3, 255))
            drawing.save(sheet)
        before = sheet.read_bytes() if sheet.exists() else None

        message = run("data", word, "--sheet", sheet, status=2)
        assert f"{sheet} is there already, and detlearn data did not write it" in message
        assert (sheet.read_bytes() if sheet.exists() else None) == before

        run("data", word, "--sheet", sheet, "--overwrite")
        with Image.open(sheet) as drawing:
            assert drawing.width > 1000

    def test_is_a_png_file(self, tmp_path, run):
        word = coco_folder(tmp_path / "set", ROWS)
        assert "must end in .png" in run("data", word, "--sheet", tmp_path / "a.jpg", status=2)
        (tmp_path / "b.png").mkdir()
        assert "is a folder" in run("data", word, "--sheet", tmp_path / "b.png", status=2)


class TestConvert:
    def test_to_each_form_and_back(self, tmp_path, run):
        """What is printed to read it with does read it."""
        word = coco_folder(tmp_path / "set", ROWS, names=("zebra", "a cat"))
        for form in ("voc", "yolo", "coco"):
            out = run("data", "convert", word, f"{form}:{tmp_path / form}")
            assert out.startswith(f"3 pictures, 3 objects, 2 classes → {tmp_path / form}\n")

            (line,) = [line for line in out.splitlines() if line.startswith("read it with: ")]
            found = {
                "voc": f"--data voc:{tmp_path}/voc --split train --classes zebra 'a cat'",
                "yolo": f"--data yolo:{tmp_path}/yolo --split train",
                "coco": f"--data coco:{tmp_path}/coco/train,{tmp_path}/coco/annotations/train.json",
            }
            assert line == f"read it with: {found[form]}"

        boxes = [[8, 6, 28, 16], [30, 6, 50, 26]]
        for data in (
            CocoDetection(tmp_path / "coco" / "train", tmp_path / "coco/annotations/train.json"),
            VOCDetection(tmp_path / "voc", "train", class_names=["zebra", "a cat"]),
            YOLODetection(tmp_path / "yolo", "train"),
        ):
            assert list(data.class_names) == ["zebra", "a cat"] and len(data) == 3
            assert data.target(0)["boxes"].tolist() == boxes
            assert data.target(2)["labels"].tolist() == [1]

    def test_several_splits(self, tmp_path, run):
        one = coco_folder(tmp_path / "one", ROWS)
        two = coco_folder(tmp_path / "two", ROWS[2:], names=("dog", "cat"))
        out = run("data", "convert", f"train={one}", f"val={two}", f"yolo:{tmp_path / 'to'}")
        assert out.startswith("6 pictures, 4 objects, 2 classes")
        data = YOLODetection(tmp_path / "to", "val")
        assert data.class_names == ["cat", "dog"]
        assert data.target(2)["labels"].tolist() == [0]  # a cat, by its name

    def test_links(self, tmp_path, run):
        word = coco_folder(tmp_path / "set", ROWS)
        run("data", "convert", word, f"voc:{tmp_path / 'to'}", "--link")
        assert (tmp_path / "to" / "JPEGImages" / "p0.png").is_symlink()

    def test_options_between_the_words(self, tmp_path, run):
        word = coco_folder(tmp_path / "set", ROWS)
        run("data", "--split", "a", "convert", word, "--link", f"voc:{tmp_path / 'to'}")
        assert (tmp_path / "to" / "JPEGImages" / "p0.png").is_symlink()
        assert len(VOCDetection(tmp_path / "to", "a")) == 3

    def test_what_a_format_cannot_hold(self, tmp_path, run):
        word = coco_folder(tmp_path / "set", [*ROWS, (1, 0, 5, 5, 1, 9)])
        to = f"voc:{tmp_path / 'to'}"
        message = run("data", "convert", word, to, status=2)
        assert "p1.png: object at most one pixel wide or high" in message
        out = run("data", "convert", word, to, "--accept-left-out")
        assert "note: 1 × object at most one pixel wide or high" in out

    def test_a_folder_that_is_there(self, tmp_path, run):
        word = coco_folder(tmp_path / "set", ROWS)
        message = run("data", "convert", word, f"coco:{tmp_path / 'set'}", status=2)
        assert f"{tmp_path / 'set'} is there already" in message

    def test_an_empty_set_is_asked_for(self, tmp_path, run):
        word, to = coco_folder(tmp_path / "set", []), f"coco:{tmp_path / 'to'}"
        assert "no object in 3 pictures" in run("data", "convert", word, to, status=2)
        run("data", "convert", word, to, "--accept-empty")

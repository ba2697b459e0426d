"""``detlearn detect`` on pictures as they come: folders, phones, strips, names in every script."""

import json
import os
import resource
import threading

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from detlearn import models, plotting
from detlearn.cli import detect, main
from detlearn.cli.findings import check_free, write_findings
from detlearn.plotting import fonts
from detlearn.pretrained import save_detector

NAMES = ["a $5 and a $6", "ca_t", "猫"]


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """The file of a detector that finds something everywhere: it has learned nothing."""
    torch.manual_seed(0)
    model = models.create("point", 3)
    with torch.no_grad():
        model.heatmap_head[1].bias += 4
    path = tmp_path_factory.mktemp("detector") / "detector.safetensors"
    save_detector(path, model, "point", NAMES)
    return path


@pytest.fixture
def run(detector, capsys):
    """A function that runs detect in this process and returns what it wrote."""

    def call(*words, status=0, detector=detector):
        capsys.readouterr()
        words = ["detect", detector, "--min-score", 1, *words]  # to draw a hundred boxes takes time
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert code == status, err
        return out, err

    return call


def picture(path, width=48, height=32, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def found(*rows):
    """Detections (x1, y1, x2, y2, score, label)."""
    numbers = torch.tensor(rows).reshape(-1, 6)
    return {"boxes": numbers[:, :4], "scores": numbers[:, 4], "labels": numbers[:, 5].long()}


class TestDrawing:
    @pytest.mark.parametrize(
        ("size", "drawn"),
        [
            ((900, 600), (900, 600)),
            ((400, 3), (400, 3)),
            ((399, 10), (798, 20)),  # the smallest whole multiple from 400 on
            ((128, 128), (512, 512)),
            ((1, 1), (400, 400)),
        ],
    )
    def test_has_the_pixels_of_the_photograph(self, size, drawn):
        width, height = size
        pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = torch.from_numpy(pixels).permute(2, 0, 1) / 255
        drawing = detect.draw(image, found(), ["cat"])
        assert drawing.size == drawn and drawing.mode == "RGB"
        factor = drawn[0] // width
        again = np.asarray(drawing).reshape(height, factor, width, factor, 3)
        assert (again == pixels[:, None, :, None]).all()

    def test_a_box_lies_where_it_is(self):
        """On white; in the colour of class 0, far from its tag."""
        drawing = np.asarray(
            detect.draw(torch.ones(3, 600, 900), found([300, 200, 700, 500, 0.9, 0]), ["cat"])
        )
        amber = np.abs(drawing.astype(int) - (0xFC, 0xA8, 0x00)).sum(-1) < 30
        rows, columns = np.nonzero(amber)
        below = rows > 205  # the tag stands above
        assert abs(columns[below].min() - 300) <= 3 and abs(columns[below].max() - 700) <= 3
        assert abs(rows.max() - 500) <= 3
        assert amber[350, 299:302].any() and not amber[350, 310:690].any()

    def test_a_box_along_the_border_is_seen_on_all_sides(self):
        drawing = np.asarray(
            detect.draw(torch.ones(3, 403, 701), found([0, 0, 701, 403, 0.9, 0]), ["cat"])
        )
        for row, column in ((200, 0), (200, 700), (402, 350), (0, 690)):
            assert (drawing[row, column] != 255).any()

    def test_lines_are_as_wide_as_the_picture_asks(self):
        """Twice the pixels, twice the line."""
        widths = []
        for scale in (1, 2):
            box = [scale * side for side in (300, 100, 700, 250)]
            image = torch.ones(3, 400 * scale, 800 * scale)
            drawing = np.asarray(detect.draw(image, found([*box, 0.9, 0]), ["cat"]))
            row = drawing[200 * scale, : 500 * scale]
            widths.append(int((row != 255).any(-1).sum()))
        # 2.2 points with a casing of 1.9 times that, at 80 dots an inch: 4.6 pixels.
        assert 4 <= widths[0] <= 7 and abs(widths[1] - 2 * widths[0]) <= 3

    def test_a_dollar_is_a_dollar(self):
        """As a formula "$5 and a $" would be set in italics, without the dollars."""
        ax = plotting.show(torch.ones(3, 60, 60), found([9, 9, 40, 40, 0.9, 0]), class_names=NAMES)
        (tag,) = ax.texts
        assert tag.get_text() == "a $5 and a $6 0.90" and not tag.get_parse_math()

    def test_a_legend_has_names_as_they_are(self):
        target = {"boxes": torch.tensor([[9.0, 9, 40, 40]]), "labels": torch.tensor([0])}
        figure = plotting.show_grid([(torch.ones(3, 60, 60), target)], class_names=NAMES)
        (text,) = figure.legends[0].get_texts()
        assert text.get_text() == "0 a $5 and a $6" and not text.get_parse_math()


class TestFonts:
    def test_a_character_of_the_usual_font(self):
        assert fonts.fonts_for("Größe ✓ Я") == ["DejaVu Sans"]
        assert fonts.missing_characters("a b\tc") == ""

    def test_another_font_helps(self):
        """U+1D49E, a script C, is in STIX, which comes with matplotlib, and not in DejaVu Sans."""
        assert fonts.fonts_for("A 𝒞")[0] == "DejaVu Sans" and len(fonts.fonts_for("A 𝒞")) == 2
        assert fonts.missing_characters("𝒞") == ""

    def test_no_font_helps(self):
        private = "\U0010fffd"
        assert fonts.missing_characters(f"x{private}{private}") == private
        assert fonts.fonts_for(private) == ["DejaVu Sans"]

    def test_names_that_cannot_be_drawn_are_said_once(self, capsys, monkeypatch):
        missing = {"猫": "猫"}
        monkeypatch.setattr(fonts, "missing_characters", lambda text: missing.get(text, ""))
        assert detect.drawable_names(NAMES) == ["a $5 and a $6", "ca_t", "class 2"]
        err = capsys.readouterr().err
        assert err.count("note: ") == 1 and "stands 'class 2' for 猫" in err

    def test_the_numbers_keep_the_name(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(fonts, "missing_characters", lambda text: text)
        run(picture(tmp_path / "a.png"), "--out", tmp_path / "out", "--min-score", 0)
        rows = json.loads((tmp_path / "out" / "a.json").read_text())
        assert {row["class"] for row in rows} <= set(NAMES) and rows != []


class TestWhatIsSaid:
    def test_nothing_above_the_threshold(self, run, tmp_path):
        path = picture(tmp_path / "a.png")
        out, _ = run(path, "--out", tmp_path / "out")
        best = json.loads((tmp_path / "out" / "a.json").read_text())
        assert best == []
        run(path, "--json", tmp_path / "all.json")
        best = max(row["score"] for row in json.loads((tmp_path / "all.json").read_text()))
        assert f"0 objects at 1.00, best {int(100 * best) / 100:.2f}" in out

    @pytest.mark.parametrize(
        ("scores", "said"),
        [
            ([], "0 objects at 0.30, and none down to 0.05"),
            ([0.14], "0 objects at 0.30, best 0.14"),
            ([0.2999], "0 objects at 0.30, best 0.29"),
            ([0.3, 0.1], "1 object"),
            ([0.9, 0.4, 0.1], "2 objects"),
        ],
    )
    def test_in_words(self, scores, said):
        rows = [[0, 0, 1, 1, score, 0] for score in scores]
        assert detect._summary(found(*rows), 0.3 - 1e-6, 0.05) == said


class TestFolders:
    def test_the_pictures_in_it_by_name(self, run, tmp_path):
        folder = tmp_path / "photos"
        (folder / "below").mkdir(parents=True)
        picture(folder / "b.JPG", format="JPEG")
        picture(folder / "a.png")
        picture(folder / "below" / "c.png")
        picture(folder / ".hidden.png")
        (folder / "notes.txt").write_text("no picture")
        out, _ = run(folder, "--out", tmp_path / "out")
        assert [line.split(":")[0] for line in out.splitlines()] == [
            str(folder / "a.png"),
            str(folder / "b.JPG"),
        ]
        assert sorted(os.listdir(tmp_path / "out")) == ["a.json", "a.png", "b.json", "b.png"]

    def test_own_drawings_in_it_are_left_out_and_said(self, run, tmp_path):
        """Twice the same command, into the folder of the photographs."""
        photo = picture(tmp_path / "a.jpg")
        before = photo.read_bytes()
        run(tmp_path, "--out", tmp_path)
        _, err = run(tmp_path, "--out", tmp_path)
        assert "1 drawings of detlearn detect left out" in err
        assert sorted(os.listdir(tmp_path)) == ["a.jpg", "a.json", "a.png"]
        assert photo.read_bytes() == before

    def test_a_photograph_is_not_replaced_by_its_drawing(self, run, tmp_path):
        photo = picture(tmp_path / "shot.png")
        before = photo.read_bytes()
        _, err = run(tmp_path, "--out", tmp_path, status=2)
        assert f"{photo} is there already, and detlearn detect did not write it" in err
        assert os.listdir(tmp_path) == ["shot.png"] and photo.read_bytes() == before

    def test_without_pictures(self, run, tmp_path):
        _, err = run(tmp_path, "--out", tmp_path / "out", status=2)
        assert f"{tmp_path}: no picture in this folder\n" in err

        # Pictures in folders below are not guessed to be meant, but said to be there.
        for folder in ("b", "a"):
            (tmp_path / folder).mkdir()
            picture(tmp_path / folder / "c.png")
        _, err = run(tmp_path, "--out", tmp_path / "out", status=2)
        assert f"give one of the folders below: {tmp_path / 'a'}, {tmp_path / 'b'}\n" in err

    @pytest.mark.parametrize("score", ["30", "-0.1", "nan"])
    def test_scores_that_none_has(self, detector, tmp_path, capsys, score):
        with pytest.raises(SystemExit):
            main(["detect", str(detector), str(tmp_path), f"--min-score={score}"])
        assert f"--min-score is {score}: scores go from 0 to 1" in capsys.readouterr().err

    def test_two_of_one_name(self, run, tmp_path):
        picture(tmp_path / "a.png"), picture(tmp_path / "a.jpg")
        _, err = run(tmp_path, "--out", tmp_path / "out", status=2)
        assert "two images are called a" in err and "a.png" in err and "a.jpg" in err

    def test_one_broken_picture_is_said_and_the_others_are_done(self, run, tmp_path):
        photos = tmp_path / "photos"
        photos.mkdir()
        (photos / "a.png").write_bytes(b"no picture")
        picture(photos / "b.png")
        _, err = run(photos, "--out", tmp_path / "out", status=2)
        assert f"note: {photos / 'a.png'}: cannot be read as a picture" in err
        assert "1 of 2 pictures could not be read" in err.splitlines()[-1]
        assert sorted(os.listdir(tmp_path / "out")) == ["b.json", "b.png"]


class TestTwoAtOnce:
    def test_each_drawing_has_its_own_numbers(self, tmp_path):
        """Two that find something else in the same picture: the last one's pair stays."""
        drawings = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]

        def write(which):
            for _ in range(25):
                write_findings(tmp_path, "a", [{"found": which}], drawings[which])

        threads = [threading.Thread(target=write, args=[which]) for which in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        check_free(tmp_path, ["a"])  # the pair is known as one that was written together
        assert sorted(os.listdir(tmp_path)) == ["a.json", "a.png"]
        (row,) = json.loads((tmp_path / "a.json").read_text())
        with Image.open(tmp_path / "a.png") as drawing:
            assert drawing.getpixel((4, 4)) == drawings[row["found"]].getpixel((4, 4))

    def test_the_same_command_twice(self, run, tmp_path, monkeypatch):
        """One starts, and ends, while the other draws: the same files as of one."""
        photo = picture(tmp_path / "photo.png")
        run(photo, "--out", tmp_path / "alone")
        draw = detect.draw

        def late(*arguments):
            monkeypatch.setattr(detect, "draw", draw)
            run(photo, "--out", tmp_path / "out")
            return draw(*arguments)

        monkeypatch.setattr(detect, "draw", late)
        run(photo, "--out", tmp_path / "out")
        for name in ("photo.json", "photo.png"):
            files = [tmp_path / folder / name for folder in ("alone", "out")]
            assert files[0].read_bytes() == files[1].read_bytes()
        assert len(os.listdir(tmp_path / "out")) == 2

    def test_results_that_another_has_written_meanwhile_stay(self, run, tmp_path, monkeypatch):
        photo, results = picture(tmp_path / "photo.png"), tmp_path / "results.json"
        read = detect._detect

        def late(*arguments):
            results.write_text("of another")
            return read(*arguments)

        monkeypatch.setattr(detect, "_detect", late)
        _, err = run(photo, "--json", results, status=2)
        assert f"{results} is there already" in err and results.read_text() == "of another"


def test_a_full_disk(run, tmp_path):
    """A limit on the size of files stops a write in the middle, as a full disk does."""
    photo, out = picture(tmp_path / "a.jpg"), tmp_path / "out"
    run(photo, "--out", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        _, err = run(photo, "--out", out, status=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    last = err.splitlines()[-1]
    assert "File too large" in last and str(out / "a.png") in last
    assert os.listdir(out) == ["a.png"] and (out / "a.png").read_bytes() == before["a.png"]

    # With room again, the same command leaves the same files.
    run(photo, "--out", out)
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("size", [None, 10**15])
def test_a_full_memory_is_one_sentence(run, tmp_path, monkeypatch, size):
    """Of a GPU, as torch says it, and of the machine itself, asked for more than any has."""

    def full(model, images, sizes=None):
        if size is None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")
        return torch.empty(size)

    monkeypatch.setattr(models.PointDetector, "predict", full)
    _, err = run(picture(tmp_path / "a.png"), "--out", tmp_path / "out", status=2)
    last = err.splitlines()[-1]
    assert last.startswith("detlearn detect: the memory is full (") and "Traceback" not in err
    assert last.endswith("): try --device cpu")
    assert os.listdir(tmp_path) == ["a.png"]


class TestOddPictures:
    def test_pipes_and_devices_are_refused(self, run, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        for path in (tmp_path / "pipe.png", "/dev/null"):
            _, err = run(path, "--out", tmp_path / "out", status=2)
            assert f"{path} is a pipe or a device: expected a picture or a folder" in err
        _, err = run(tmp_path, "--out", tmp_path / "out", status=2)  # in a folder it is passed over
        assert "no picture in this folder" in err

    def test_a_missing_one_is_said_before_anything_is_written(self, run, tmp_path):
        photo = picture(tmp_path / "a.png")
        _, err = run(photo, tmp_path / "gone.png", "--out", tmp_path / "out", status=2)
        assert f"{tmp_path / 'gone.png'}: no such picture" in err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("turn", [1, 3, 6, 8, 5])
    def test_a_turned_photograph_comes_out_upright(self, run, tmp_path, turn):
        """Left half red as people see it, whatever way the camera held it."""
        seen = Image.new("RGB", (440, 410), "blue")
        seen.paste("red", (0, 0, 220, 410))
        back = {3: "ROTATE_180", 6: "ROTATE_90", 8: "ROTATE_270", 5: "TRANSPOSE"}
        stored = seen.transpose(Image.Transpose[back[turn]]) if turn != 1 else seen
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = turn
        stored.save(tmp_path / "a.png", exif=exif)

        run(tmp_path / "a.png", "--out", tmp_path / "out")
        with Image.open(tmp_path / "out" / "a.png") as drawing:
            assert drawing.size == (440, 410)
            assert drawing.getexif().get(ExifTags.Base.Orientation, 1) == 1
            assert drawing.getpixel((100, 200)) == (255, 0, 0)
            assert drawing.getpixel((300, 200)) == (0, 0, 255)

    @pytest.mark.parametrize("size", [(3000, 5), (5, 3000), (1, 1), (2, 700)])
    @pytest.mark.parametrize("sizes", [(None, None), (192, 342)])
    def test_strips(self, run, tmp_path, size, sizes):
        """192 to 342 pixels: of 5 × 3000 the shorter side would have 0.57."""
        model = models.create("point", 3, min_size=sizes[0], max_size=sizes[1])
        with torch.no_grad():
            model.heatmap_head[1].bias += 4
        save_detector(tmp_path / "sized.safetensors", model, "point", NAMES)

        photo = picture(tmp_path / "strip.png", *size)
        words = [photo, "--out", tmp_path / "out", "--json", tmp_path / "all.json"]
        run(*words, detector=tmp_path / "sized.safetensors")
        assert sorted(os.listdir(tmp_path / "out")) == ["strip.json", "strip.png"]
        for row in json.loads((tmp_path / "all.json").read_text()):
            x, y, width, height = row["bbox"]
            assert 0 <= x <= x + width <= size[0] + 1e-3
            assert 0 <= y <= y + height <= size[1] + 1e-3


class TestCocoResults:
    def test_rows_by_hand(self):
        (row,) = detect.coco_rows(
            found([1.5, 2, 11.5, 6, 0.75, 1]), ["cat", "dog"], {"cat": 7, "dog": 9}
        )
        assert row == {
            "category_id": 9, "category": "dog", "bbox": [1.5, 2, 10, 4], "score": 0.75,
        }  # fmt: skip

    def test_all_of_them_in_one_file_and_nothing_else(self, run, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        photos = [picture(tmp_path / name) for name in ("b.png", "a.png")]
        out, _ = run(*photos, "--json", "all.json")
        rows = json.loads((tmp_path / "all.json").read_text())
        assert len(rows) > 2 and f"{len(rows)} detections in 2 pictures → all.json" in out
        assert {(row["image_id"], row["file_name"]) for row in rows} == {(1, "b.png"), (2, "a.png")}
        assert sorted(os.listdir(tmp_path)) == ["a.png", "all.json", "b.png"]

    def test_beside_the_drawings(self, run, tmp_path):
        photo = picture(tmp_path / "a.png")
        run(photo, "--json", tmp_path / "all.json", "--out", tmp_path / "out")
        assert sorted(os.listdir(tmp_path / "out")) == ["a.json", "a.png"]

    def test_ids_of_an_annotation_file_and_pycocotools_reads_it(self, run, tmp_path):
        from pycocotools.coco import COCO

        photo = picture(tmp_path / "a.png")
        images = [{"id": 40, "file_name": "train/a.png", "width": 48, "height": 32}]
        categories = [{"id": 3 + i, "name": name} for i, name in enumerate(reversed(NAMES))]
        truth = {"images": images, "categories": categories, "annotations": []}
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        run(photo, "--json", tmp_path / "all.json", "--like", tmp_path / "truth.json")
        rows = json.loads((tmp_path / "all.json").read_text())
        by_name = {category["name"]: category["id"] for category in categories}
        assert {row["image_id"] for row in rows} == {40}
        assert all(row["category_id"] == by_name[row["category"]] for row in rows)
        loaded = COCO(tmp_path / "truth.json").loadRes(str(tmp_path / "all.json"))
        assert len(loaded.anns) == len(rows) > 0

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"images": []}, "image 'a.png' is not in it: expected exactly one"),
            (
                {"images": [{"id": i, "file_name": f"{i}/a.png"} for i in (1, 2)]},
                "image 'a.png' has the ids [1, 2]: expected exactly one",
            ),
            ({"categories": [{"id": 1, "name": "ca_t"}]}, "category 'a $5 and a $6' is not in it"),
            ({"images": [{"id": 1}]}, "is no COCO file with images (file_name, id)"),
            ({"images": 3}, "is no COCO file with images (file_name, id)"),
        ],
    )
    def test_an_annotation_file_that_does_not_fit(self, run, tmp_path, change, said):
        truth = {
            "images": [{"id": 1, "file_name": "a.png"}],
            "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)],
        }
        (tmp_path / "truth.json").write_text(json.dumps(truth | change))
        words = ["--json", tmp_path / "all.json", "--like", tmp_path / "truth.json"]
        _, err = run(picture(tmp_path / "a.png"), *words, status=2)
        assert said in err and not (tmp_path / "all.json").exists()

    def test_a_file_in_the_way(self, run, tmp_path):
        (tmp_path / "all.json").write_text("mine")
        _, err = run(picture(tmp_path / "a.png"), "--json", tmp_path / "all.json", status=2)
        assert "all.json is there already" in err
        assert (tmp_path / "all.json").read_text() == "mine"

    def test_like_needs_json(self, tmp_path, detector):
        with pytest.raises(SystemExit) as ended:
            main(["detect", str(detector), str(tmp_path), "--like", "x.json"])
        assert ended.value.code == 2

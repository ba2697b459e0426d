"""``detlearn evaluate``: detections against pycocotools, stopped trainings, batch sizes."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detlearn import models
from detlearn.cli import main
from detlearn.data import CocoDetection, read_predictions
from detlearn.machine.checkpoints import load_tensors
from detlearn.metrics.summary import SUMMARY
from detlearn.pretrained import load_detector, save_detector
from detlearn.training import loop

SIZE = (120, 90)


def write_set(root, boxes, image_ids=None, category_ids=(3, 7), names=("cat", "dog"), iscrowd=()):
    """A COCO set; for each picture a list of (label, x, y, width, height). Returns its word."""
    (root / "img").mkdir(parents=True)
    image_ids = image_ids or [5 * len(boxes) - 2 * i for i in range(len(boxes))]  # they fall
    images, annotations = [], []
    for image_id, (i, rows) in zip(image_ids, enumerate(boxes)):
        Image.new("RGB", SIZE, (i, 90, 90)).save(root / "img" / f"p{i}.png")
        entry = {"id": image_id, "file_name": f"p{i}.png"}
        images.append({**entry, "width": SIZE[0], "height": SIZE[1]})
        for label, *box in rows:
            number = len(annotations) + 1
            entry = {"id": number, "image_id": image_id, "category_id": category_ids[label]}
            crowd = int(number in iscrowd)
            annotations.append(
                {**entry, "bbox": box, "area": 0.7 * box[2] * box[3], "iscrowd": crowd}
            )
    categories = [{"id": i, "name": name} for i, name in zip(category_ids, names)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (root / "ann.json").write_text(json.dumps(content))
    return f"coco:{root / 'img'},{root / 'ann.json'}"


def random_set(root, seed):
    """A set with crowds and empty pictures, and detections with many equal scores beside it."""
    random = np.random.default_rng(seed)
    boxes, results = [], []
    ids = [int(i) for i in random.permutation(40)[:10] + 1]
    for image_id in ids:
        rows = []
        for _ in range(random.integers(0, 7)):
            x, y = random.integers(0, 70), random.integers(0, 50)
            w, h = random.integers(2, 50), random.integers(2, 40)
            rows.append((int(random.integers(2)), int(x), int(y), int(w), int(h)))
            for _ in range(random.integers(0, 3)):
                bbox = [float(v) for v in np.array(rows[-1][1:]) + random.normal(0, 2, 4)]
                bbox[2:] = np.abs(bbox[2:]).tolist()
                category = int(random.choice([3, 7]))
                score = float(random.integers(1, 6)) / 5
                entry = {"image_id": image_id, "category_id": category}
                results.append({**entry, "bbox": bbox, "score": score})
        boxes.append(rows)
    random.shuffle(results)
    word = write_set(root, boxes, image_ids=ids, iscrowd=(4, 9))
    (root / "results.json").write_text(json.dumps(results))
    return word


def pycocotools_numbers(annotations, results):
    """Its twelve numbers, and AP by category id."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        judge = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats, judge.eval["precision"][:, :, :, 0, 2].mean(axis=(0, 1))


class TestPredictions:
    @pytest.mark.parametrize("seed", range(4))
    def test_all_numbers_are_those_of_pycocotools(self, tmp_path, run, seed):
        word = random_set(tmp_path, seed)
        results = tmp_path / "results.json"
        out = run("evaluate", "--predictions", results, "--data", word, "--json")
        numbers = json.loads(out)
        wanted, per_class = pycocotools_numbers(tmp_path / "ann.json", results)
        found = [numbers[name] for name in SUMMARY]
        assert found == pytest.approx(list(wanted), abs=1e-12) and found[0] > 0.05
        found = [numbers["per_class"][name]["ap"] for name in ("cat", "dog")]
        assert found == pytest.approx(list(per_class), abs=1e-12)

    def test_equal_scores_rank_by_the_images_ids(self, tmp_path, run):
        """One right and one wrong detection of one score: pycocotools has the lower id first."""
        word = write_set(tmp_path, [[], [(0, 10, 10, 30, 30)]], image_ids=[9, 2])
        entry = {"category_id": 3, "bbox": [10, 10, 30, 30], "score": 0.5}
        results = tmp_path / "results.json"
        results.write_text(json.dumps([{**entry, "image_id": i} for i in (9, 2)]))
        out = run("evaluate", "--predictions", results, "--data", word, "--json")
        assert json.loads(out)["ap"] == pytest.approx(1)
        assert pycocotools_numbers(tmp_path / "ann.json", results)[0][0] == pytest.approx(1)

    def test_tables(self, tmp_path, run):
        """A found cat, a dog that is missed, and a cat where nothing is."""
        word = write_set(tmp_path, [[(0, 10, 10, 30, 30), (1, 60, 20, 40, 40)], []])
        rows = [
            {"image_id": 10, "category_id": 3, "bbox": [10, 10, 30, 30], "score": 0.9},
            {"image_id": 8, "category_id": 3, "bbox": [10, 10, 30, 30], "score": 0.8},
        ]
        (tmp_path / "results.json").write_text(json.dumps(rows))
        words = ("evaluate", "--predictions", tmp_path / "results.json", "--data", word)
        out = run(*words)
        assert out.count("Average Precision") == 6 and out.count("Average Recall") == 6
        assert "class     AP   AP50\ncat    100.0  100.0\ndog      0.0    0.0\n" in out
        assert "\nmissed                1" in out and "\nbackground            1" in out
        errors = json.loads(run(*words, "--json"))["errors"]
        assert errors["missed"]["count"] == 1 and errors["background"]["count"] == 1

    def test_by_names_on_data_without_ids(self, tmp_path, run):
        word = write_set(tmp_path / "set", [[(0, 10, 10, 30, 30)], [(1, 60, 20, 40, 40)]])
        run("data", "convert", word, f"voc:{tmp_path / 'voc'}")
        rows = [
            {"file_name": "p0.png", "category": "cat", "bbox": [10, 10, 30, 30], "score": 0.9},
            {"file_name": "x/p1.png", "category": "dog", "bbox": [60, 20, 40, 40], "score": 0.9},
        ]
        results = tmp_path / "results.json"
        results.write_text(json.dumps(rows))
        words = ("evaluate", "--predictions", results, "--split", "train", "--json", "--data")
        assert json.loads(run(*words, f"voc:{tmp_path / 'voc'}"))["ap"] == pytest.approx(1)
        assert json.loads(run(*words, word))["ap"] == pytest.approx(1)

        rows[0] = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 30], "score": 0.9}
        results.write_text(json.dumps(rows))
        message = run(*words, f"voc:{tmp_path / 'voc'}", status=2)
        assert "entry 0: the key 'file_name' is missing, and only COCO files have ids" in message

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"image_id": 99}, "entry 1: image_id 99 is not in the data set, which has 10, 8"),
            ({"category_id": 1}, "entry 1: category_id 1 is not in the data set, which has 3, 7"),
            ({"image_id": None}, "entry 1: image_id is None, expected a whole number or text"),
            ({"bbox": [1, 2, 3]}, "bbox is [1, 2, 3], expected [x, y, width, height]"),
            ({"bbox": [1, 2, 3, -4]}, "width and height must not be negative"),
            ({"bbox": [1, 2, 3, float("nan")]}, "expected a number"),
            ({"score": "high"}, "entry 1: score is 'high', expected a number"),
            ({"score": None}, "entry 1: score is None, expected a number"),
            ({"category": "cow"}, "entry 1: category 'cow' is not in the data set"),
            ({"file_name": 3}, "entry 1: file_name 3 is not in the data set"),
        ],
    )
    def test_entries_that_cannot_be(self, tmp_path, run, change, message):
        word = write_set(tmp_path, [[(0, 10, 10, 30, 30)], []])
        good = {"image_id": 10, "category_id": 3, "bbox": [10, 10, 30, 30], "score": 0.9}
        (tmp_path / "results.json").write_text(json.dumps([good, {**good, **change}]))
        said = run("evaluate", "--predictions", tmp_path / "results.json", "--data", word, status=2)
        assert said.startswith(f"detlearn evaluate: {tmp_path / 'results.json'}, entry 1: ")
        assert message in said

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("[", "malformed JSON"),
            ('{"annotations": []}', "holds a dict with the keys ['annotations'], expected a list"),
            ("[3]", "entry 0: is 3, expected a dictionary"),
            ("[{}]", "entry 0: the key 'image_id' is missing"),
        ],
    )
    def test_files_that_cannot_be(self, tmp_path, run, content, message):
        word = write_set(tmp_path, [[(0, 10, 10, 30, 30)], []])
        (tmp_path / "r.json").write_text(content)
        said = run("evaluate", "--predictions", tmp_path / "r.json", "--data", word, status=2)
        assert message in said
        said = run("evaluate", "--predictions", tmp_path / "no.json", "--data", word, status=2)
        assert f"{tmp_path / 'no.json'}: no such file" in said

    def test_two_pictures_of_one_name(self, tmp_path):
        write_set(tmp_path, [[(0, 10, 10, 30, 30)]])
        content = json.loads((tmp_path / "ann.json").read_text())
        (tmp_path / "img" / "a").mkdir()
        (tmp_path / "img" / "p0.png").rename(tmp_path / "img" / "a" / "p0.png")
        Image.new("RGB", SIZE).save(tmp_path / "img" / "p0.png")
        content["images"].append({**content["images"][0], "id": 77, "file_name": "a/p0.png"})
        (tmp_path / "ann.json").write_text(json.dumps(content))
        data = CocoDetection(tmp_path / "img", tmp_path / "ann.json")
        row = {"file_name": "p0.png", "category": "cat", "bbox": [1, 1, 9, 9], "score": 1}
        (tmp_path / "r.json").write_text(json.dumps([row]))
        with pytest.raises(ValueError, match=r"several pictures are called 'p0\.png'"):
            read_predictions(tmp_path / "r.json", data)

    def test_no_detection(self, tmp_path, run):
        word = write_set(tmp_path, [[(0, 10, 10, 30, 30)], []])
        (tmp_path / "r.json").write_text("[]")
        out = run("evaluate", "--predictions", tmp_path / "r.json", "--data", word)
        assert "cat      0.0    0.0\ndog        –      –\n" in out

    def test_the_annotation_file_is_enough(self, tmp_path, run):
        word = random_set(tmp_path, seed=0)
        words = ("evaluate", "--predictions", tmp_path / "results.json", "--json", "--data")
        wanted = run(*words, word)
        shutil.rmtree(tmp_path / "img")
        assert run(*words, word) == wanted
        annotations = tmp_path / "ann.json"
        assert run(*words, f"coco:{annotations}") == wanted

        # Other commands need the pictures.
        assert "is not understood" in run("data", f"coco:{annotations}", status=2)
        said = run("train", "--data", word, "--steps", 1, "--out", tmp_path / "out", status=2)
        assert "img: no such folder; expected the one that the file names" in said

    def test_paths_of_windows_are_known_by_their_last_part(self, tmp_path, run):
        word = write_set(tmp_path, [[(0, 10, 10, 30, 30)]])
        annotations = tmp_path / "ann.json"
        annotations.write_text(annotations.read_text().replace("p0.png", "C:\\\\work\\\\p0.png"))
        row = {"file_name": "p0.png", "category": "cat", "bbox": [10, 10, 30, 30], "score": 0.9}
        (tmp_path / "r.json").write_text(json.dumps([row]))
        out = run("evaluate", "--predictions", tmp_path / "r.json", "--json", "--data", word)
        assert json.loads(out)["ap"] == pytest.approx(1)

    def test_without_sizes_the_pictures_are_looked_for(self, tmp_path, run):
        word = write_set(tmp_path, [[(0, 10, 10, 30, 30)]])
        annotations = tmp_path / "ann.json"
        content = json.loads(annotations.read_text())
        del content["images"][0]["width"], content["images"][0]["height"]
        annotations.write_text(json.dumps(content))
        row = {"image_id": 5, "category_id": 3, "bbox": [10, 10, 30, 30], "score": 0.9}
        (tmp_path / "r.json").write_text(json.dumps([row]))
        words = ("evaluate", "--predictions", tmp_path / "r.json", "--json", "--data")
        for data in (word, f"coco:{annotations}"):  # beside the file, if no folder is given
            assert json.loads(run(*words, data))["ap"] == pytest.approx(1)

        shutil.rmtree(tmp_path / "img")
        assert "image 5: its picture 'p0.png' is missing" in run(*words, word, status=2)

    def test_a_class_that_the_file_does_not_have(self, tmp_path, run):
        word = write_set(tmp_path, [[(1, 10, 10, 30, 30)]])
        row = {"image_id": 5, "category_id": 7, "bbox": [10, 10, 30, 30], "score": 0.9}
        (tmp_path / "r.json").write_text(json.dumps([row]))
        words = ("evaluate", "--predictions", tmp_path / "r.json", "--data", word)
        out = run(*words, "--classes", "bird", "dog", "cat")
        assert "bird       –      –\ndog    100.0  100.0\ncat        –      –\n" in out

    @pytest.mark.parametrize("words", [[], ["runs/x", "--predictions", "r.json"]])
    def test_one_of_two(self, capsys, words):
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", "--data", "toytown", *words])
        assert ended.value.code == 2
        assert "either the --out of a training or --predictions" in capsys.readouterr().err


class TestDetector:
    def test_every_batch_size_measures_the_same(self, tmp_path, run):
        """Pictures of mixed sizes: padding beside others would change the answers."""
        random = np.random.default_rng(0)
        (tmp_path / "img").mkdir()
        images, annotations = [], []
        for i, (width, height) in enumerate([(96, 64), (64, 96), (130, 70), (96, 64), (33, 50)]):
            pixels = random.integers(0, 255, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "img" / f"p{i}.png")
            images.append({"id": i, "file_name": f"p{i}.png", "width": width, "height": height})
            for box in ([3, 3, 20, 20], [10, 20, 8, 15]):
                entry = {"id": len(annotations) + 1, "image_id": i, "category_id": 0}
                annotations.append({**entry, "bbox": box})
        content = {"images": images, "annotations": annotations}
        content["categories"] = [{"id": 0, "name": "cat"}]
        (tmp_path / "ann.json").write_text(json.dumps(content))
        word = f"coco:{tmp_path / 'img'},{tmp_path / 'ann.json'}"

        torch.manual_seed(0)
        model = models.create("point", 1)
        with torch.no_grad():
            model.heatmap_head[-1].bias += 4  # untrained, it would find nothing
        save_detector(tmp_path / "detector.safetensors", model, "point", ["cat"])

        found = {
            size: run("evaluate", tmp_path, "--data", word, "--batch-size", size, "--json")
            for size in (1, 2, 5)
        }
        assert found[1] == found[2] == found[5]
        assert json.loads(found[1])["ar100"] > 0

        # And the same as what detect writes, picture by picture.
        pictures = sorted((tmp_path / "img").iterdir())
        results = tmp_path / "results.json"
        words = ["--json", results, "--like", tmp_path / "ann.json"]
        run("detect", tmp_path, *pictures, *words)
        numbers = json.loads(run("evaluate", "--predictions", results, "--data", word, "--json"))
        assert numbers["ap"] == pytest.approx(json.loads(found[1])["ap"], abs=1e-4)

    def test_a_training_that_was_stopped(self, tmp_path, run, monkeypatch):
        """Measured are the averaged weights, as if it had ended there."""
        word = write_set(tmp_path / "set", [[(0, 10, 10, 30, 30)], [(1, 60, 20, 40, 40)]])
        words = ["train", "--data", word, "--steps", 4, "--batch-size", 2, "--out"]
        run(*words, tmp_path / "whole")

        save = loop.Trainer.save
        with monkeypatch.context() as patch:

            def stop(trainer, path, finished=False):
                save(trainer, path, finished)
                if trainer.steps_done == 2:
                    raise KeyboardInterrupt

            patch.setattr(loop, "CHECKPOINT_EVERY", 2)
            patch.setattr(loop.Trainer, "save", stop)
            run(*words, tmp_path / "cut", status=130)
        assert not (tmp_path / "cut" / "detector.safetensors").exists()

        seen = []
        monkeypatch.setattr("detlearn.metrics.predict", lambda model, data, **_: seen.append(model))
        with contextlib.suppress(TypeError):  # of the numbers, since nothing was predicted
            main(["evaluate", str(tmp_path / "cut"), "--data", word])
        (model,) = seen

        tensors, _ = load_tensors(tmp_path / "cut" / "training.safetensors")
        weights = model.state_dict()
        for name, weight in weights.items():
            assert torch.equal(weight, tensors[f"averaged.module.{name}"])
        assert any(not torch.equal(w, tensors[f"model.{name}"]) for name, w in weights.items())

        # The one that has ended is measured by its detector, which is the same as its average.
        whole, _ = load_tensors(tmp_path / "whole" / "training.safetensors")
        detector = load_detector(tmp_path / "whole" / "detector.safetensors").model.state_dict()
        assert all(torch.equal(w, whole[f"averaged.module.{name}"]) for name, w in detector.items())

    def test_says_that_it_was_stopped(self, tmp_path, run, capsys):
        word = write_set(tmp_path / "set", [[(0, 10, 10, 30, 30)], [(1, 60, 20, 40, 40)]])
        run("train", "--data", word, "--steps", 2, "--batch-size", 2, "--out", tmp_path / "run")
        whole = run("evaluate", tmp_path / "run", "--data", word)
        (tmp_path / "run" / "detector.safetensors").unlink()
        assert main(["evaluate", str(tmp_path / "run"), "--data", word]) == 0
        out, err = capsys.readouterr()
        checkpoint = tmp_path / "run" / "training.safetensors"
        assert out == whole and f"{checkpoint}: the averaged weights after 2 steps" in err
        assert run("evaluate", checkpoint, "--data", word) == whole

        (tmp_path / "run" / "detector.json").unlink()
        message = run("evaluate", tmp_path / "run", "--data", word, status=2)
        assert "detector.json is missing" in message
        message = run("evaluate", tmp_path / "nowhere", "--data", word, status=2)
        assert "no such folder; expected the --out of a training" in message

    @pytest.mark.parametrize("size", [None, 10**15])
    def test_a_full_memory_is_one_sentence(self, tmp_path, run, monkeypatch, size):
        """Of a GPU, as torch says it, and of the machine itself, asked for more than any has."""

        def full(model, images, sizes=None):
            if size is None:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return torch.empty(size)

        word = write_set(tmp_path / "set", [[(0, 10, 10, 30, 30)], [(1, 60, 20, 40, 40)]])
        model = models.create("point", 2)
        save_detector(tmp_path / "detector.safetensors", model, "point", ["cat", "dog"])
        monkeypatch.setattr(models.PointDetector, "predict", full)
        err = run("evaluate", tmp_path, "--data", word, status=2)
        last = err.splitlines()[-1]
        assert last.startswith("detlearn evaluate: the memory is full (") and "Traceback" not in err
        assert last.endswith("): try a smaller --batch-size or --device cpu")

    def test_classes_in_another_order(self, tmp_path, run):
        """By name: the same detector has the same AP on a file with other ids."""
        rows = [[(0, 10, 10, 30, 30), (1, 60, 20, 40, 40)], [(1, 3, 3, 50, 50)]]
        word = write_set(tmp_path / "one", rows)
        turned = [[(1 - label, *box) for label, *box in picture] for picture in rows]
        other = write_set(tmp_path / "two", turned, names=("dog", "cat"))

        torch.manual_seed(1)
        model = models.create("point", 2)
        with torch.no_grad():
            model.heatmap_head[-1].bias += 4
        save_detector(tmp_path / "detector.safetensors", model, "point", ["cat", "dog"])
        found = [run("evaluate", tmp_path, "--data", w, "--json") for w in (word, other)]
        assert found[0] == found[1]

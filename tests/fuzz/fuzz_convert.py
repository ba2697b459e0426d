"""Random data sets converted along random chains of formats, read by a second, plain reader.

Names of pictures and classes are as awkward as tools and people make them, boxes are tiny, on the
border, given twice or with sixteen digits. After each step the files are read by the few lines
below, which know nothing of the package, and must hold what went in; where a format cannot hold it,
the conversion must refuse it and leave nothing behind.

    python tests/fuzz/fuzz_convert.py --cases 1000 --seed 0

The exit status is 1 if anything came out wrong.
"""

import argparse
import json
import shutil
import sys
import tempfile
import warnings
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from detlearn.data import CocoDetection, VOCDetection, YOLODetection, convert

STEMS = ("p", "P", "a b", "photo 1", "x -1", "frame.1", "ü", "p_2", "images", "#1", "50%", "猫")
ENDINGS = (".png", ".PNG", ".bmp", ".jpg")
FOLDERS = ("", "a/", "b/", "images/")
CLASSES = ("cat", "Cat", "a & <b>", "yes", "7", "007", "null", "猫", "$5", "a: b", "- x", "'", '"')
FORMATS = ("coco", "voc", "yolo")


def make_set(random: np.random.Generator, root: Path) -> CocoDetection:
    """Write a random COCO set and read it."""
    names = [str(n) for n in random.choice(CLASSES, random.integers(1, 5), replace=False)]
    files = {
        str(random.choice(FOLDERS)) + str(random.choice(STEMS)) + str(random.choice(ENDINGS))
        for _ in range(random.integers(1, 7))
    }

    images, annotations = [], []
    for i, file in enumerate(sorted(files)):
        width, height = (int(side) for side in random.integers(2, 90, 2))
        path = root / "pictures" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        # The colour tells the pictures apart, in JPEG, too.
        Image.new("L", (width, height), 20 * i).save(path)
        images.append({"id": i, "file_name": file, "width": width, "height": height})
        for _ in range(random.integers(0, 4)):
            x1, x2 = _interval(random, width)
            y1, y2 = _interval(random, height)
            entry = {"image_id": i, "category_id": int(random.integers(len(names)))}
            entry |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": int(random.random() < 0.1)}
            annotations += [entry] * (2 if random.random() < 0.05 else 1)

    content = {
        "images": images,
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        "annotations": annotations,
    }
    (root / "set.json").write_text(json.dumps(content))
    return CocoDetection(root / "pictures", root / "set.json", on_bad="skip")


def _interval(random: np.random.Generator, length: int) -> tuple[float, float]:
    """Return two ends of a box, 0 ≤ low < high ≤ length."""
    kind = random.integers(4)
    low, high = np.sort(random.uniform(0, length, 2))
    if kind == 0:
        low, high = np.floor(low), np.ceil(high)
    elif kind == 1:
        low = 0.0
    elif kind == 2:
        high = float(length)
    return float(low), max(float(high), float(low) + 1e-3)


def contents(data: CocoDetection | VOCDetection | YOLODetection) -> dict[int, list]:
    """Return what the package has read: colour → sorted objects (name, corners)."""
    found = {}
    for i, path in enumerate(data.image_paths):
        target = data.target(i)
        rows = zip(target["labels"].tolist(), target["boxes"].tolist())
        found[_colour(path)] = sorted((data.class_names[k], *box) for k, box in rows)
    return found


def _colour(path: Path) -> int:
    with Image.open(path) as picture:
        return round(picture.convert("L").getpixel((0, 0)) / 20)


def plain_contents(folder: Path, form: str) -> dict[int, list]:
    """Read a converted folder in the plainest way."""
    found = {}
    if form == "coco":
        content = json.loads((folder / "annotations" / "train.json").read_text(encoding="utf-8"))
        names = {entry["id"]: entry["name"] for entry in content["categories"]}
        for image in content["images"]:
            rows = []
            for entry in content["annotations"]:
                if entry["image_id"] == image["id"]:
                    x, y, w, h = entry["bbox"]
                    rows.append((names[entry["category_id"]], x, y, x + w, y + h))
            found[_colour(folder / "train" / image["file_name"])] = sorted(rows)
        return found

    if form == "voc":
        text = (folder / "ImageSets" / "Main" / "train.txt").read_text(encoding="utf-8")
        for name in text.split("\n")[:-1]:
            tree = ElementTree.parse(folder / "Annotations" / f"{name}.xml")
            rows = []
            for entry in tree.iter("object"):
                keys = ("xmin", "ymin", "xmax", "ymax")
                x1, y1, x2, y2 = (float(entry.findtext(f"bndbox/{key}")) for key in keys)
                rows.append((entry.findtext("name"), x1 - 1, y1 - 1, x2, y2))
            picture = folder / "JPEGImages" / tree.findtext("filename")
            found[_colour(picture)] = sorted(rows)
        return found

    names = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))["names"]
    for picture in (folder / "images" / "train").iterdir():
        with Image.open(picture) as opened:
            width, height = opened.size
        rows = []
        label_file = folder / "labels" / "train" / f"{picture.stem}.txt"
        for line in label_file.read_text().split("\n")[:-1]:
            label, x, y, w, h = (float(word) for word in line.split(" "))
            left, top = (x - w / 2) * width, (y - h / 2) * height
            right, bottom = (x + w / 2) * width, (y + h / 2) * height
            rows.append((names[int(label)], left, top, right, bottom))
        found[_colour(picture)] = sorted(rows)
    return found


def same(first: dict[int, list], second: dict[int, list]) -> bool:
    """Say whether two data sets hold the same, up to 1e-5 pixels (float32)."""
    if first.keys() != second.keys():
        return False
    for colour, rows in first.items():
        others = second[colour]
        if Counter(row[0] for row in rows) != Counter(row[0] for row in others):
            return False
        for name in {row[0] for row in rows}:
            boxes = [row[1:] for row in rows if row[0] == name]
            other_boxes = [row[1:] for row in others if row[0] == name]
            if not np.allclose(sorted(boxes), sorted(other_boxes), rtol=0, atol=1e-5):
                return False
    return True


def run_case(seed: int) -> str:
    """Return "" for a right outcome, else what was wrong."""
    random = np.random.default_rng(seed)
    root = Path(tempfile.mkdtemp(prefix="fuzz_convert."))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = make_set(random, root)
            wanted = contents(data)
            names = list(data.class_names)

            for step in range(random.integers(1, 4)):
                form = str(random.choice(FORMATS))
                folder = root / f"step{step}"
                thin = any(
                    row[3] - row[1] <= 1 or row[4] - row[2] <= 1
                    for rows in wanted.values()
                    for row in rows
                )
                twice = any(len(set(rows)) < len(rows) for rows in wanted.values())
                refused = (form == "voc" and thin) or (form == "yolo" and twice)
                try:
                    convert({"train": data}, folder, form, link=bool(random.random() < 0.2))
                except ValueError as error:
                    left = [path.name for path in root.iterdir() if "step" in path.name]
                    if folder.exists() or any(name.startswith(".") for name in left):
                        return f"{form}: something is left after {error}"
                    return "" if refused else f"{form}: refused: {error}"
                if refused:
                    return f"{form}: held what it cannot"

                if not same(wanted, plain_contents(folder, form)):
                    return f"{form}: the files hold something else"
                data = read(folder, form, names)
                if list(data.class_names) != names:
                    return f"{form}: classes {data.class_names} instead of {names}"
                if not same(wanted, contents(data)):
                    return f"{form}: it is read as something else"
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(root)


def read(folder: Path, form: str, names: list[str]) -> CocoDetection | VOCDetection | YOLODetection:
    """Read a converted folder with the package."""
    if form == "coco":
        return CocoDetection(folder / "train", folder / "annotations" / "train.json")
    if form == "voc":
        return VOCDetection(folder, "train", class_names=names)
    return YOLODetection(folder, "train")


def main() -> int:
    """Run the cases; return 1 if one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    wrong = 0
    for seed in range(options.seed, options.seed + options.cases):
        problem = run_case(seed)
        if problem:
            wrong += 1
            print(f"seed {seed}: {problem}")
    print(f"{options.cases} cases, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

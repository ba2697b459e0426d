"""COCO files and pictures changed at random, read by ``CocoDetection`` and by a second reader.

    python tests/fuzz/fuzz_coco.py --cases 5000 --seed 0

Each case is a sound file of a few images to which some things are done that programs, networks and
people do: a value is replaced, a key is lost, an entry is doubled, bytes are flipped or cut off, a
picture is replaced by something else. The outcome is right if it is

- what the plain reader below finds: the same images, boxes, labels, areas, crowds and pixels, and
  as many annotations left out; or
- a ``ValueError``, ``TypeError`` or ``FileNotFoundError`` that names a file of the case, where the
  plain reader has to give up, too.

Anything else is wrong: another error, another answer, or more than ten seconds. The plain reader
shares no code with the package; it is slow and says what is meant in the fewest words.
"""

import argparse
import contextlib
import copy
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import unicodedata
import urllib.parse
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from pycocotools import mask as official_masks

from detlearn.data.coco import CocoDetection

WIDTH, HEIGHT = 24, 16
SECONDS = 10  # after which a case hangs

# ------------------------------------------------------------------------------ the plain reader


class GiveUp(Exception):
    """The file as a whole cannot be read."""


class Bad(Exception):
    """One annotation cannot be read."""


def plain_number(value):
    if isinstance(value, str) and set(value.strip()) <= set("0123456789+-.eE"):
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Bad
    if value != value or abs(value) > 1e12:
        raise Bad
    return float(value)


def plain_id(value):
    """An id as text."""
    if isinstance(value, float) and value == value and abs(value) != float("inf"):
        if value == int(value):
            return str(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value:
        head, dot, tail = value.partition(".")
        digits = head.removeprefix("-")
        whole = digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0")
        if whole and (not dot or (tail and not tail.strip("0"))):
            return str(int(head))
        return value
    raise Bad


def plain_flag(value):
    words = {"": 0, "0": 0, "0.0": 0, "false": 0, "no": 0, "n": 0, "f": 0, "none": 0, "null": 0}
    words |= {"1": 1, "1.0": 1, "true": 1, "yes": 1, "y": 1, "t": 1, "unspecified": 0}
    if value is None or value is False:
        return 0
    if value is True:
        return 1
    if isinstance(value, int | float) and value in (0, 1) and str(value) != "-0.0":
        return int(value)
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise Bad


def is_nothing(value):
    return value is None or value in ("", "0", 0, [], {})


def plain_segmentation(value, width, height):
    """(x1, y1, x2, y2) and area."""
    if isinstance(value, dict):
        counts, size = value.get("counts"), value.get("size")
        if size != [height, width]:
            raise Bad
        if isinstance(counts, str):
            counts = plain_counts(counts)
        if not isinstance(counts, list) or any(type(n) is not int or n < 0 for n in counts):
            raise Bad
        if sum(counts) != width * height:
            raise Bad
        pixels = [i % 2 for i, n in enumerate(counts) for _ in range(n)]
        mask = np.array(pixels).reshape(width, height).T  # column by column
        rows, columns = np.nonzero(mask)
        if not len(rows):
            raise Bad
        return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), len(rows)

    if not isinstance(value, list):
        raise Bad
    if not any(isinstance(part, list) for part in value):
        value = [value]
    if value and all(isinstance(part, list) and len(part) == 2 for part in value):
        value = [value]
    xs, ys, area = [], [], 0
    for part in value:
        if not isinstance(part, list):
            raise Bad
        if part and all(isinstance(corner, list) and len(corner) == 2 for corner in part):
            part = [number for corner in part for number in corner]
        if len(part) < 6 or len(part) % 2:
            raise Bad
        numbers = [plain_number(v) for v in part]
        x, y = numbers[0::2], numbers[1::2]
        xs, ys = xs + x, ys + y
        twice = 0
        for i in range(len(x)):
            twice += x[i - 1] * y[i] - x[i] * y[i - 1]
        area += abs(twice) / 2
    if not xs or area == 0:
        raise Bad
    return (min(xs), min(ys), max(xs), max(ys)), area


def plain_counts(text):
    """The compressed counts, bit by bit."""
    counts, bits = [], ""
    for character in text:
        number = ord(character) - 48
        if number not in range(64):
            raise Bad
        six = f"{number:06b}"
        bits = six[1:] + bits
        if six[0] == "0":
            value = int(bits, 2) - (2 ** len(bits) if bits[0] == "1" else 0)
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            bits = ""
    if bits:
        raise Bad
    return counts


def plain_object(annotation, width, height):
    """Box, area and crowd of one annotation."""
    bbox, segmentation = annotation.get("bbox"), annotation.get("segmentation")
    if is_nothing(bbox) and not is_nothing(segmentation):
        corners, _ = plain_segmentation(segmentation, width, height)
    else:
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise Bad
        x, y, w, h = map(plain_number, bbox)
        if w <= 0 or h <= 0:
            raise Bad
        corners = (x, y, x + w, y + h)

    x1, x2 = (np.float32(min(max(v, 0), width)) for v in corners[0::2])
    y1, y2 = (np.float32(min(max(v, 0), height)) for v in corners[1::2])
    if x1 >= x2 or y1 >= y2:
        raise Bad

    area = (x2 - x1) * (y2 - y1)
    with contextlib.suppress(Bad):
        area = plain_segmentation(segmentation, width, height)[1]
    with contextlib.suppress(Bad):
        given = plain_number(annotation.get("area"))
        area = given if given >= 0 else area
    return [float(x1), float(y1), float(x2), float(y2)], area, plain_flag(annotation.get("iscrowd"))


def plain_ends(stored):
    ends = []
    for text in (
        stored,
        urllib.parse.unquote(stored),
        urllib.parse.unquote(stored.split("?")[0].split("#")[0]),
    ):
        parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
        while ".." in parts:
            parts.pop(0)
        ends += [tuple(parts[i:]) for i in range(len(parts))]
    return ends


def folded(parts):
    return tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)


def plain_picture(root, stored, all_stored):
    """The picture that a stored path means."""
    if not stored or "\0" in stored:
        raise GiveUp
    files = [p for p in root.rglob("*") if p.is_file()]
    parts = stored.replace("\\", "/").split("/")
    windows_drive = len(parts[0]) > 1 and parts[0][1] == ":"
    if ".." not in parts and parts[0] and not windows_drive:
        exact = root.joinpath(*parts)
        if exact in files:
            return exact

    ends = sorted(plain_ends(stored), key=len, reverse=True)
    found = []
    for end in ends:
        if len(end) > 1 and root.joinpath(*end) in files:
            found = [root.joinpath(*end)]
        elif len(end) == 1:
            found = [p for p in files if folded([p.name]) == folded(end)]
        if found:
            break
    if len(found) != 1:
        raise GiveUp
    others = [other for other in set(all_stored) if other != stored and isinstance(other, str)]
    if any(folded(end) in map(folded, plain_ends(other)) for other in others):
        raise GiveUp
    return found[0]


def plain_pixels(path, size):
    """The picture upright, (H, W, 3) in [0, 1]."""
    try:
        with path.open("rb") as file, Image.open(file) as picture:
            pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except Exception as error:
        raise GiveUp from error
    if pixels.shape[:2] != (size[1], size[0]):
        raise GiveUp
    return pixels / 255


def plain_pairs(pairs):
    """An object of the file; which of two equal keys is meant, nobody knows."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise GiveUp
    return dict(pairs)


def plain_read(root, path, on_bad, skip_bad_images):
    """[(image id, picture, size, objects)], class names, annotations left out."""
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=plain_pairs)
        lists = [content[key] for key in ("images", "categories", "annotations")]
    except Exception as error:
        raise GiveUp from error
    if not all(isinstance(entries, list) for entries in lists):
        raise GiveUp
    images, categories, annotations = lists

    names = plain_classes(categories, annotations)
    class_names = list(dict.fromkeys(names.values()))
    if not names:
        raise GiveUp

    by_id, order = {}, []
    for image in images:
        try:
            key = plain_id(image["id"])
            stored = image["file_name"]
            if key in by_id or not isinstance(stored, str):
                raise GiveUp
            size = None
            if not (is_nothing(image.get("width")) and is_nothing(image.get("height"))):
                size = plain_number(image.get("width")), plain_number(image.get("height"))
                if min(size) <= 0 or any(v != int(v) for v in size):
                    raise GiveUp
        except (Bad, KeyError, TypeError) as error:
            raise GiveUp from error
        by_id[key] = [image["id"], stored, size, []]
        order.append(key)

    all_stored = [entry[1] for entry in by_id.values()]
    for key in order:
        try:
            entry = by_id[key]
            entry[1] = plain_picture(root, entry[1], all_stored)
            if entry[2] is None:
                with Image.open(entry[1]) as picture:
                    turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                    is_tiff = picture.format == "TIFF"
                    entry[2] = picture.size[::-1] if turned and not is_tiff else picture.size
        except Exception as error:
            if not skip_bad_images:
                raise GiveUp from error
            by_id[key] = None

    left_out = 0
    for annotation in annotations:
        try:
            key = plain_id(annotation["image_id"])
            if key not in by_id:
                raise Bad
            if by_id[key] is None:
                continue
            name = names[plain_id(annotation["category_id"])]
            found = plain_object(annotation, *map(int, by_id[key][2]))
            by_id[key][3].append((class_names.index(name), *found))
        except (Bad, KeyError, TypeError) as error:
            if on_bad == "raise":
                raise GiveUp from error
            left_out += 1
    return [by_id[key] for key in order if by_id[key]], class_names, left_out


def plain_classes(categories, annotations):
    """{id: name} of the categories that are classes, in the order of labels."""
    known, parents = {}, {}
    for category in categories:
        try:
            key, name = plain_id(category["id"]), category["name"]
        except (Bad, KeyError, TypeError) as error:
            raise GiveUp from error
        if key in known or isinstance(name, bool) or not isinstance(name, str | int):
            raise GiveUp
        if not str(name).strip():
            raise GiveUp
        parent = category.get("supercategory")
        known[key] = str(name).strip()
        parents[key] = parent.strip() if isinstance(parent, str) else parent

    used = set()
    for annotation in annotations:
        with contextlib.suppress(Bad, KeyError, TypeError):
            used.add(plain_id(annotation["category_id"]))

    for key in [key for key in known if key not in used]:
        if any(parent == known[key] for other, parent in parents.items() if other != key):
            known[key] = None  # a root
    known = {key: name for key, name in known.items() if name is not None}

    digits = [key.removeprefix("-") for key in parents]  # "007" is a name
    numeric = all(d.isdecimal() and d.isascii() and (d == "0" or d[0] != "0") for d in digits)
    ordered = sorted(known, key=(lambda key: int(key)) if numeric else str)
    classes = {}
    for key in ordered:
        same = [other for other in ordered if known[other] == known[key]]
        same_used = [other for other in same if other in used]
        if len(same_used) > 1:
            raise GiveUp
        if key == (same_used or same)[0]:
            classes[key] = known[key]
    return classes


# ------------------------------------------------------------------------------------- the cases


def sound_case(rng):
    """A file by the book, and what its pictures are."""
    num_images = rng.randint(1, 4)
    ids = rng.sample(range(1, 50), num_images)
    if rng.random() < 0.15:
        ids = [f"im{i}" for i in ids]
    ending = rng.choice(["png", "png", "jpg", "tif", "bmp"])
    images = [
        {"id": i, "file_name": f"{rng.choice(['', '', 'sub/'])}p{n}.{ending}"}
        | {"width": WIDTH, "height": HEIGHT}
        for n, i in enumerate(ids)
    ]
    categories = [
        {"id": 3, "name": "cat", "supercategory": "animal"},
        {"id": 1, "name": "dog", "supercategory": "animal"},
        {"id": 20, "name": "animal", "supercategory": "none"},
    ][: rng.randint(1, 3)]
    annotations = []
    for n in range(rng.randint(0, 6)):
        x, y = rng.randint(0, 15), rng.randint(0, 9)
        w, h = rng.randint(1, 24 - x), rng.randint(1, 16 - y)
        annotation = {"id": n + 1, "image_id": rng.choice(ids), "bbox": [x, y, w, h]}
        annotation["category_id"] = rng.choice([c["id"] for c in categories][:2])
        annotation["area"] = w * h
        annotation["iscrowd"] = int(rng.random() < 0.2)
        if rng.random() < 0.5:
            annotation["segmentation"] = sound_segmentation(rng, x, y, w, h)
        for key in ("bbox", "area", "iscrowd"):
            if rng.random() < (0.15 if "segmentation" in annotation or key != "bbox" else 0):
                del annotation[key]
        annotations.append(annotation)
    return {"images": images, "categories": categories, "annotations": annotations}


def sound_segmentation(rng, x, y, w, h):
    corners = [[x, y], [x + w, y], [x + w, y + h], [x + w / 2, y + h / 2], [x, y + h]]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    encoded = official_masks.encode(mask)
    text = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    flat = [number for corner in corners for number in corner]
    return rng.choice([[flat], corners, flat, text, text])


VALUES = [
    *(None, True, False, 0, 1, -1, 3, 20, 0.0, 1.0, -0.0, 0.5, 7.25, 1e300, -1e13, 2**63, 10**400),
    *(float("nan"), float("inf"), "", "0", "1", "3", "3.0", "1_2", "٣", "007", " 5 ", "5e0", "0x5"),
    *("nan", "inf", "true", "False", "yes", "none", "p0.png", "../p0.png", "/etc/passwd", "a\0b"),
    *(
        "C:\\x\\p0.png",
        "sub\\p1.png",
        "p%30.png",
        "P0.PNG",
        "https://h/p1.jpg?x=1",
        "\ud800",
        "..",
        ".",
    ),
    *(
        [],
        {},
        [1],
        [1, 2, 3, 4],
        ["1", "2", "3", "4"],
        [5, 5, -1, 2],
        [0, 0, 99, 99],
        [[1, 2, 3, 4]],
    ),
    *({"size": [16, 24], "counts": [0, 384]}, {"size": [16, 24], "counts": "PPP"}, {"counts": []}),
    *(
        [[1, 1, 9, 1, 9, 9]],
        [[1, 1, 9, 1, 9]],
        [[1, 1], [5, 1], [5, 5]],
        [[[1, 1], [5, 1], [5, 7]]],
    ),
    *("animal", "cat", "dog", "none", {"a": {"b": []}}, "x" * 300, [None] * 4, [float("nan")] * 4),
]


def change_content(rng, content):
    """Do one thing to the parsed file."""
    part = rng.choice(["images", "categories", "annotations", "annotations", "annotations"])
    entries = content.get(part)
    if not isinstance(entries, list) or not entries:
        return
    index = rng.randrange(len(entries))
    entry = entries[index]
    kind = rng.random()
    if kind < 0.04:
        entries[index] = copy.deepcopy(rng.choice(VALUES))
    elif kind < 0.10:
        entries.append(copy.deepcopy(entry))
    elif kind < 0.13:
        del entries[index]
    elif kind < 0.15:
        rng.shuffle(entries)
    elif kind < 0.17:
        content[part] = copy.deepcopy(rng.choice(VALUES))
    elif isinstance(entry, dict) and entry:
        key = rng.choice(sorted(entry))
        if kind < 0.30:
            del entry[key]
        elif kind < 0.45 and isinstance(entry[key], list) and entry[key]:
            inner = entry[key]
            inner[rng.randrange(len(inner))] = copy.deepcopy(rng.choice(VALUES))
        elif kind < 0.60 and isinstance(entry[key], int | float):
            entry[key] = rng.choice([str(entry[key]), float(min(entry[key], 1e15)), entry[key] + 1])
        elif kind < 0.70:
            key = rng.choice(["bbox", "segmentation", "area", "iscrowd", "width", "supercategory"])
            entry[key] = copy.deepcopy(rng.choice(VALUES))
        else:
            entry[key] = copy.deepcopy(rng.choice(VALUES))


def change_bytes(rng, data):
    """Flip, cut out or double some bytes."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = rng.randrange(len(data)) if data else 0
        kind = rng.random()
        if kind < 0.5 and data:
            data[place] = rng.randrange(256)
        elif kind < 0.7:
            del data[place:]
        elif kind < 0.85:
            del data[place : place + rng.randint(1, 9)]
        else:
            data[place:place] = data[place : place + 9]
    return bytes(data)


def draw_picture(rng, path):
    """Write a picture of the case, sometimes turned, sometimes of another kind or size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (WIDTH, HEIGHT) if rng.random() < 0.97 else (HEIGHT, WIDTH)
    pixels = np.array([rng.randrange(256) for _ in range(size[0] * size[1] * 3)], dtype=np.uint8)
    picture = Image.fromarray(pixels.reshape(size[1], size[0], 3))
    if rng.random() < 0.05 and path.suffix != ".jpg":
        picture = picture.convert(rng.choice(["L", "P", "1"]))
    exif = Image.Exif()
    if rng.random() < 0.1 and path.suffix in (".jpg", ".png", ".tif"):
        exif[0x0112] = rng.randint(1, 8)
        if exif[0x0112] >= 5 and rng.random() < 0.8:
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        picture.save(path, exif=exif)
    else:
        picture.save(path)


def spoil_picture(rng, path):
    """Do to a picture what happens to files."""
    kind = rng.random()
    if kind < 0.35:
        path.write_bytes(change_bytes(rng, path.read_bytes()))
    elif kind < 0.5:
        path.unlink()
    elif kind < 0.6:
        path.write_bytes(b"<html><body>404 Not Found</body></html>")
    elif kind < 0.7:
        path.unlink()
        os.mkfifo(path)
    elif kind < 0.75:
        path.unlink()
        path.mkdir()
    elif kind < 0.85:
        path.rename(path.with_suffix(path.suffix.upper()))
    elif kind < 0.95:
        (path.parent / "deep").mkdir(exist_ok=True)
        path.rename(path.parent / "deep" / path.name)
    else:
        shutil.copy(path, path.with_name(path.name.upper()))


def make_case(rng, folder):
    """Write one case; return the folder of pictures and the annotation file."""
    content = sound_case(rng)
    root = folder / "img"
    pictures = [root / image["file_name"] for image in content["images"]]
    for picture in pictures:
        draw_picture(rng, picture)
    for picture in pictures:
        if rng.random() < 0.06:
            spoil_picture(rng, picture)

    for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 6])):
        change_content(rng, content)
    data = json.dumps(content).encode()
    if rng.random() < 0.06:
        data = change_bytes(rng, data)
    path = folder / "ann.json"
    path.write_bytes(data)
    return root, path


# ------------------------------------------------------------------------------------ the verdict


def read_all(root, path, on_bad, skip_bad_images):
    """What the package makes of a case: its data set, checked, with all samples."""
    data = CocoDetection(root, path, on_bad=on_bad, skip_bad_images=skip_bad_images)
    num_before = len(data)
    data.check(accept_empty=True, accept_left_out=True, progress=False)
    return data, num_before, [data[i] for i in range(len(data))]


def expected(root, path, on_bad, skip_bad_images):
    """What the plain reader makes of it."""
    records, class_names, left_out = plain_read(root, path, on_bad, skip_bad_images)
    num_before, whole = len(records), []
    for record in records:
        try:
            whole.append((*record, plain_pixels(record[1], tuple(map(int, record[2])))))
        except GiveUp:
            if not skip_bad_images:
                raise
    return whole, class_names, left_out, num_before


def difference(found, wanted):
    """Say in what the two readings differ; None if in nothing."""
    data, num_before, samples = found
    records, class_names, left_out, num_before_wanted = wanted
    if data.class_names != class_names:
        return f"classes {data.class_names}, expected {class_names}"
    if sum(data.left_out.values()) != left_out:
        return f"left out {data.left_out}, expected {left_out}"
    if num_before != num_before_wanted:
        return f"{num_before} images, expected {num_before_wanted}"
    if data.image_ids != [record[0] for record in records]:
        return f"images {data.image_ids}, expected {[record[0] for record in records]}"
    if data.image_paths != [record[1] for record in records]:
        return f"pictures {data.image_paths}, expected {[record[1] for record in records]}"
    for (image, target), (image_id, _, _, objects, pixels) in zip(samples, records):
        rows = list(zip(*(target[key].tolist() for key in ("labels", "boxes", "area", "iscrowd"))))
        objects = [(a, b, float(np.float32(c)), d) for a, b, c, d in objects]
        for row, wanted_row in zip(rows, objects):
            same_area = np.isclose(row[2], wanted_row[2], rtol=1e-5, atol=1e-5)
            if row[:2] != wanted_row[:2] or not same_area or row[3] != wanted_row[3]:
                return f"image {image_id}: {row}, expected {wanted_row}"
        if len(rows) != len(objects):
            return f"image {image_id}: {len(rows)} objects, expected {len(objects)}"
        if not np.allclose(image.numpy().transpose(1, 2, 0), pixels, atol=1e-6):
            return f"image {image_id}: other pixels"
    return None


def judge(root, path, on_bad, skip_bad_images):
    """Return the kind of outcome, and what is wrong with it or None."""
    try:
        wanted = expected(root, path, on_bad, skip_bad_images)
    except GiveUp:
        wanted = None

    try:
        found = read_all(root, path, on_bad, skip_bad_images)
    except (ValueError, TypeError, FileNotFoundError) as error:
        if str(root.parent) not in str(error):
            return "error", f"names no file: {type(error).__name__}: {error}"
        if wanted is not None:
            return "error", f"refused, though it can be read: {error}"
        return "error", None
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"

    if wanted is None:
        return "read", "read, though the plain reader gives up"
    return "read", difference(found, wanted)


def run(num_cases, seed, keep=None):
    """Run cases; return how many there were of each outcome, and the wrong ones."""
    counts, wrong = {"read": 0, "error": 0}, []

    def too_long(signum, frame):
        raise BaseExceptionGroup("hangs", [KeyboardInterrupt()])

    before = signal.signal(signal.SIGALRM, too_long)
    for case in range(num_cases):
        rng = random.Random(f"{seed} {case}")
        with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            root, path = make_case(rng, Path(name))
            on_bad = rng.choice(["raise", "skip"])
            skip_bad_images = rng.random() < 0.5
            signal.alarm(SECONDS)
            try:
                kind, fault = judge(root, path, on_bad, skip_bad_images)
            except BaseExceptionGroup:
                kind, fault = "error", "hangs"
            finally:
                signal.alarm(0)
            counts[kind] += 1
            if fault:
                wrong.append((case, on_bad, skip_bad_images, fault))
                if keep:
                    shutil.copytree(name, Path(keep) / str(case), ignore=_pipes)
    signal.signal(signal.SIGALRM, before)
    return counts, wrong


def _pipes(folder, names):
    return [name for name in names if Path(folder, name).is_fifo()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", help="folder for the files of wrong outcomes")
    options = parser.parse_args()

    counts, wrong = run(options.cases, options.seed, options.keep)
    print(
        f"{options.cases} cases: {counts['read']} read, {counts['error']} refused, "
        f"{len(wrong)} wrong"
    )
    for case, on_bad, skip_bad_images, fault in wrong[:40]:
        print(f"  case {case} (on_bad={on_bad!r}, skip_bad_images={skip_bad_images}): {fault}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

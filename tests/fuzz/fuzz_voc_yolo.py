"""Damage small Pascal VOC and YOLO folders and compare what the readers make of them.

    python tests/fuzz/fuzz_voc_yolo.py --cases 10000 --seed 0

Each case writes a folder that is whole, does up to three things to it (those that labelling tools
do, and those that disks, editors and hands do), and reads it. Right is

- the very objects that a naive reading of the same files finds, which is written here anew: with
  another XML library and another loader for YAML, file by file and word by word; or
- a ValueError, TypeError or FileNotFoundError that names a file of the folder, where the naive
  reading finds a fault, too.

So both are caught: what is silently read as something else, and what is refused without need.
Anything else, and a case that takes longer than ten seconds, is a wrong outcome: exit code 1.
"""

import argparse
import io
import math
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.dom import minidom
from xml.parsers.expat import ExpatError

import yaml
from PIL import Image

from detlearn.data import VOCDetection, YOLODetection

SIZE = (60, 40)  # width, height of every picture
CLASSES = ("cat", "dog", "it's", "方")
SECONDS = 10


class Fault(Exception):
    """The naive reading finds something that no reader may accept silently."""


class Found(NamedTuple):
    """One object: its class by name, its corners in pixels, and whether it is difficult."""

    name: str
    box: tuple[float, float, float, float]
    difficult: int = 0


Reading = dict[str, list[Found]]  # by the picture's file name


# ---- helpers


def picture_bytes(ending: str, size: tuple[int, int] = SIZE) -> bytes:
    """Return a picture in the format of this ending; each is made once."""
    key = (ending, size)
    if key not in PICTURES:
        file = io.BytesIO()
        kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(ending.lower(), ending[1:].upper())
        Image.new("RGB", size).save(file, kind)
        PICTURES[key] = file.getvalue()
    return PICTURES[key]


PICTURES: dict[tuple[str, tuple[int, int]], bytes] = {}


def naive_number(text: str) -> float:
    """Return a number written with ASCII digits."""
    text = text.strip()
    if not text or any(letter not in "0123456789+-.eE" for letter in text):
        raise Fault(f"no number: {text!r}")
    try:
        value = float(text)
    except ValueError:
        raise Fault(f"no number: {text!r}") from None
    if not math.isfinite(value) or abs(value) > 1e12:
        raise Fault(f"too large: {text!r}")
    return value


def naive_lines(content: bytes) -> list[str]:
    """Return the lines of a text in UTF-8 that hold something."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise Fault("no UTF-8") from None
    lines = re.split("\r\n|\r|\n", text.removeprefix("\ufeff"))
    return [line.strip() for line in lines if line.strip()]


def naive_clip(corners: tuple[float, ...], size: tuple[int, int]) -> tuple[float, ...]:
    """Return what of a box lies in the picture."""
    x1, y1, x2, y2 = corners
    if x1 >= x2 or y1 >= y2:
        raise Fault("no area")
    x1, x2 = (min(max(x, 0.0), size[0]) for x in (x1, x2))
    y1, y2 = (min(max(y, 0.0), size[1]) for y in (y1, y2))
    if x2 - x1 < 1e-5 or y2 - y1 < 1e-5:
        raise Fault("outside")
    return x1, y1, x2, y2


def read_file(path: Path) -> bytes:
    if not path.is_file():
        raise Fault(f"no file {path.name}")
    return path.read_bytes()


# ---- Pascal VOC: a whole folder


def write_voc(root: Path, rng: random.Random) -> None:
    """Write three pictures with one to three objects each, in one of three layouts."""
    layout = rng.choice(("lists", "lists", "lists", "folder", "flat"))
    annotations = root / "Annotations" if layout != "folder" else root / "train"
    pictures = root / "JPEGImages" if layout != "folder" else root / "train"
    for folder in (annotations, pictures):
        folder.mkdir(parents=True, exist_ok=True)

    for name in ("a", "b c", "d.e"):
        ending = rng.choice((".png", ".jpg", ".PNG", ".Jpg", ".tif", ".webp", ".bmp"))
        (pictures / f"{name}{ending}").write_bytes(picture_bytes(ending))
        objects = "".join(voc_object(rng) for _ in range(rng.randint(1, 3)))
        size = f"<size>\n<width>{SIZE[0]}</width>\n<height>{SIZE[1]}</height>\n</size>"
        text = (
            f"<annotation>\n<filename>{name}{ending}</filename>\n{size}\n{objects}</annotation>\n"
        )
        (annotations / f"{name}.xml").write_text(text, encoding="utf-8")

    if layout == "lists":
        (root / "ImageSets" / "Main").mkdir(parents=True)
        (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb c\nd.e\n")


def voc_object(rng: random.Random) -> str:
    """Return one object, its tags in any order."""
    x1, y1 = rng.randint(1, 40), rng.randint(1, 20)
    corners = {"xmin": x1, "ymin": y1, "xmax": x1 + rng.randint(1, 20), "ymax": y1 + 5}
    if rng.random() < 0.2:
        corners = {key: value + 0.25 for key, value in corners.items()}
    tags = [f"<{key}>{value}</{key}>\n" for key, value in corners.items()]
    rng.shuffle(tags)
    difficult = rng.choice(("0", "1", "Unspecified", "true", "false", ""))
    parts = [
        f"<name>{rng.choice(CLASSES)}</name>\n",
        f"<difficult>{difficult}</difficult>\n",
        f"<bndbox>\n{''.join(tags)}</bndbox>\n",
        "<pose>Left</pose>\n",
    ]
    rng.shuffle(parts)
    return f"<object>\n{''.join(parts)}</object>\n"


# ---- Pascal VOC: a naive reading


def naive_voc(root: Path, skip: bool) -> Reading:
    """Read the folder once more; with ``skip`` without the objects and files that have a fault."""
    annotations = root / "train" if (root / "train").is_dir() else root / "Annotations"
    pictures = root / "train" if (root / "train").is_dir() else root / "JPEGImages"
    split = root / "ImageSets" / "Main"
    stems = [p.stem for p in annotations.iterdir() if p.suffix.lower() == ".xml"]

    if any(split.glob("*.txt")):
        names = [
            naive_voc_name(line, stems, skip)
            for line in naive_lines(read_file(split / "train.txt"))
        ]
    else:
        names = sorted(stems)
    if not names or len(set(names)) < len(names):
        raise Fault("no names, or one twice")

    # The classes are those of all files, so another split's file must be sound, too.
    for path in sorted(annotations.iterdir()):
        if path.suffix.lower() == ".xml" and path.stem not in names and not skip:
            naive_root(read_file(path))

    reading: Reading = {}
    for name in names:
        paths = [annotations / (name + ending) for ending in (".xml", ".XML")]
        path = paths[1] if paths[1].is_file() else paths[0]
        root_element, filename, fault = None, "", None
        try:
            root_element = naive_root(read_file(path))
            filename = naive_only(root_element, "filename", needs_text=True) or ""
        except Fault as found:
            root_element, fault = None, found

        file = naive_picture(pictures, name, filename)
        try:
            if root_element is None:
                raise fault
            reading[file] = naive_annotation(root_element, skip)
        except Fault:
            if not skip:
                raise
            reading[file] = []
    return reading


def naive_voc_name(line: str, stems: list[str], skip: bool) -> str:
    """Return the annotation file that a line of a split means."""
    if "/" in line or "\\" in line or "\0" in line or ":" in line:
        raise Fault("a path")
    without_flag = re.sub(r"\s+(1|0|-1|\+1)$", "", line)
    for text in (line, without_flag):
        for name in (text, re.sub(r"\.(png|jpg|tif|webp|bmp|xml)$", "", text, flags=re.I)):
            if name in stems:
                return name
    if not skip:
        raise Fault(f"no annotation for {line!r}")
    return re.sub(r"\.(png|jpg|tif|webp|bmp|xml)$", "", without_flag, flags=re.I)


def naive_picture(folder: Path, name: str, filename: str) -> str:
    """Return the only picture of this name; of two, the one that the annotation file names."""
    endings = (".png", ".jpg", ".tif", ".webp", ".bmp")
    files = [p.name for p in folder.iterdir() if p.stem == name and p.suffix.lower() in endings]
    if len(files) > 1:
        files = [file for file in files if file == filename.strip()]
    if len(files) != 1:
        raise Fault(f"{len(files)} pictures of {name!r}")
    return files[0]


def naive_text(content: bytes) -> str:
    """Return the text of an XML file without its declaration."""
    encoding = "utf-8-sig"
    declared = re.match(rb"\s*<\?xml[^>]*encoding=[\"']([\w.-]+)[\"']", content)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif content[:2] == b"<\0":
        encoding = "utf-16-le"
    elif content[:2] == b"\0<":
        encoding = "utf-16-be"
    elif declared and content[:3] != b"\xef\xbb\xbf":
        encoding = declared[1].decode().lower()
        if encoding.startswith("utf-16"):
            raise Fault("declared, but not so")
        encoding = encoding.replace("gb2312", "gb18030").replace("gbk", "gb18030")
    try:
        text = content.decode(encoding)
    except (UnicodeError, LookupError):
        raise Fault("encoding") from None
    if re.match(r"\s+<\?xml", text):
        raise Fault("a blank before the declaration")
    return re.sub(r"^<\?xml[^>]*\?>", "", text)


def naive_root(content: bytes) -> minidom.Element:
    """Return the root of an annotation file whose objects stand where they are to be."""
    text = naive_text(content)
    if "<!ENTITY" in text:
        raise Fault("entities")
    try:
        root = minidom.parseString(text.encode("utf-8", "surrogatepass")).documentElement
    except (ExpatError, ValueError):
        raise Fault("no XML") from None
    if root.tagName != "annotation":
        raise Fault("no annotation")

    # Each object stands in the annotation, each box in an object or in its part.
    for element in root.getElementsByTagName("*"):
        tag, parent = element.tagName.lower(), element.parentNode
        if tag == "object" and (element.tagName != tag or parent is not root):
            raise Fault("an object elsewhere")
        if tag == "bndbox":
            is_of_part = parent.tagName == "part" and parent.parentNode.tagName == "object"
            is_of_part = is_of_part and parent.parentNode.parentNode is root
            is_of_object = parent.tagName == "object" and parent.parentNode is root
            if element.tagName != tag or not (is_of_object or is_of_part):
                raise Fault("a box elsewhere")
    return root


def naive_annotation(root: minidom.Element, skip: bool) -> list[Found]:
    """Return the objects of an annotation file."""
    size = naive_only(root, "size")
    sides = []
    for key in ("width", "height"):
        side = naive_only(size, key, needs_text=True) if size else None
        sides.append(naive_number(side or "0"))
    if any(side < 0 or side % 1 for side in sides):
        raise Fault("size")
    sides = sides if all(sides) else list(SIZE)

    found = []
    for element in [node for node in root.childNodes if getattr(node, "tagName", "") == "object"]:
        try:
            found.append(naive_voc_object(element, sides))
        except Fault:
            if not skip:
                raise
    return found


def naive_only(parent: minidom.Element, tag: str, needs_text: bool = False):
    """Return the only child of this name (or its text), None if there is none."""
    children = [node for node in parent.childNodes if getattr(node, "tagName", "") == tag]
    if len(children) > 1:
        raise Fault(f"{tag} twice")
    if not children or not needs_text:
        return children[0] if children else None
    if any(node.nodeType == node.ELEMENT_NODE for node in children[0].childNodes):
        raise Fault(f"{tag} is no text")
    kinds = (minidom.Node.TEXT_NODE, minidom.Node.CDATA_SECTION_NODE)
    return "".join(node.data for node in children[0].childNodes if node.nodeType in kinds)


def naive_voc_object(element: minidom.Element, size: list[float]) -> Found:
    """Return one object."""
    name = (naive_only(element, "name", needs_text=True) or "").strip()
    if not name:
        raise Fault("no name")
    box = naive_only(element, "bndbox")
    if box is None:
        raise Fault("no box")
    x1, y1, x2, y2 = [
        naive_number(naive_only(box, key, needs_text=True) or "")
        for key in ("xmin", "ymin", "xmax", "ymax")
    ]
    if x1 >= x2 or y1 >= y2:
        raise Fault("no area")
    flag = (naive_only(element, "difficult", needs_text=True) or "").strip().lower()
    flag = flag.removesuffix(".0")
    if flag not in ("1", "true", "yes", "y", "t") and flag not in (
        *("0", "false", "no", "n", "f", "", "none", "null", "unspecified"),
    ):
        raise Fault("difficult")
    clipped = naive_clip((x1 - 1, y1 - 1, x2, y2), (int(size[0]), int(size[1])))
    return Found(name, clipped, int(flag in ("1", "true", "yes", "y", "t")))


# ---- YOLO: a whole folder


def write_yolo(root: Path, rng: random.Random) -> None:
    """Write three pictures with labels and a data.yaml in one of its forms."""
    for name in ("a", "b c", "d.e"):
        ending = rng.choice((".png", ".jpg", ".PNG", ".Jpg", ".tif", ".webp", ".bmp"))
        for folder in ("images", "labels"):
            (root / folder / "train").mkdir(parents=True, exist_ok=True)
        (root / "images" / "train" / f"{name}{ending}").write_bytes(picture_bytes(ending))
        lines = "".join(yolo_line(rng) for _ in range(rng.randint(1, 3)))
        (root / "labels" / "train" / f"{name}.txt").write_text(lines)

    pictures = sorted(path.name for path in (root / "images" / "train").iterdir())
    (root / "train.txt").write_text("".join(f"images/train/{name}\n" for name in pictures))
    quoted = [f'"{name}"' for name in CLASSES]
    names = rng.choice(
        (
            f"names: [{', '.join(quoted)}]",
            "names:\n" + "\n".join(f"- {name}" for name in quoted),
            "names:\n" + "\n".join(f"  {i}: {name}" for i, name in enumerate(quoted)),
        )
    )
    place = rng.choice(("images/train", "../images/train", "train.txt", "[images/train]"))
    (root / "data.yaml").write_text(f"train: {place}\nnc: 4\n{names}\n", encoding="utf-8")


def yolo_line(rng: random.Random) -> str:
    """Return the line of a box or of a triangle."""
    label = rng.randrange(len(CLASSES))
    x, y = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)
    if rng.random() < 0.3:
        points = (x - 0.1, y, x + 0.1, y, x, y + 0.15)
        return f"{label} " + " ".join(f"{value:.6f}" for value in points) + "\n"
    return f"{label} {x:.6f} {y:.6f} {rng.uniform(0.05, 0.3):.6f} {rng.uniform(0.05, 0.3):.6f}\n"


# ---- YOLO: a naive reading


def naive_yolo(root: Path, skip: bool) -> Reading:
    """Read the folder once more; with ``skip`` without the lines and files that have a fault."""
    names, places = naive_yaml(read_file(root / "data.yaml"))
    files = naive_yolo_pictures(root, places)
    reading: Reading = {}
    any_labels = False
    for file in files:
        stem = file.rsplit(".", 1)[0]
        label = root / "labels" / "train" / f"{stem}.txt"
        capitals = label.with_suffix(".TXT")
        label = capitals if capitals.is_file() and not label.is_file() else label
        if not label.is_file() and os.path.lexists(label):
            raise Fault("no file of labels")
        any_labels = any_labels or label.is_file()
        try:
            reading[file] = naive_labels(label.read_bytes(), names, skip) if label.is_file() else []
        except Fault:
            if not skip:
                raise
            reading[file] = []
    if not any_labels:
        raise Fault("no labels")
    return reading


def naive_yaml(content: bytes) -> tuple[list[str], list[str]]:
    """Return the names of the classes as they are written, and the places of the split."""
    try:
        tree = yaml.compose(content, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise Fault("no YAML") from None
    if not isinstance(tree, yaml.MappingNode):
        raise Fault("no map")

    keys = [key.value for key, _ in tree.value if isinstance(key, yaml.ScalarNode)]
    if len(set(keys)) < len(tree.value) or "<<" in keys:
        raise Fault("a key twice")
    content = {key.value: node for key, node in tree.value}
    if "names" not in content or "train" not in content:
        raise Fault("a key is missing")

    names = content["names"]
    if isinstance(names, yaml.MappingNode):
        pairs = [(key.value, node) for key, node in names.value]
        if sorted(key for key, _ in pairs) != [str(i) for i in range(len(pairs))]:
            raise Fault("numbers of names")
        nodes = [node for _, node in sorted(pairs)]  # fewer than ten
    elif isinstance(names, yaml.SequenceNode):
        nodes = names.value
    else:
        raise Fault("names")
    texts = [naive_word(node) for node in nodes]
    if not texts or len(set(texts)) < len(texts):
        raise Fault("names twice")
    if "nc" in content and naive_word(content["nc"]) != str(len(texts)):
        raise Fault("nc")

    places = content["train"]
    nodes = places.value if isinstance(places, yaml.SequenceNode) else [places]
    return texts, [naive_word(node) for node in nodes]


def naive_word(node: yaml.Node) -> str:
    """Return the text of a node that YAML does not take for nothing, a truth or a date."""
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        raise Fault("no word")
    plain = node.style is None and not node.tag.startswith("!")
    if plain and node.value.lower() in ("yes", "no", "on", "off", "true", "false", "null", "~"):
        raise Fault("no word for YAML")
    if plain and re.fullmatch(r"\d{4}-\d\d?-\d\d?.*", node.value):
        raise Fault("a date")
    return node.value.strip()


def naive_yolo_pictures(root: Path, places: list[str]) -> list[str]:
    """Return the names of the pictures that a split has."""
    endings = (".png", ".jpg", ".tif", ".webp", ".bmp")
    in_folder = sorted(path.name for path in (root / "images" / "train").iterdir())
    in_folder = [name for name in in_folder if name[name.rindex(".") :].lower() in endings]
    stems = [name.rsplit(".", 1)[0] for name in in_folder]

    files: list[str] = []
    for place in places:
        place = re.sub(r"[/\\]+", "/", place).rstrip("/")
        if place.split("/")[-1] == "train.txt" and ".." not in place:
            for line in naive_lines(read_file(root / "train.txt")):
                last = re.split(r"[/\\]", line)[-1]
                same = [name for name in in_folder if name.lower() == last.lower()]
                if len(same) != 1:
                    raise Fault("no such picture")
                files += same
        elif re.fullmatch(r"(.*/)?images(/train)?", place):  # with all that lies below
            for label in (root / "labels" / "train").glob("*.txt"):
                if label.stem not in stems:
                    raise Fault("labels without a picture")
            files += in_folder
        else:
            raise Fault(f"place {place!r}")
    if not files or len(set(files)) < len(files):
        raise Fault("no picture, or one twice")
    if len({name.rsplit(".", 1)[0] for name in files}) < len(files):
        raise Fault("labels of two pictures")
    return files


def naive_labels(content: bytes, names: list[str], skip: bool) -> list[Found]:
    """Return the objects of one file of labels."""
    found: list[Found] = []
    for line in naive_lines(content):
        try:
            one = naive_line(line, names)
            if any(one.name == o.name and naive_same(one.box, o.box, 1e-9) for o in found):
                raise Fault("twice")
            found.append(one)
        except Fault:
            if not skip:
                raise
    return found


def naive_line(line: str, names: list[str]) -> Found:
    """Return the object of one line."""
    words = line.split()
    if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        raise Fault("number of values")
    label = naive_number(words[0])
    if label % 1 or not 0 <= label < len(names):
        raise Fault("class")
    values = [naive_number(word) for word in words[1:]]
    lowest = min(values[:2] if len(words) == 5 else values)
    if lowest < -0.01 or max(values) > 1.01:
        raise Fault("shares")
    if len(words) == 5:
        x, y, w, h = values
        x1, y1, x2, y2 = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    else:
        x1, y1, x2, y2 = min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    width, height = SIZE
    box = naive_clip((x1 * width, y1 * height, x2 * width, y2 * height), SIZE)
    return Found(names[int(label)], box)


def naive_same(a: tuple[float, ...], b: tuple[float, ...], tolerance: float) -> bool:
    return all(abs(x - y) <= tolerance for x, y in zip(a, b))


# ---- what is done to the files


def targets(root: Path, kind: str) -> list[Path]:
    """Return the files of this kind, sorted."""
    patterns = {
        "voc": ("Annotations/*.xml", "train/*.xml", "ImageSets/Main/*.txt"),
        "yolo": ("labels/train/*.txt", "data.yaml", "train.txt"),
    }
    return sorted(path for pattern in patterns[kind] for path in root.glob(pattern))


NUMBERS = (
    *(
        "1_2",
        "nan",
        "inf",
        "-1",
        "0",
        "1e400",
        "9223372036854775808",
        "0x10",
        "1,5",
        "٣",
        "",
        " 5 ",
    ),
    *("1e1", "+7", "12.", ".5", "1.01", "-0.009", "60", "1e-30", "--1", "1 2", "０.５", "2.0"),
)
WORDS = ("", "cat", "yes", "010", "1_2", "null", "~", "2024-01-01", "it''s", "<b>", "&amp;", "&e;")
PAGE = "<html><body><h1>404 Not Found</h1></body></html>"


def change_text(path: Path, change: Callable[[str], str]) -> None:
    """Rewrite a file in UTF-8; one that is none stays as it is."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return
    path.write_bytes(change(text).encode("utf-8", "surrogatepass"))


def replace_one(path: Path, rng: random.Random, pattern: str, others: Sequence[str]) -> None:
    """Put one of the others in place of one match of the pattern."""

    def change(text: str) -> str:
        spots = list(re.finditer(pattern, text))
        if not spots:
            return text
        spot = rng.choice(spots)
        return text[: spot.start()] + rng.choice(others) + text[spot.end() :]

    change_text(path, change)


def replace_a_number(path: Path, rng: random.Random) -> None:
    replace_one(path, rng, r"(?<=[ >\n])[0-9][0-9.]*(?=[ <\n])", NUMBERS)


def replace_a_word(path: Path, rng: random.Random) -> None:
    replace_one(path, rng, r"[^\W\d_]+", WORDS)


def repeat_a_line(path: Path, rng: random.Random) -> None:
    def change(text: str) -> str:
        lines = text.splitlines(keepends=True) or [""]
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
        return "".join(lines)

    change_text(path, change)


def drop_a_line(path: Path, rng: random.Random) -> None:
    def change(text: str) -> str:
        lines = text.splitlines(keepends=True) or [""]
        del lines[rng.randrange(len(lines))]
        return "".join(lines)

    change_text(path, change)


def change_a_byte(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)


def cut_off(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randint(0, len(content))])


def insert_signs(path: Path, rng: random.Random) -> None:
    signs = ("\0", "\u2028", "\x0b", "\t", "\r", " ", "<!-- x -->", "#", "名", '"', "\\", "..", "/")

    def change(text: str) -> str:
        spot = rng.randint(0, len(text))
        return text[:spot] + rng.choice(signs) + text[spot:]

    change_text(path, change)


def windows(path: Path, rng: random.Random) -> None:
    mark = rng.choice(("", "\ufeff"))
    change_text(path, lambda text: mark + text.replace("\r\n", "\n").replace("\n", "\r\n"))


def other_encoding(path: Path, rng: random.Random) -> None:
    encoding = rng.choice(("gb2312", "gbk", "big5", "utf-16", "utf-16-le", "latin-1", "utf-8", "x"))
    try:
        text = path.read_bytes().decode("utf-8")
        if path.suffix.lower() == ".xml" and rng.random() < 0.8:
            text = f'<?xml version="1.0" encoding="{encoding}"?>\n{text}'
        path.write_bytes(text.encode("utf-8" if encoding == "x" else encoding))
    except UnicodeError:
        return


def flags_and_endings(path: Path, rng: random.Random) -> None:
    """Lists as tools write them."""
    if path.name != "train.txt" or path.parent.name != "Main":
        return
    ending, flag = (
        rng.choice(("", ".png", ".jpg", ".xml")),
        rng.choice(("", " 1", " -1", "\t0", "  2")),
    )
    change_text(path, lambda text: "".join(f"{x}{ending}{flag}\n" for x in text.splitlines()))


def replaced(path: Path, rng: random.Random) -> None:
    """Something else lies where the file was."""
    path.unlink()
    kind = rng.choice(("nothing", "empty", "page", "folder", "pipe", "link", "entities", "picture"))
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "page":
        path.write_text(PAGE)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("nowhere")
    elif kind == "entities":
        text = "<!DOCTYPE a [<!ENTITY e 'cat'>]><annotation><object/></annotation>"
        path.write_bytes(text.encode(rng.choice(("utf-8", "utf-16"))))
    elif kind == "picture":
        path.write_bytes(picture_bytes(".png"))


def capitals(path: Path, rng: random.Random) -> None:
    if path.suffix in (".xml", ".txt") and path.parent.name in ("Annotations", "train"):
        path.rename(path.with_suffix(path.suffix.upper()))


def picture_gone_or_doubled(path: Path, rng: random.Random) -> None:
    """The picture of a file of annotations is missing, or there are two."""
    folder = path.parent
    for parent in ("JPEGImages", "images/train"):
        folder = path.parents[1] / parent if (path.parents[1] / parent).is_dir() else folder
    if path.parent.name == "train" and path.suffix.lower() == ".txt":
        folder = path.parents[2] / "images" / "train"
    pictures = [p for p in folder.glob("*.*") if p.stem == path.stem and p.suffix.lower() != ".xml"]
    if not pictures or path.name in ("data.yaml", "train.txt"):
        return
    if rng.random() < 0.5:
        pictures[0].unlink()
    else:
        other = ".png" if pictures[0].suffix.lower() != ".png" else ".bmp"
        pictures[0].with_suffix(other).write_bytes(picture_bytes(other))


CHANGES = (
    *(replace_a_number, replace_a_number, replace_a_number, replace_a_word, repeat_a_line),
    *(drop_a_line, change_a_byte, cut_off, insert_signs, windows, other_encoding),
    *(flags_and_endings, replaced, capitals, picture_gone_or_doubled),
)


# ---- one case


def run_case(seed: int, root: Path) -> str:
    """Run one case.

    Returns:
        "read", "refused", or what is wrong.
    """
    rng = random.Random(seed)
    kind = rng.choice(("voc", "yolo"))
    skip = rng.random() < 0.5
    {"voc": write_voc, "yolo": write_yolo}[kind](root, rng)

    done = []
    for _ in range(rng.randint(0, 3)):
        change = rng.choice(CHANGES)
        files = [path for path in targets(root, kind) if path.is_file()]
        if files:
            path = rng.choice(files)
            done.append(f"{change.__name__} {path.relative_to(root)}")
            change(path, rng)
    story = f"case {seed}: {kind}, {'skip' if skip else 'raise'}, {done}"

    try:
        expected: Reading | str = {"voc": naive_voc, "yolo": naive_yolo}[kind](root, skip)
    except Fault as fault:
        expected = str(fault)

    reader = {"voc": VOCDetection, "yolo": YOLODetection}[kind]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = reader(root, "train", on_bad="skip" if skip else "raise")
            got = reading_of(data)
    except (ValueError, TypeError, FileNotFoundError) as error:
        if str(root) not in str(error):
            return f"{story}: {type(error).__name__} names no file: {error}"
        if not isinstance(expected, str):
            return f"{story}: refused without need: {error}"
        return "refused"

    if isinstance(expected, str):
        return f"{story}: read {got}, although: {expected}"
    difference = first_difference(got, expected)
    return f"{story}: {difference}" if difference else "read"


def reading_of(data: VOCDetection | YOLODetection) -> Reading:
    """Return what a reader made of the folder."""
    reading: Reading = {}
    for index, path in enumerate(data.image_paths):
        target = data.target(index)
        flags = target.get("difficult", target["iscrowd"]).tolist()
        rows = zip(target["labels"].tolist(), target["boxes"].tolist(), flags)
        reading[path.name] = [Found(data.class_names[k], tuple(box), d) for k, box, d in rows]
    return reading


def first_difference(got: Reading, expected: Reading) -> str:
    """Return in words where two readings differ, empty if they do not."""
    if list(got) != list(expected):
        return f"pictures {list(got)}, expected {list(expected)}"
    for file, objects in expected.items():
        if len(got[file]) != len(objects):
            return f"{file} has {got[file]}, expected {objects}"
        for a, b in zip(got[file], objects):
            same = a.name == b.name and a.difficult == b.difficult
            if not same or not naive_same(a.box, b.box, 1e-4):
                return f"{file} has {a}, expected {b}"
    return ""


def too_long(*_: object) -> None:
    raise TimeoutError(f"took longer than {SECONDS} s")


def run_cases(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Run ``count`` cases from ``seed`` on.

    Returns:
        How many were read and refused, and what went wrong.
    """
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    signal.signal(signal.SIGALRM, too_long)
    with tempfile.TemporaryDirectory() as folder:
        for case in range(seed, seed + count):
            root = Path(folder, "set")
            root.mkdir()
            signal.alarm(SECONDS)
            try:
                outcome = run_case(case, root)
            except Exception:  # whatever it is, it is no answer to a reader
                outcome = f"case {case}: {traceback.format_exc(limit=-3)}"
            signal.alarm(0)
            shutil.rmtree(root)

            if outcome in ("read", "refused"):
                counts[outcome] += 1
            else:
                wrong.append(outcome)
    return counts, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    counts, wrong = run_cases(options.cases, options.seed)
    for outcome in wrong[:20]:
        print(outcome)
    print(f"{counts['read']} read, {counts['refused']} refused, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""``VOCDetection``: boxes in the XML format of the Pascal VOC challenges.

Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010, and the
development kit's documentation. There ``root`` holds ``JPEGImages`` (the pictures), ``Annotations``
(one XML file for each picture) and ``ImageSets/Main`` (one text file for each split, with one
picture's name a line). Labelling programs write the same XML and leave it in other places:

    root/ImageSets/Main/train.txt    the split's names, with or without the picture's ending, and
                                     perhaps followed by 1, 0 or -1, as in VOC's files of one class
    root/train/a.jpg, a.xml          a folder for each split, XML beside the pictures
    root/Annotations/a.xml           no split at all: all XML files are the split, and a warning
    root/a.jpg, a.xml                says so

Shapes: ``N`` objects of one image, ``K`` classes, ``H`` and ``W`` the height and width of an image.

Corners: VOC counts pixels from 1 and includes the last one. In continuous coordinates, where pixel
1 covers 0 to 1, the box is ``(xmin − 1, ymin − 1, xmax, ymax)``, so a box over the whole image is
``(0, 0, W, H)``. Many tools write continuous corners instead, from 0 to W: ``zero_based=True``
takes them as they are.

Which picture: the one that is called as the annotation file. Where there is none, or more than one
(``a.jpg``, ``a.png``), the file's ``<filename>`` decides; where that leaves a choice, it is an
error.

Where we differ from the development kit and from torchvision's class of the same name:

- A sample's target is a dictionary of tensors, not the nested dictionary of the XML file.
- ``xmin = xmax`` would be an object one pixel wide; it is a fault here, for in practice it is a
  slipped mouse click.
- Coordinates may be fractions (some of VOC 2011's are), and boxes are clipped to their image.
- A tag that is to be there once and is there twice is a fault, not silently the first one's value.
- Files that declare XML entities are refused: annotations need none, and they can blow a small file
  up to gigabytes.
- Any encoding that the file declares is read, such as GB2312; Python's parser knows few of them.
"""

import codecs
import contextlib
import os
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from detlearn.data.reading import (
    AnnotatedObject,
    AnnotatedPictures,
    BadAnnotation,
    Faults,
    Record,
    checked_class_names,
    clipped_box,
    flag,
    number,
    pack,
    path_inside,
    picture_endings,
    picture_size,
    something_else,
    text_lines,
)

# Folders of annotations and of pictures, as VOC and others call them.
ANNOTATION_FOLDERS = ("Annotations", "annotations", "annots", "xmls", "xml", "labels")
PICTURE_FOLDERS = ("JPEGImages", "images", "Images", "imgs", "img")

# Which folder a split is in if none has its own name.
OTHER_NAMES_OF_SPLITS = {"val": ("valid", "validation"), "valid": ("val", "validation")}

# What may follow a name: the class is there, only as difficult, or is not.
FLAGS = ("1", "0", "-1", "+1")

# Browsers read these encodings as their superset, because many files hold more than they declare.
SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030"}
BYTE_ORDER_MARKS = (  # UTF-32's first, for it begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DECLARATION = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z][\w.-]*)["'][^>]*>""")


class VOCDetection(AnnotatedPictures):
    """Images and boxes of one split of a Pascal VOC folder.

    A sample is ``(image, target)``: image ``(3, H, W)`` float32 in [0, 1], upright; target with
    ``boxes (N, 4)`` float32 ``x1, y1, x2, y2`` in pixels, ``labels (N,)`` int64 0 … K−1,
    ``area (N,)`` float32 (the box's), ``iscrowd (N,)`` int64 (all 0), ``difficult (N,)`` int64
    (kept and marked) and ``image_id ()``, the position of the image in the split. N may be 0.

    Args:
        root: folder with JPEGImages, Annotations and ImageSets/Main, or one of the other layouts
            above.
        split: name of a file in ImageSets/Main without ``.txt``, or of a folder, such as
            ``"train"``.
        on_bad: ``"raise"`` stops at the first bad annotation; ``"skip"`` drops bad annotations (all
            of a file whose XML is malformed or missing), keeps every image, and warns once with
            what was left out. Where that is more than a tenth of all, ``check`` refuses to go on.
        class_names: the names in the order of their labels. An object of another class is a bad
            annotation. Default: the names in all of the root's annotations, sorted, so that every
            split has the same labels.
        zero_based: the corners count from 0 and are continuous, as most tools export them, and not
            from 1 with the last pixel included, as in VOC.
        skip_bad_images: leave out images whose picture is missing or not to be told from others,
            with a warning, and those whose picture turns out to be broken in ``check``. Otherwise
            they raise.

    Attributes:
        class_names: the K names, by label.
        image_names: the names of the annotation files without their ending, by index.
        left_out: how many annotations were dropped, by reason.
        images_left_out: what is wrong with each picture that was left out.

    Raises:
        FileNotFoundError: the split, a picture or an annotation file is missing.
        ValueError: malformed XML, or a fault; the message names file and annotation.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str,
        on_bad: str = "raise",
        class_names: Sequence[str] | None = None,
        zero_based: bool = False,
        skip_bad_images: bool = False,
    ) -> None:
        faults = Faults(on_bad)
        root = Path(root).expanduser()
        found = _find_split(root, split)
        self._entries = found.entries
        self._source = f"VOCDetection({str(root)!r}, {split!r})"
        self._skip_bad_images = skip_bad_images

        if class_names is None:
            class_names = _all_class_names(found, faults)
        else:
            class_names = checked_class_names(class_names)
        self.class_names = class_names
        labels = {name: label for label, name in enumerate(self.class_names)}

        # Annotations and pictures find each other by name; each picture belongs to one image.
        pictures = _Pictures(found)
        self._records, problems = [], []
        for index, entry in enumerate(found.entries):
            try:
                record = _read_record(index, entry, pictures, labels, zero_based, faults)
                self._records.append(record)
            except BadAnnotation:
                raise
            except (FileNotFoundError, ValueError) as error:
                problems.append(self._bad_image(error))

        # Nothing is chosen or left out silently.
        self._leave_images_out(problems)
        notes = [found.note] if found.note else []
        if found.is_a_folder and (unused := pictures.without_annotations()):
            count = f"{len(unused)} pictures have" if len(unused) > 1 else "one picture has"
            notes.append(f"{count} no XML file and so no part in it, the first is {unused[0]}")
        if notes:
            warnings.warn(f"{self._source}: {'; '.join(notes)}", stacklevel=2)

        self.left_out = dict(faults.counts)
        faults.summarise(self._source)

    @property
    def image_names(self) -> list[str]:
        """The names of the annotation files without their ending, by index."""
        return [self._entries[record.image_id].name for record in self._records]


# ---- which images


@dataclass
class _Entry:
    """One image of a split.

    Args:
        name: of its annotation file, from the folder of annotations on, without ``.xml``.
        annotation: path of this file.
        listed: what the split calls the picture, with its ending if it gives one.
    """

    name: str
    annotation: Path
    listed: str


@dataclass
class _Split:
    """The images of a split and where their files lie.

    Args:
        entries: one for each image.
        picture_folders: where pictures may be.
        class_folder: the annotations of all splits lie in it, or in folders in it.
        is_a_folder: its images are those of a folder and not of a list.
        note: what is to be said of the choice; may be empty.
    """

    entries: list[_Entry]
    picture_folders: list[Path]
    class_folder: Path
    is_a_folder: bool
    note: str = ""


def _find_split(root: Path, split: str) -> _Split:
    """Find the images of a split in whichever layout the root has."""
    if not os.path.isdir(root):
        raise FileNotFoundError(
            f"{root}: no such folder; expected one with JPEGImages, Annotations and ImageSets, or "
            "with XML files beside the pictures"
        )

    main = root / "ImageSets" / "Main"
    list_file = path_inside(main, f"{split}.txt")
    if any(main.glob("*.txt")):
        return _split_of_lists(root, split, list_file)

    # A folder for each split, with pictures and XML files in it. Its name must not climb either.
    for name in (split, *OTHER_NAMES_OF_SPLITS.get(split, ())):
        folder = path_inside(root, name)
        annotations = _subfolder(folder, ANNOTATION_FOLDERS)
        if _annotation_files(annotations):
            return _split_of_folder(folder, annotations, class_folder=root)

        # The same the other way round: Annotations/train and JPEGImages/train.
        annotations = _subfolder(root, ANNOTATION_FOLDERS) / name
        if _annotation_files(annotations):
            found = _split_of_folder(root, annotations, class_folder=annotations.parent)
            found.picture_folders.insert(0, _subfolder(root, PICTURE_FOLDERS) / name)
            return found

    annotations = _subfolder(root, ANNOTATION_FOLDERS)
    if not _annotation_files(annotations):
        near = [*root.glob("*/*"), *root.glob("*/*/*")]  # the root may be a whole disk
        folders = sorted({path.parent for path in near if _is_annotation(path)})
        names = ", ".join(str(folder.relative_to(root)) for folder in folders[:5])
        raise FileNotFoundError(
            f"{root}: no split {split!r}: there is neither {list_file} nor a folder "
            f"{root / split} with XML files; "
            + (f"XML files lie in {names}" if names else "it holds no XML: is root the VOC folder?")
        )

    # Nothing says what belongs to the split: everything does.
    found = _split_of_folder(root, annotations, class_folder=annotations)
    found.note = (
        f"there is no {list_file}, so all {len(found.entries)} XML files of {annotations} are "
        f"taken as the split {split!r}"
    )
    return found


def _subfolder(folder: Path, names: Sequence[str]) -> Path:
    """Return the first of these folders that is there, else the folder itself."""
    for name in names:
        if os.path.isdir(folder / name):
            return folder / name
    return folder


def _is_annotation(path: Path) -> bool:
    """Say whether this is an XML file; macOS leaves hidden ones, called ``._a.xml``."""
    return path.suffix.lower() == ".xml" and not path.name.startswith(".")


def _annotation_files(folder: Path) -> list[Path]:
    """Return the XML files of a folder, not of the folders in it, sorted."""
    paths = folder.iterdir() if os.path.isdir(folder) else []
    return sorted(path for path in paths if _is_annotation(path))


def _annotation_files_below(folder: Path) -> list[Path]:
    """Return the XML files of a folder and of the folders in it, but not of hidden ones."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if _is_annotation(path) and not any(part.startswith(".") for part in parts):
            found.append(path)
    return found


def _split_of_folder(folder: Path, annotations: Path, class_folder: Path) -> _Split:
    """Return the split of all annotation files in the folder ``annotations``."""
    entries = [_Entry(path.stem, path, path.stem) for path in _annotation_files(annotations)]
    pictures = _subfolder(folder, PICTURE_FOLDERS)
    return _Split(entries, [pictures, annotations], class_folder, is_a_folder=True)


def _split_of_lists(root: Path, split: str, path: Path) -> _Split:
    """Return the split that a file in ImageSets/Main lists."""
    paths = [path]
    if not os.path.isfile(path):
        # Some tools write lists of each class only, cat_train.txt and dog_train.txt.
        paths = sorted(path.parent.glob(f"*_{split}.txt"))
    if not paths:
        splits = sorted(p.stem for p in path.parent.glob("*.txt"))
        raise FileNotFoundError(f"{path}: no such split; {path.parent} holds {splits}")

    annotations = _subfolder(root, ANNOTATION_FOLDERS)
    entries: dict[str, _Entry] = {}
    for path in paths:
        found = _read_split(path, annotations)
        entries.update((entry.name, entry) for entry in found)

    note = "" if len(paths) == 1 else f"its images are those of {', '.join(p.name for p in paths)}"
    folders = [_subfolder(root, PICTURE_FOLDERS), annotations]
    return _Split(list(entries.values()), folders, annotations, is_a_folder=False, note=note)


def _read_split(path: Path, annotations: Path) -> list[_Entry]:
    """Return the images that a split file lists."""
    entries: list[_Entry] = []
    for i, line in text_lines(path):
        try:
            entries.append(_entry_of_line(line, annotations))
        except ValueError as error:
            raise ValueError(f"{path}, line {i}: {error}") from None

    if not entries:
        raise ValueError(f"{path}: the split is empty; expected the name of one image a line")

    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{path}: given more than once: {twice}")
    return entries


def _entry_of_line(line: str, annotations: Path) -> _Entry:
    """Understand a line of a split file: a name, perhaps with an ending, perhaps with a flag."""
    if line.endswith(("/", "\\")):
        raise ValueError(f"{line!r} is the name of a folder, expected that of an image")

    texts = [line]
    words = line.rsplit(maxsplit=1)
    if len(words) == 2 and words[1] in FLAGS:
        texts.append(words[0])

    # "IMG 1" and "scan.2" may be names as they stand: what has an annotation file is meant.
    readings = []
    for text in texts:
        readings.append(_Entry(text, _annotation_file(annotations, text), text))
        if PurePosixPath(text).suffix.lower() in (".xml", *picture_endings()):
            name = text[: text.rindex(".")]
            readings.append(_Entry(name, _annotation_file(annotations, name), text))

    there = [entry for entry in readings if os.path.isfile(entry.annotation)]
    return there[0] if there else readings[-1]


def _annotation_file(folder: Path, name: str) -> Path:
    """Return the XML file of this name, ``.xml`` in small or capital letters."""
    paths = [path_inside(folder, name + ending) for ending in (".xml", ".XML", ".Xml")]
    there = [path for path in paths if os.path.isfile(path)]
    return there[0] if there else paths[0]


# ---- which picture


class _Pictures:
    """Finds the picture of an annotation file; each folder is listed once.

    Args:
        split: the images, and the folders where pictures may be.
    """

    def __init__(self, split: _Split) -> None:
        self.folders = list(dict.fromkeys(split.picture_folders))
        self.listings: dict[Path, dict[str, list[Path]]] = {}
        self.owners: dict[Path, Path] = {}  # picture → annotation file

    def find(self, entry: _Entry, filename: str) -> Path:
        """Return the picture of an image.

        Args:
            entry: the image.
            filename: what its annotation file says; may be empty.

        Raises:
            FileNotFoundError: there is none.
            ValueError: there is a choice, or the picture is another image's already.
        """
        named = self._named(entry.name)
        exact = [path for path in named if path.name == PurePosixPath(entry.listed).name]
        named = exact or named

        # <filename> may be a whole path of another machine; its last part is the file's name.
        last = PureWindowsPath(filename.strip()).name
        last = "" if last == ".." else last
        told = [path for path in self._named(last) if path.name == last] if last else []

        if len(named) > 1:
            named = [path for path in named if path in told] or named
        if len(named) > 1:
            names = " and ".join(str(path) for path in named)
            raise ValueError(
                f"{entry.annotation}: its picture may be {names}; keep one, or let <filename> say"
            )

        # A picture with an annotation file of its own name belongs to that one.
        free = [p for p in told if p not in named and not self._is_annotated(p, entry)]
        if named and free:
            raise ValueError(
                f"{entry.annotation}: its picture may be {named[0]}, by its name, or {free[0]}, by "
                f"its <filename>; rename one of them, or correct <filename>"
            )
        if not named and not free:
            place = self.folders[0] / entry.name
            told_text = f", nor {last}, which <filename> says" if last else ""
            raise FileNotFoundError(
                f"{place}.jpg: no such picture (nor with another ending that Pillow reads"
                f"{told_text}), but there is to be one for {entry.annotation}"
            )

        picture = (named or free)[0]
        if picture in self.owners:
            raise ValueError(
                f"{picture}: belongs to two annotation files, {self.owners[picture]} and "
                f"{entry.annotation}"
            )
        self.owners[picture] = entry.annotation
        return picture

    def without_annotations(self) -> list[Path]:
        """Return the pictures in the folders that no annotation file has claimed."""
        there = {
            path
            for folder in self.folders
            for paths in self._listing(folder).values()
            for path in paths
        }
        return sorted(there - set(self.owners))

    def _named(self, name: str) -> list[Path]:
        """Return the pictures with this name, whatever their ending, in all folders."""
        found: list[Path] = []
        for folder in self.folders:
            path = path_inside(folder, name)
            found += self._listing(path.parent).get(path.name, [])
        return found

    def _listing(self, folder: Path) -> dict[str, list[Path]]:
        """Return the pictures of a folder by name."""
        if folder not in self.listings:
            self.listings[folder] = _pictures_by_name(folder)
        return self.listings[folder]

    def _is_annotated(self, picture: Path, entry: _Entry) -> bool:
        """Say whether a picture has an annotation file called as the picture."""
        names = (picture.stem, picture.name)
        paths = [_annotation_file(entry.annotation.parent, name) for name in names]
        return any(os.path.isfile(path) and path != entry.annotation for path in paths)


def _pictures_by_name(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures in a folder by their name, with and without its ending."""
    pictures: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if os.path.isdir(folder) else []:
        if path.suffix.lower() in picture_endings() and not path.name.startswith("."):
            pictures.setdefault(path.stem, []).append(path)
            pictures.setdefault(path.name, []).append(path)
    return pictures


# ---- what is in an annotation file


def _all_class_names(split: _Split, faults: Faults) -> list[str]:
    """Return the sorted names of all objects in the files of all splits."""
    names: set[str] = set()
    in_split = {entry.annotation for entry in split.entries}
    for path in _annotation_files_below(split.class_folder):
        try:
            elements = _parse(path).findall("object")
        except BadAnnotation as fault:
            if path not in in_split:  # those of the split are reported when it is read
                faults.add(fault)
            continue

        for element in elements:
            # What is wrong with one object is said when its split is read.
            with contextlib.suppress(BadAnnotation):
                names.add((_text_of(element, "name", str(path)) or "").strip())

    return sorted(names - {""})


def _read_record(
    index: int,
    entry: _Entry,
    pictures: _Pictures,
    labels: dict[str, int],
    zero_based: bool,
    faults: Faults,
) -> Record:
    """Read the annotation file of one image; bad objects go to ``faults``."""
    path = entry.annotation
    try:
        tree = _parse(path)
        filename = _text_of(tree, "filename", str(path)) or ""
    except BadAnnotation as fault:
        picture = pictures.find(entry, filename="")
        faults.add(fault)
        return Record(index, picture, size=None, arrays=pack([]))

    picture = pictures.find(entry, filename)
    try:
        size = _read_size(tree, picture, str(path))
    except BadAnnotation as fault:
        faults.add(fault)
        return Record(index, picture, size=None, arrays=pack([]))

    objects = []
    for i, element in enumerate(tree.iterfind("object"), start=1):
        where = f"{path}, object {i}"
        try:
            objects.append(_read_object(element, size, labels, zero_based, where))
        except BadAnnotation as fault:
            faults.add(fault)

    return Record(index, picture, size, pack(objects))


class MissingAnnotation(BadAnnotation, FileNotFoundError):
    """The annotation file of an image is missing."""


def _parse(path: Path) -> ElementTree.Element:
    """Return the root element of an annotation file."""
    if not os.path.isfile(path):
        raise MissingAnnotation("no annotation file", str(path), "no such file")

    content = path.read_bytes()
    other = something_else(content)
    if other is not None:
        raise BadAnnotation("no VOC annotation", str(path), f"no XML, but {other}")

    try:
        text = _decoded(content, str(path))
        if "<!ENTITY" in text:
            raise BadAnnotation("malformed XML", str(path), "declares XML entities; take them out")
        tree = ElementTree.fromstring(text)
    except (ElementTree.ParseError, LookupError, UnicodeError) as error:
        raise BadAnnotation("malformed XML", str(path), f"malformed XML ({error})") from error

    # A page that says "not found", well formed as it may be, is no image without objects.
    if tree.tag != "annotation":
        problem = (
            f"its root is <{tree.tag}>, expected <annotation>, as in Pascal VOC; was another page "
            "or format saved here?"
        )
        raise BadAnnotation("no VOC annotation", str(path), problem)

    # Nor is a file whose objects are elsewhere.
    expected = [*tree.findall("object"), *tree.findall("object/part")]
    expected += [box for parent in expected for box in parent.findall("bndbox")]
    found = [element for element in tree.iter() if element.tag.lower() in ("object", "bndbox")]
    if len(found) > len([element for element in expected if element.tag != "part"]):
        problem = "there is an <object> or <bndbox> that does not stand in <annotation> or <object>"
        raise BadAnnotation("no VOC annotation", str(path), problem)
    return tree


def _decoded(content: bytes, where: str) -> str:
    """Return the text of an XML file by its byte-order mark, its declaration, or as UTF-8."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding)

    # UTF-16 needs no mark: its first character, "<", is followed or preceded by a zero.
    if content.startswith(b"<\0"):
        return content.decode("utf-16-le")
    if content.startswith(b"\0<"):
        return content.decode("utf-16-be")

    declaration = DECLARATION.match(content[:1000])
    if declaration is None:
        return content.decode("utf-8")

    # The declaration has been read as ASCII, so the encoding must write it so. (What follows it
    # here is no longer itself in encodings that escape characters, which no tool means.)
    name = declaration[1].decode().lower()
    probe = declaration[0] + b"\\u0041+AEE-"
    if probe.decode(name) != probe.decode("latin-1"):
        problem = f"malformed XML (declares {name!r}, but is written in another encoding)"
        raise BadAnnotation("malformed XML", where, problem)
    return content.decode(SUPERSETS.get(name, name))


def _child(element: ElementTree.Element, tag: str, where: str) -> ElementTree.Element | None:
    """Return the only child with this tag, or None."""
    children = element.findall(tag)
    if len(children) > 1:
        problem = f"<{element.tag}> has {len(children)} times <{tag}>, expected once"
        raise BadAnnotation("tag given twice", where, problem)
    return children[0] if children else None


def _text_of(element: ElementTree.Element | None, tag: str, where: str) -> str | None:
    """Return the text of the only child with this tag, None if there is none."""
    child = None if element is None else _child(element, tag, where)
    if child is None:
        return None
    if len(child):
        problem = f"<{tag}> holds <{child[0].tag}>, expected text"
        raise BadAnnotation("no text", where, problem)
    return child.text or ""


def _read_size(tree: ElementTree.Element, picture: Path, where: str) -> tuple[int, int]:
    """Return (width, height) as the file gives them; where it says nothing or 0, the picture's."""
    element = _child(tree, "size", where)
    width, height = [
        number(_text_of(element, key, where) or "0", key, where) for key in ("width", "height")
    ]
    if width < 0 or height < 0 or width % 1 or height % 1:
        problem = f"the size is {width:g}×{height:g}, expected whole numbers of pixels"
        raise BadAnnotation("bad image size", where, problem)
    return (int(width), int(height)) if width and height else picture_size(picture)


def _read_object(
    element: ElementTree.Element,
    size: tuple[int, int],
    labels: dict[str, int],
    zero_based: bool,
    where: str,
) -> AnnotatedObject:
    """Check one ``<object>`` of an image of this (width, height)."""
    name = (_text_of(element, "name", where) or "").strip()
    where = f"{where} ({name or 'no name'})"
    if name not in labels:
        problem = f"its class {name!r} is none of {list(labels)}"
        raise BadAnnotation("unknown category", where, problem)

    bndbox = _child(element, "bndbox", where)
    xmin, ymin, xmax, ymax = [
        number(_text_of(bndbox, key, where), key, where) for key in ("xmin", "ymin", "xmax", "ymax")
    ]
    if xmin >= xmax or ymin >= ymax:
        problem = (
            f"xmin {xmin:g}, ymin {ymin:g}, xmax {xmax:g}, ymax {ymax:g} is a box without area; "
            "xmin < xmax and ymin < ymax must hold"
        )
        raise BadAnnotation("box without area", where, problem)

    # Pixels xmin to xmax, counted from 1 and both included, cover xmin − 1 to xmax.
    first = 0 if zero_based else 1
    box = clipped_box((xmin - first, ymin - first, xmax, ymax), size, where)
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    difficult = flag(_text_of(element, "difficult", where), "difficult", where)
    return AnnotatedObject(box, labels[name], area, difficult=difficult)

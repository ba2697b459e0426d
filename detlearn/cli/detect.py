"""``detlearn detect``."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detlearn.cli.detector import load
from detlearn.cli.findings import (
    KEY,
    check_free,
    check_results_free,
    write_findings,
    write_results,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from detlearn.pretrained import SavedDetector

ABOUT = "Find objects in image files."
EXAMPLES = """\
examples:
  detlearn detect runs/bccd photo.jpg another.png --out found
  detlearn detect runs/bccd photos --min-score 0.5
  detlearn detect runs/mine photos --json results.json --like instances.json

For photo.jpg it writes photo.png, the drawing, and photo.json, what was found. It writes over its
own files of an earlier time, and over no others. A drawing has as many pixels as the photograph; a
small picture is enlarged by a whole number, so that the names can be read."""

ENLARGED_TO = 400  # pixels of the longer side of a drawing, at least
PAPER = (10.0, 5.0)  # inches of a drawing's longer and shorter side: as large its words appear
SCREEN_DPI = 72  # and no smaller than this: a point is a pixel then


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command understands."""
    parser.add_argument("folder", type=Path, help="the --out of the training")
    parser.add_argument(
        "images", type=Path, nargs="+", help="pictures, or folders with pictures in them"
    )

    # Where results go: a drawing and a file for each picture, or one file for all.
    parser.add_argument(
        "--out", type=Path, help="folder for results (default: detections, without --json)"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write all that is found into one file in COCO's form for results, also what scores "
        "below --min-score: AP counts it",
    )
    parser.add_argument(
        "--like",
        type=Path,
        metavar="FILE",
        help="a COCO file whose ids of images and categories --json takes over, by file name and "
        "class name (default: 1, 2, 3 … in the order of pictures and labels)",
    )

    # How to look.
    parser.add_argument("--min-score", type=float, default=0.3, help="(default: 0.3)")
    parser.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")


def run(options: argparse.Namespace) -> int:
    """Write what is found in each image as a picture and as JSON, or all in one file."""
    from detlearn.machine.progress import progress_bar

    if options.like is not None and options.json is None:
        options.usage_error("--like is for --json: it says which ids stand in the file")
    if not 0 <= options.min_score <= 1:
        options.usage_error(f"--min-score is {options.min_score:g}: scores go from 0 to 1")

    folder = options.out
    if folder is None and options.json is None:
        folder = Path("detections")

    # All that can go wrong with names is found before anything is written.
    paths = find_pictures(options.images)
    if folder is not None:
        _check_names(paths)
    _check_files(paths)
    if folder is not None:
        check_free(folder, [path.stem for path in paths])
    if options.json is not None:
        check_results_free(options.json)

    saved = load(options.folder, options.device)
    names = drawable_names(saved.class_names)

    # The ids in the file of results: 1, 2, 3 …, or those of another file.
    image_ids = {path: number for number, path in enumerate(paths, start=1)}
    category_ids = {name: number for number, name in enumerate(saved.class_names, start=1)}
    if options.like is not None:
        image_ids, category_ids = read_ids(options.like, paths, saved.class_names)

    results = []
    broken = 0
    show_bar = len(paths) >= 5
    with progress_bar(len(paths), "detecting", unit="image", show=show_bar) as bar:
        for path in paths:
            try:
                image, found = _detect(saved, path)
            except ValueError as error:  # a broken picture is no reason to leave out the others
                print(f"note: {error}", file=sys.stderr)
                broken += 1
                bar.update()
                continue

            kept = _select(found, options.min_score)
            said = f"{path}: {_summary(found, options.min_score, saved.model.score_threshold)}"
            if folder is not None:
                rows = _rows(kept, saved.class_names)
                written = write_findings(folder, path.stem, rows, draw(image, kept, names))
                said += f" → {written}, .json"
            print(said)

            rows = coco_rows(found, saved.class_names, category_ids)
            results += [
                {"image_id": image_ids[path], "file_name": path.name, **row} for row in rows
            ]
            bar.update()

    if options.json is not None:
        write_results(options.json, results)
        print(f"{len(results)} detections in {len(paths) - broken} pictures → {options.json}")
    if broken:
        raise ValueError(
            f"{broken} of {len(paths)} pictures could not be read, see above; the others are done"
        )
    return 0


# ---- which pictures


def find_pictures(given: Sequence[Path]) -> list[Path]:
    """Return the files to look at: those that were given, and those in folders that were.

    Args:
        given: files and folders. Of a folder, the pictures in the folder itself are taken, by name,
            without hidden ones and without drawings of an earlier `detect`.

    Raises:
        ValueError: for a folder without pictures.
    """
    paths = []
    for path in given:
        paths += _pictures_in(path) if path.is_dir() else [path]
    return paths


def _check_files(paths: Sequence[Path]) -> None:
    """Raise unless all are there, and files: a pipe would be waited for."""
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such picture")
        if not path.is_file():
            raise ValueError(f"{path} is a pipe or a device: expected a picture or a folder")


def _pictures_in(folder: Path) -> list[Path]:
    """Return the pictures in a folder, by name; say which drawings of ours were left out."""
    from PIL import Image

    endings = Image.registered_extensions()
    pictures = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in endings and path.is_file() and not path.name.startswith(".")
    ]

    own = [path for path in pictures if _is_drawing(path)]
    if own:
        print(f"note: {folder}: {len(own)} drawings of detlearn detect left out", file=sys.stderr)
    pictures = [path for path in pictures if path not in own]
    if not pictures:
        below = sorted({str(p.parent) for p in folder.rglob("*") if p.suffix.lower() in endings})
        advice = f"; give one of the folders below: {', '.join(below[:3])}" if below else ""
        raise ValueError(f"{folder}: no picture in this folder{advice}")
    return pictures


def _is_drawing(path: Path) -> bool:
    """Return whether `write_findings` signed this picture; nothing but its head is read."""
    from PIL import Image

    if path.suffix.lower() != ".png":
        return False
    try:
        with Image.open(path) as picture:
            return KEY in picture.info
    except Exception:  # a broken picture is said when it is its turn
        return False


def _check_names(paths: Sequence[Path]) -> None:
    """Raise if two pictures would have the same results."""
    for stem, count in Counter(path.stem for path in paths).items():
        if count > 1:
            same = ", ".join(str(path) for path in paths if path.stem == stem)
            raise ValueError(
                f"two images are called {stem} ({same}): their results would overwrite each "
                "other; give them one after the other with an --out of their own"
            )


# ---- what is found


def _detect(saved: SavedDetector, path: Path) -> tuple[Tensor, dict[str, Tensor]]:
    """Return an image (3, H, W) and all that is found in it, on the CPU.

    Raises:
        ValueError: if the file is no picture.
    """
    import torch

    from detlearn.data.reading import read_picture

    image = read_picture(path)
    device = next(saved.model.parameters()).device
    with torch.inference_mode():
        (found,) = saved.model([image.to(device)])
    return image, {name: value.cpu() for name, value in found.items()}


def _select(found: dict[str, Tensor], min_score: float) -> dict[str, Tensor]:
    """Return the detections of at least this score."""
    kept = found["scores"] >= min_score
    return {name: value[kept] for name, value in found.items()}


def _summary(found: dict[str, Tensor], min_score: float, lowest: float) -> str:
    """Return "3 objects", or why there is none: a threshold that is too high looks the same.

    Args:
        found: all that the detector names.
        min_score: of the command.
        lowest: the detector's own threshold, below which it names nothing.
    """
    count = int((found["scores"] >= min_score).sum())
    if count > 0:
        return "1 object" if count == 1 else f"{count} objects"
    if len(found["scores"]) == 0:
        return f"0 objects at {min_score:.2f}, and none down to {lowest:.2f}"
    best = math.floor(100 * float(found["scores"].max())) / 100  # .299 is not .30
    return f"0 objects at {min_score:.2f}, best {best:.2f}"


def _rows(found: dict[str, Tensor], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one dictionary an object, with the box as x1, y1, x2, y2 in pixels."""
    numbers = zip(
        found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True
    )
    return [
        {
            "box": [round(coordinate, 2) for coordinate in box],
            "score": round(score, 4),
            "class": class_names[label],
        }
        for box, score, label in numbers
    ]


def coco_rows(
    found: dict[str, Tensor], class_names: Sequence[str], category_ids: dict[str, int]
) -> list[dict[str, Any]]:
    """Return detections as COCO's files of results have them, but for the image.

    Args:
        found: "boxes" (N, 4) x1, y1, x2, y2 in pixels, "scores" (N,), "labels" (N,).
        class_names: by label.
        category_ids: by name.

    Returns:
        N dictionaries with "category_id", "bbox" (x, y, width, height) and "score"; and the
        category's name, which COCO does not have there.
    """
    rows = []
    for box, score, label in zip(
        found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True
    ):
        x1, y1, x2, y2 = box
        name = class_names[label]
        rows.append(
            {
                "category_id": category_ids[name],
                "category": name,
                "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(score, 6),
            }
        )
    return rows


def read_ids(
    file: Path, paths: Sequence[Path], class_names: Sequence[str]
) -> tuple[dict[Path, Any], dict[str, Any]]:
    """Read the ids of images and categories in a COCO file.

    Args:
        file: with "images" and "categories".
        paths: the pictures; found by the last part of their name.
        class_names: of the detector.

    Returns:
        The id of each picture, and that of each class.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is none of COCO's, or has no id, or two, for a picture or a class.
    """
    from detlearn.data.reading import existing_file, read_json

    path = existing_file(file, "a COCO file")
    try:
        content = read_json(path)
        images = [(Path(image["file_name"]).name, image["id"]) for image in content["images"]]
        categories = [(category["name"], category["id"]) for category in content["categories"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{file} is no COCO file with images (file_name, id) and categories (name, id): "
            f"{type(error).__name__} {error}"
        ) from error

    by_name = _ids(images, [path.name for path in paths], f"{file}: image")
    category_ids = _ids(categories, class_names, f"{file}: category")
    return {path: by_name[path.name] for path in paths}, category_ids


def _ids(pairs: Sequence[tuple[str, Any]], wanted: Sequence[str], where: str) -> dict[str, Any]:
    """Return the one id of each wanted name."""
    found: dict[str, list[Any]] = {}
    for name, number in pairs:
        found.setdefault(name, []).append(number)

    for name in wanted:
        numbers = found.get(name, [])
        if len(numbers) != 1:
            what = f"has the ids {numbers}" if numbers else "is not in it"
            raise ValueError(f"{where} {name!r} {what}: expected exactly one")
    return {name: found[name][0] for name in wanted}


# ---- the drawing


def drawable_names(class_names: Sequence[str]) -> list[str]:
    """Return the names as they can be drawn on this machine, and say once which cannot.

    Args:
        class_names: by label.

    Returns:
        The names; "class 3" in place of one with a character that no font has.
    """
    from detlearn.plotting.fonts import missing_characters

    drawn = list(class_names)
    for label, name in enumerate(class_names):
        if missing_characters(name):
            drawn[label] = f"class {label}"

    replaced = [f"{new!r} for {name}" for name, new in zip(class_names, drawn) if name != new]
    if replaced:
        print(
            "note: no font on this machine has the characters of some names; in the drawings, not "
            f"in the numbers, stands {', '.join(replaced)}. Install a font of their script, such "
            "as Noto Sans CJK",
            file=sys.stderr,
        )
    return drawn


def draw(image: Tensor, found: dict[str, Tensor], class_names: Sequence[str]) -> Image:
    """Draw detections into an image, pixel for pixel.

    Args:
        image: (3, H, W) in [0, 1].
        found: "boxes" (N, 4) x1, y1, x2, y2 in pixels, "scores" (N,), "labels" (N,).
        class_names: by label.

    Returns:
        A picture of W × H pixels, or a whole multiple of that for a small one. Where no line and no
        word is, it has the pixels of the image.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    from detlearn.plotting.objects import draw_objects

    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()  # (H, W, 3)
    height, width = pixels.shape[:2]
    factor = -(-ENLARGED_TO // max(height, width))  # rounded up
    picture = Image.fromarray(pixels).resize((factor * width, factor * height), Image.NEAREST)

    # Lines and words grow with the picture, so that they can be seen when it fills a screen.
    longer, shorter = max(picture.size), min(picture.size)
    dpi = max(SCREEN_DPI, min(longer / PAPER[0], shorter / PAPER[1]))

    # A transparent sheet of the picture's size. A hundredth of a pixel more, because matplotlib
    # rounds the size in pixels down.
    inches = [(side + 0.01) / dpi for side in picture.size]
    canvas = FigureCanvasAgg(Figure(figsize=inches, dpi=dpi, facecolor="none", layout="none"))
    axes = canvas.figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    draw_objects(axes, found, class_names=class_names)
    canvas.draw()

    sheet = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    picture = picture.convert("RGBA")
    picture.alpha_composite(sheet)
    return picture.convert("RGB")

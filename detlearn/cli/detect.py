"""``detlearn detect``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detlearn.cli.detector import load
from detlearn.cli.findings import check_free, write_findings

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from detlearn.pretrained import SavedDetector

ABOUT = "Find objects in image files."
EXAMPLES = """\
examples:
  detlearn detect runs/bccd photo.jpg another.png --out found
  detlearn detect runs/bccd photo.jpg --min-score 0.5

For photo.jpg it writes photo.png, the drawing, and photo.json, what was found. It writes over its
own files of an earlier time, and over no others."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command understands."""
    parser.add_argument("folder", type=Path, help="the --out of the training")
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("detections"), help="folder for results")
    parser.add_argument("--min-score", type=float, default=0.3)
    parser.add_argument("--device")


def run(options: argparse.Namespace) -> int:
    """Write what is found in each image as a picture and as JSON."""
    from detlearn.machine.progress import progress_bar

    # All that can go wrong with names is found before anything is written.
    stems = [path.stem for path in options.images]
    for stem in stems:
        if stems.count(stem) > 1:
            raise ValueError(
                f"two images are called {stem}: their results would overwrite each other"
            )
    check_free(options.out, stems)

    saved = load(options.folder, options.device)
    show_bar = len(options.images) >= 5
    with progress_bar(len(options.images), "detecting", unit="image", show=show_bar) as bar:
        for path in options.images:
            rows, drawing = _detect(saved, path, options.min_score)
            written = write_findings(options.out, path.stem, rows, drawing)
            print(f"{path}: {len(rows)} objects → {written}, .json")
            bar.update()
    return 0


def _detect(
    saved: SavedDetector, path: Path, min_score: float
) -> tuple[list[dict[str, Any]], Image]:
    """Return what is found in one image file, in numbers and drawn into it."""
    import torch

    from detlearn.data.reading import read_picture

    image = read_picture(path)  # (3, H, W)
    device = next(saved.model.parameters()).device
    with torch.inference_mode():
        (found,) = saved.model([image.to(device)])

    kept = found["scores"] >= min_score
    found = {name: value[kept] for name, value in found.items()}
    rows = [
        {
            "box": [round(coordinate, 2) for coordinate in box],
            "score": round(score, 4),
            "class": saved.class_names[label],
        }
        for box, score, label in zip(
            found["boxes"].tolist(),
            found["scores"].tolist(),
            found["labels"].tolist(),
            strict=True,
        )
    ]
    return rows, _draw(image, found, saved.class_names)


def _draw(image: Tensor, found: dict[str, Tensor], class_names: list[str]) -> Image:
    """Return the image with its detections as a picture."""
    import io

    import matplotlib
    from PIL import Image

    matplotlib.use("Agg")  # no window opens on anybody's screen
    import matplotlib.pyplot as plt

    from detlearn.plotting import show

    axes = show(image, found, class_names=class_names)
    content = io.BytesIO()
    axes.figure.savefig(content, format="png", bbox_inches="tight")
    plt.close(axes.figure)
    return Image.open(content)

"""Draws the start page's scenes from the stored detections of chapter 1's detector.

    python scripts/cover.py

Three scenes, large, with the detections of a score of 0.5 or more: a threshold at which a user
would look at them. The detections are those of `benchmarks/experiments/point_preview.py`.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from PIL import Image

from detlearn import plotting, results
from detlearn.data import ToyTown

STATIC = Path(__file__).resolve().parents[1] / "book" / "_static"
SCENES = (4, 5, 2)  # of the eight that are stored: little text on top of each other
MIN_SCORE = 0.5
INCHES, DPI = 3.0, 200
QUALITY = 82  # of WebP


def draw_scene(number: int, file: Path) -> None:
    """Draw one scene with what was found and what was missed in it."""
    import matplotlib.pyplot as plt

    stored = results.load("point_preview")["preview"]
    scenes = ToyTown(len(stored["detections"]), seed=stored["seed"])
    image, target = scenes[number]
    detections = results.as_tensors(stored["detections"])[number]

    figure = plt.figure(figsize=(INCHES, INCHES), dpi=DPI)
    plotting.show_matches(
        image,
        detections,
        target,
        min_score=MIN_SCORE,
        class_names=scenes.class_names,
        ax=figure.add_axes((0, 0, 1, 1)),
        legend=False,
    )
    figure.canvas.draw()
    Image.frombuffer("RGBA", figure.canvas.get_width_height(), figure.canvas.buffer_rgba()).convert(
        "RGB"
    ).save(file, "WEBP", quality=QUALITY, method=6)
    plt.close(figure)


if __name__ == "__main__":
    for place, number in enumerate(SCENES, start=1):
        file = STATIC / f"cover_{place}.webp"
        draw_scene(number, file)
        print(file.name, file.stat().st_size, "bytes")

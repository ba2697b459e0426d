"""Painting a scene: clutter and objects over the ground, shadows below them, light over all.

Shape shorthand: N objects in a scene, S side of the image in pixels.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from PIL import Image

from detlearn.data.toytown.classes import CLASS_NAMES, SPRITES
from detlearn.data.toytown.clutter import clutter_pool
from detlearn.data.toytown.grounds import Ground
from detlearn.data.toytown.layout import Thing
from detlearn.data.toytown.pen import between, draw_sprite, pick

LIGHTS = np.array(  # factors on red, green, blue: noon twice, morning, evening, overcast, dusk
    [[1, 1, 1], [1.03, 1.02, 0.98], [1, 1.02, 1.06],
     [1.08, 0.98, 0.86], [0.92, 0.95, 0.98], [0.84, 0.86, 1]]
)  # fmt: skip


def scatter_clutter(ground: Ground, rng: np.random.Generator, limits: tuple[int, int]) -> None:
    """Paste pieces of clutter, each on a ground where it belongs, into the ground's image."""
    image = ground.image
    pool = clutter_pool(image.width)

    for _ in range(int(rng.integers(limits[0], limits[1] + 1))):
        y = ground.horizon + rng.random() * (image.height - ground.horizon)  # where its foot is
        piece = pick(rng, pool[ground.kind_at(y)])
        x = rng.random() * image.width - piece.width / 2
        image.paste(piece, (int(x), int(y) - piece.height), piece)


def paint_things(
    image: Image.Image, things: Iterable[Thing], rng: np.random.Generator, shadows: bool = True
) -> np.ndarray:
    """Paint things in the order given, each filling its box, into an RGB image.

    Args:
        image: RGB, painted in place.
        things: what to paint, far things first.
        rng: the scene's generator.
        shadows: whether things cast one.

    Returns:
        the boxes (N, 4) float32 xyxy of what each thing shows inside the image.
    """
    boxes = []
    for label, (x1, y1, x2, y2), _ in things:
        sprite = SPRITES[CLASS_NAMES[label]]
        picture = draw_sprite(sprite.draw, x2 - x1, y2 - y1, rng)
        if sprite.mirror and rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

        if shadows:
            _cast_shadow(image, x1, x2, y2)
        image.paste(picture, (x1, y1), picture)
        boxes.append(_visible_box(picture, x1, y1, image.width))

    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def _visible_box(picture: Image.Image, x1: int, y1: int, size: int) -> tuple[int, int, int, int]:
    """Find the tight box of a picture at (x1, y1), as far as it lies in the image.

    A tree cut below its crown shows a box narrower than the whole tree's.
    """
    # The part of the picture that the image shows, in the picture's own pixels.
    left, top = max(0, -x1), max(0, -y1)
    right, bottom = min(picture.width, size - x1), min(picture.height, size - y1)

    # A whole picture fills its box; of a part, only the opaque pixels count.
    if (left, top, right, bottom) != (0, 0, *picture.size):
        seen = picture.crop((left, top, right, bottom)).getbbox()
        left, top, right, bottom = left + seen[0], top + seen[1], left + seen[2], top + seen[3]

    return x1 + left, y1 + top, x1 + right, y1 + bottom


def _cast_shadow(image: Image.Image, x1: int, x2: int, foot: int) -> None:
    """Darken a flat ellipse around the foot of an object."""
    wide = round(1.16 * (x2 - x1))
    tall = max(2, round(0.13 * (x2 - x1)))
    mask = _soft_ellipse().resize((wide, tall), Image.Resampling.BOX)
    image.paste((30, 34, 60), ((x1 + x2 - wide) // 2, foot - tall // 2), mask)


@lru_cache(maxsize=1)
def _soft_ellipse() -> Image.Image:
    """Make the mask of a shadow, darkest in the middle."""
    y, x = np.meshgrid(np.linspace(-1, 1, 24), np.linspace(-1, 1, 96), indexing="ij")
    return Image.fromarray(((1 - x**2 - y**2).clip(0, 1) ** 0.7 * 130).astype(np.uint8))


def light_scene(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Put the scene in the light of a time of day.

    Args:
        image: RGB, S × S.
        rng: the scene's generator.

    Returns:
        the lit pixels, (3, S, S) uint8.
    """
    factors = 128 * pick(rng, LIGHTS) * between(rng, 0.94, 1.04)  # whole numbers: exact everywhere
    pixels = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))  # (S, S, 3) → (3, S, S)
    return np.minimum(pixels * factors.astype(np.uint16)[:, None, None] >> 7, 255).astype(np.uint8)

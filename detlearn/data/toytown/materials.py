"""What ToyTown's grounds and skies are made of: lawn, street, paving, water, sand, planks, snow.

Each material is drawn once per image size, larger than an image, in several tints and from a fixed
seed; a scene cuts its own pieces out of them.

Shape shorthand: S is the side of the image, 2 S that of a material. Lengths are written for a side
of 256 pixels; ``unit`` is one of those.
"""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from detlearn.data.toytown.pen import Colour, between, pick, shade

VARIANTS = 3  # drawings of each material
TINTS = 4  # of each drawing


def _noise(rng: np.random.Generator, side: int, cell: int) -> np.ndarray:
    """Make smooth noise (side, side) of mean 0 and about ±1, in blobs ``cell`` pixels wide."""
    blobs = max(2, side // cell)
    coarse = (rng.random((blobs, blobs)) * 255).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32) / 127.5 - 1


def _speckled(
    rng: np.random.Generator, side: int, colour: Colour, blobs: float, grain: float
) -> Image.Image:
    """Paint a flat colour with soft blobs and fine grain, given as deviations in grey levels."""
    pattern = blobs * (_noise(rng, side, side // 10) + _noise(rng, side, side // 28))
    pattern = pattern + grain * rng.standard_normal((side, side)).astype(np.float32)
    pixels = np.asarray(colour, dtype=np.float32) + pattern[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _scatter(rng: np.random.Generator, side: int, count: int) -> list[list[float]]:
    """Draw ``count`` points (x, y) anywhere on a material."""
    return (rng.random((count, 2)) * side).tolist()


def _lawn(rng: np.random.Generator, side: int, variant: int) -> Image.Image:
    colour = ((132, 184, 88), (116, 172, 92), (152, 190, 96))[variant]
    image = _speckled(rng, side, colour, 6, 3)
    draw = ImageDraw.Draw(image)
    unit = side / 256

    if variant == 1:  # mown in stripes
        for x in range(0, side, max(2, int(32 * unit))):
            draw.rectangle([x, 0, x + 16 * unit, side], fill=shade(colour, 1.07))

    # Blades of grass.
    for x, y in _scatter(rng, side, 900):
        tone = shade(colour, 0.84 if rng.random() < 0.6 else 1.2)
        draw.line([x, y, x + (rng.random() - 0.5) * 3 * unit, y - 4 * unit], fill=tone)

    if variant == 2:  # in flower
        for x, y in _scatter(rng, side, 60):
            petal = pick(rng, ((255, 250, 240), (255, 226, 110), (246, 160, 190)))
            draw.ellipse([x, y, x + 2 * unit, y + 2 * unit], fill=petal)

    return image


def _street(rng: np.random.Generator, side: int, variant: int) -> Image.Image:
    colour = ((118, 122, 130), (136, 134, 136), (102, 106, 118))[variant]
    image = _speckled(rng, side, colour, 4, 6)
    draw = ImageDraw.Draw(image)
    unit = side / 256

    for x, y in _scatter(rng, side, 8):  # patches and cracks
        wide = between(rng, 12, 40) * unit
        tall = between(rng, 6, 18) * unit
        draw.rectangle([x, y, x + wide, y + tall], fill=shade(colour, between(rng, 0.88, 1.12)))
        draw.line([y, x, y + wide / 2, x + tall, y + wide, x + tall / 2], fill=shade(colour, 0.75))

    return image


def _paving(rng: np.random.Generator, side: int, variant: int) -> Image.Image:
    colour = ((214, 196, 172), (198, 196, 192), (206, 156, 128))[variant]
    image = _speckled(rng, side, colour, 5, 3)
    draw = ImageDraw.Draw(image)
    unit = side / 256

    wide, tall = ((24, 24), (28, 14), (16, 8))[variant]  # slabs, flags, bricks
    joint = shade(colour, 0.84)

    for row, y in enumerate(np.arange(0, side, tall * unit)):
        shift = wide * unit / 2 * (row % 2) * (variant > 0)  # every other row, but for slabs
        for x in np.arange(-shift, side, wide * unit):
            stone = [x, y, x + wide * unit, y + tall * unit]
            tone = shade(colour, between(rng, 0.92, 1.18)) if rng.random() < 0.5 else None
            draw.rectangle(stone, fill=tone, outline=joint)

    return image


def _water(rng: np.random.Generator, side: int, variant: int) -> Image.Image:
    colour = ((98, 172, 216), (88, 186, 196), (120, 178, 226))[variant]
    image = _speckled(rng, side, colour, 7, 1.5)
    draw = ImageDraw.Draw(image)
    unit = side / 256

    for x, y in _scatter(rng, side, 230):
        long = between(rng, 6, 18) * unit
        tone = shade(colour, pick(rng, (0.88, 1.25, 1.45)))
        draw.arc([x, y, x + long, y + 5 * unit], 195, 345, fill=tone)
        draw.arc([x + long, y, x + 2 * long, y + 5 * unit], 195, 345, fill=tone)

    return image


def _sand(rng: np.random.Generator, side: int, variant: int) -> Image.Image:
    colour = ((240, 220, 168), (230, 206, 160), (222, 196, 150))[variant]
    image = _speckled(rng, side, colour, 6, 5)
    draw = ImageDraw.Draw(image)
    unit = side / 256

    for x, y in _scatter(rng, side, 160):
        if variant == 1:
            draw.arc([x, y, x + 30 * unit, y + 8 * unit], 200, 340, fill=shade(colour, 0.9))
        else:
            draw.ellipse(
                [x, y, x + 2 * unit, y + 1.4 * unit], fill=shade(colour, between(rng, 0.7, 1.3))
            )

    return image


def _deck(rng: np.random.Generator, side: int, variant: int) -> Image.Image:
    colour = ((190, 146, 104), (168, 136, 112), (206, 170, 126))[variant]
    image = _speckled(rng, side, colour, 5, 3)
    draw = ImageDraw.Draw(image)
    unit = side / 256

    for y in np.arange(0, side, 13 * unit):
        draw.rectangle([0, y, side, y + 12 * unit], fill=shade(colour, between(rng, 0.9, 1.12)))
        draw.line([0, y, side, y], fill=shade(colour, 0.66))

        # The ends of planks, and a line along the grain.
        for x in (rng.random(4) * side).tolist():
            draw.line([x, y, x, y + 12 * unit], fill=shade(colour, 0.66))
            draw.line([x, y + 5 * unit, x + 30 * unit, y + 5 * unit], fill=shade(colour, 0.82))

    return image


def _snow(rng: np.random.Generator, side: int, variant: int) -> Image.Image:
    colour = ((226, 234, 244), (216, 226, 240), (232, 236, 240))[variant]
    image = _speckled(rng, side, colour, 7, 2)
    draw = ImageDraw.Draw(image)
    unit = side / 256

    for x, y in _scatter(rng, side, 70):
        draw.arc([x, y, x + 26 * unit, y + 9 * unit], 200, 340, fill=shade(colour, 0.9))
        draw.point([y, x], fill=(255, 255, 255))

    return image


def _sky(rng: np.random.Generator, side: int, variant: int) -> Image.Image:
    """Paint a sky whose lower edge is the horizon, with clouds and far hills or roofs."""
    side *= 2  # drawn too large and averaged down, so that hills and clouds get smooth edges
    top, low = (
        ((110, 184, 236), (214, 238, 250)),
        ((150, 200, 232), (252, 236, 208)),
        ((134, 164, 214), (250, 206, 190)),
    )[variant]

    ramp = np.linspace(0, 1, side, dtype=np.float32)[:, None, None] ** 2
    pixels = np.asarray(top, np.float32) * (1 - ramp) + np.asarray(low, np.float32) * ramp
    image = Image.fromarray(np.broadcast_to(pixels, (side, side, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    unit = side / 256

    for x, y in _scatter(rng, side, 26):
        for dx, dy, r in ((0, 0, 8), (9, -4, 11), (20, 0, 9), (10, 3, 12)):
            x1, y1 = x + (dx - r) * unit, y + (dy - 0.6 * r) * unit
            draw.ellipse([x1, y1, x1 + 2 * r * unit, y1 + 1.2 * r * unit], fill=(252, 252, 252))

    draw_far = _far_roofs if variant == 1 else _far_hills
    draw_far(draw, rng, side)
    return image.reduce(2)


def _far_roofs(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    """Draw the skyline of a town: houses in a row, with windows."""
    unit = side / 256
    for x in np.arange(0, side, 11 * unit):
        y = side - between(rng, 8, 40) * unit
        wide = between(rng, 8, 15) * unit
        tone = shade((186, 184, 198), between(rng, 0.94, 1.2))
        draw.rectangle([x, y, x + wide, side], fill=tone)

        for row in np.arange(y + 3 * unit, side, 5 * unit):
            for column in np.arange(x + 2 * unit, x + wide - unit, 4 * unit):
                window = [column, row, column + unit, row + 2 * unit]
                draw.rectangle(window, fill=shade(tone, 1.35))


def _far_hills(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    """Draw two ranges of round hills, the lower one in front."""
    unit = side / 256
    for tallest, colour in ((30, (158, 190, 196)), (18, (140, 182, 160))):
        for x in (rng.random(7) * side).tolist():
            r = between(rng, 30, 70) * unit
            tall = between(rng, 12, tallest) * unit
            draw.ellipse([x - r, side - tall, x + r, side + tall], fill=colour)


MATERIALS = {"lawn": _lawn, "street": _street, "paving": _paving, "water": _water, "sand": _sand,
             "deck": _deck, "snow": _snow, "sky": _sky}  # fmt: skip


@lru_cache(maxsize=4)
def materials(size: int) -> dict[str, list[Image.Image]]:
    """Draw all materials for images of side ``size``: kind → variants, RGB images of side 2 S."""
    pool: dict[str, list[Image.Image]] = {}
    for index, (kind, draw) in enumerate(MATERIALS.items()):
        for variant in range(VARIANTS):
            rng = np.random.default_rng([index, variant])
            image = draw(rng, 2 * size, variant)
            pool.setdefault(kind, []).extend(_tinted(rng, image) for _ in range(TINTS))
    return pool


def _tinted(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Make the image a little brighter or darker, warmer or cooler, and perhaps mirrored."""
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    red, green, blue = between(rng, 0.93, 1.06) * (0.96 + 0.08 * rng.random(3))
    return image.convert("RGB", (red, 0, 0, 0, 0, green, 0, 0, 0, 0, blue, 0))


def cut_piece(rng: np.random.Generator, kind: str, size: int) -> Image.Image:
    """Cut an S × S piece out of a material; the sky's reaches down to its horizon."""
    source = pick(rng, materials(size)[kind])
    left = int(rng.random() * size)
    top = size if kind == "sky" else int(rng.random() * size)
    return source.crop((left, top, left + size, top + size))

"""The grounds of ToyTown: bands of lawn, street or water from the horizon down, under a sky.

Pieces of materials are laid in bands, with kerbs, shores and lanes where they meet.

Shape shorthand: S is the side of the image.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from detlearn.data.toytown.materials import cut_piece
from detlearn.data.toytown.pen import between, pick

PLANS = (  # the bands of a scene from the horizon down; one is picked
    ("paving", "street", "paving"), ("lawn", "street", "lawn"), ("snow", "street", "snow"),
    ("street", "paving"), ("lawn", "paving"), ("lawn", "sand"), ("sand", "lawn"), ("lawn",),
    ("lawn", "water", "lawn"), ("water", "sand"), ("water", "lawn"), ("water", "deck"),
    ("water", "paving"), ("water",), ("paving",), ("snow",),
)  # fmt: skip
SKY_SHARE = 0.6  # share of scenes that show a sky
# The line between two grounds, as a share of S and a colour: foam, kerb, or a trodden edge.
KERBS = {"street": (1 / 45, (226, 222, 214)), "water": (1 / 80, (238, 246, 250))}
PATH_EDGE = (1 / 80, (150, 140, 104))


class Ground(NamedTuple):
    """A painted ground and what stands where on it.

    Attributes:
        image: RGB, S × S.
        horizon: y where the sky ends (0 without a sky).
        kinds: the bands of ground from the horizon down.
        edges: the y, in pixels, where each band ends; the last is S.
    """

    image: Image.Image
    horizon: int
    kinds: tuple[str, ...]
    edges: tuple[float, ...]

    def kind_at(self, y: float) -> str:
        """Return the kind of ground at height ``y`` (on and over the horizon: the farthest)."""
        for kind, edge in zip(self.kinds, self.edges):
            if y <= edge:
                return kind
        return self.kinds[-1]


def draw_ground(rng: np.random.Generator, size: int) -> Ground:
    """Lay out and paint the ground of one scene.

    Args:
        rng: the scene's generator.
        size: S.

    Returns:
        the painted ground with its horizon and bands.
    """
    # Which bands, and where each ends.
    kinds = pick(rng, PLANS)
    horizon = int(between(rng, 0.1, 0.34) * size) if rng.random() < SKY_SHARE else 0
    shares = np.cumsum(0.5 + rng.random(len(kinds)))
    edges = tuple((horizon + (size - horizon) * shares / shares[-1]).tolist())

    # From far to near: the farthest ground everywhere, the sky over it, then band after band.
    image = cut_piece(rng, kinds[0], size)
    if horizon:
        sky = cut_piece(rng, "sky", size)
        image.paste(sky.crop((0, size - horizon, size, size)), (0, 0))

    slope = between(rng, -0.12, 0.12) * size
    for above, kind, y in zip(kinds, kinds[1:], edges):
        _lay_band(image, rng, cut_piece(rng, kind, size), (above, kind), (y, slope))

    for kind, top, bottom in zip(kinds, (horizon, *edges), edges):
        if kind == "street":
            tilt = slope if top > horizon else slope / 2
            _draw_lane(image, rng, (top + bottom) / 2, bottom - top, tilt)

    return Ground(image, horizon, kinds, edges)


def _lay_band(
    image: Image.Image,
    rng: np.random.Generator,
    piece: Image.Image,
    kinds: tuple[str, str],
    curve: tuple[float, float],
) -> None:
    """Lay ``piece`` below a line and draw the line: straight at built edges, else wavy.

    ``kinds`` are the grounds above and below; ``curve`` is the line's mean height and its slope
    over the image.
    """
    # The line's y, (S,): straight, or in waves.
    size = image.width
    x = np.arange(size, dtype=np.float32) / size
    line = curve[0] + curve[1] * (x - 0.5)
    if not {"street", "paving", "deck"} & set(kinds):
        waves = between(rng, 5, 14)
        start = 6 * rng.random()
        height = between(rng, 0.01, 0.04)
        line = line + height * size * np.sin(waves * x + start)

    width, colour = PATH_EDGE
    for kind, kerb in KERBS.items():  # of two, the later one: foam
        if kind in kinds:
            width, colour = kerb

    # Only the rows around the line need a smooth edge; all below is simply pasted.
    margin = round(width * size) + 2
    top = max(0, int(line.min()) - margin)
    bottom = min(size, int(line.max()) + margin)

    # How far below the line each pixel lies: under it the piece, on it the kerb.
    below = np.arange(top, bottom, dtype=np.float32)[:, None] - line.astype(np.float32)  # pixels
    image.paste(piece.crop((0, bottom, size, size)), (0, bottom))
    image.paste(piece.crop((0, top, size, bottom)), (0, top), _coverage(below + 0.5))
    image.paste(colour, (0, top), _coverage(width * size / 2 + 0.5 - abs(below)))


def _coverage(inside: np.ndarray) -> Image.Image:
    """Make a smooth-edged mask from how deep, in pixels, each pixel lies inside a shape, (H, S)."""
    return Image.fromarray((inside.clip(0, 1) * 255).astype(np.uint8))


def _draw_lane(
    image: Image.Image, rng: np.random.Generator, y: float, tall: float, slope: float
) -> None:
    """Paint the dashes of a lane along the middle of a street, or a zebra crossing over it."""
    draw = ImageDraw.Draw(image)
    size = image.width

    # Dashes that follow the slope.
    paint = pick(rng, ((240, 238, 230), (240, 238, 230), (246, 208, 90)))
    half = max(1, round(size / 110))
    for x1 in np.arange(rng.random() * size / 8 - size / 8, size, size / 7):
        x2 = x1 + size / 14
        y1 = y + slope * (x1 / size - 0.5)
        y2 = y + slope * (x2 / size - 0.5)
        draw.polygon([x1, y1 - half, x2, y2 - half, x2, y2 + half, x1, y1 + half], fill=paint)

    # A crossing over most of the street's width.
    if rng.random() < 0.35:
        left = between(rng, 0.1, 0.7) * size
        for i in range(5):
            x1 = left + i * size / 24
            draw.rectangle(
                [x1, y - 0.4 * tall, x1 + size / 48, y + 0.4 * tall], fill=(236, 234, 228)
            )

"""Pictures in many formats, damaged at random, read by the package and by other decoders.

    python tests/fuzz/fuzz_pictures.py --cases 5000 --seed 0

Each case is a picture of known pixels in a format, a mode and a turn chosen at random, to whose
file something is done that disks, networks and people do: bytes are flipped, lost, doubled, zeroed
or cut off, another file is appended, the ending is changed, a page lies in its place. Right is if

- `read_picture` returns what is in it: of a file that nothing was done to, the known pixels; of a
  damaged PNG, JPEG or WebP file that torchvision's decoders read, too, what they read; or it raises
  a ``ValueError`` that names the file;
- `picture_size` and `check_picture`, which are asked before a training starts, agree with it: the
  same size, and no picture that passes the check stops the training later.

Anything else is wrong: another error, other pixels, or more than ten seconds.
"""

import argparse
import io
import random
import signal
import sys
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from detlearn.data.reading import check_picture, picture_size, read_picture

SECONDS = 10  # after which a case hangs
MOST_PIXELS = 1e7  # of a damaged header; larger ones cost minutes and say nothing new

# Format → modes that it stores without loss, and what `save` is told.
FORMATS = {
    "PNG": (("RGB", "L", "P", "1", "I;16"), {}),
    "BMP": (("RGB", "L", "P", "1"), {}),
    "TIFF": (("RGB", "L", "I;16"), {"compression": "tiff_lzw"}),
    "GIF": (("P", "L"), {}),
    "WEBP": (("RGB",), {"lossless": True}),
    "PPM": (("RGB", "L"), {}),
    "TGA": (("RGB", "L"), {}),
    "PCX": (("RGB", "L"), {}),
    "JPEG": (("RGB", "L"), {"quality": 100, "subsampling": 0}),
    "JPEG2000": (("RGB", "L"), {"irreversible": False}),
}
ENDINGS = {"TIFF": ".tif", "JPEG": ".jpg", "JPEG2000": ".jp2"}
# What torchvision decodes with libraries of its own, and by how many of 255 they may differ. (Not
# GIF: where a damaged frame lies outside of its screen, decoders do not agree on the size.)
ALSO_DECODED = {"PNG": 0, "JPEG": 4, "WEBP": 0}
DAMAGES = ("flip", "flip", "value", "value", "cut", "lose", "double", "zero", "more")
ORIENTATION = 0x0112  # the EXIF field
STORE = {  # EXIF orientation → how upright pixels (H, W, …) are stored
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


def make(rng: random.Random) -> tuple[str, bytes, np.ndarray, int]:
    """Return a format, a file in it, its upright pixels (H, W, 3) in [0, 1], and its turn."""
    form = rng.choice(list(FORMATS))
    modes, options = FORMATS[form]
    mode = rng.choice(modes)
    width, height = rng.randint(1, 40), rng.randint(1, 40)

    # Smooth, so that JPEG keeps it; with all values, so that a wrong one shows.
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    planes = [np.abs(rng.random() - rng.random() * a) for a in (x, y, (x + y) / 2)]
    colours = np.stack(planes, axis=-1)  # (H, W, 3) in [0, 1]
    if mode in ("L", "I;16"):
        levels = 65535 if mode == "I;16" else 255
        grey = (colours[..., 0] * levels).round().astype(np.uint16 if levels > 255 else np.uint8)
        upright = np.repeat(grey[..., None] / levels, 3, axis=-1)
        stored = grey
    elif mode == "1":
        stored = colours[..., 0] > 0.3
        upright = np.repeat(stored[..., None], 3, axis=-1).astype(float)
    else:
        stored = (colours * 255).round().astype(np.uint8)
        if mode == "P":  # no more colours than a palette has
            stored = (stored // 64) * 64
        upright = stored / 255

    can_turn = form in ("PNG", "JPEG", "TIFF", "WEBP")
    turn = rng.randint(1, 8) if can_turn and rng.random() < 0.3 else 1
    stored = np.ascontiguousarray(STORE[turn](stored))

    picture = Image.fromarray(stored)
    if mode == "P":
        picture = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    if form == "PNG" and rng.random() < 0.3:
        options = {**options, "compress_level": rng.randint(0, 9)}
    if form == "JPEG" and rng.random() < 0.3:
        options = {**options, "progressive": True}
    if turn != 1:
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        options = {**options, "exif": exif}

    file = io.BytesIO()
    picture.save(file, form, **options)
    return form, file.getvalue(), upright, turn


def damage(rng: random.Random, data: bytes) -> bytes:
    """Do to a file what disks, networks and people do."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        place = rng.randrange(len(changed)) if changed else 0
        if rng.random() < 0.5:
            place = min(place, rng.randrange(80))  # in the header
        kind = rng.choice(
            ("flip", "flip", "value", "value", "cut", "lose", "double", "zero", "more")
        )
        if kind == "flip" and changed:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == "value" and changed:
            changed[place] = rng.choice((0, 1, 127, 255, rng.randrange(256)))
        elif kind == "cut":
            del changed[rng.randint(0, len(changed)) :]
        elif kind == "lose":
            del changed[place : place + rng.randint(1, 20)]
        elif kind == "double":
            changed[place:place] = changed[place : place + rng.randint(1, 20)]
        elif kind == "zero":
            size = min(rng.randint(1, 60), len(changed) - place)
            changed[place : place + size] = bytes(size)
        elif kind == "more":
            changed += rng.choice((bytes(50), data, b"<html>"))
    if rng.random() < 0.02:
        return rng.choice((b"", b"<html>404 Not Found</html>", b"\0" * 512, b"\xff" * 512))
    return bytes(changed)


def claimed_pixels(path: Path) -> float:
    """Return how many pixels the header promises; none where there is no picture."""
    try:
        with Image.open(path) as picture:
            return picture.width * picture.height
    except Exception:
        return 0


class SecondDecoder:
    """Torchvision's decoders, in a process of their own: some damaged files crash them."""

    def __init__(self) -> None:
        self.process: ProcessPoolExecutor | None = None

    def __call__(self, data: bytes) -> np.ndarray | None:
        """Return the stored pixels (H, W, 3) in [0, 255]; None if they cannot be read.

        Nothing is turned, so this is compared for pictures that are not turned.
        """
        if self.process is None:
            self.process = ProcessPoolExecutor(1, mp_context=get_context("fork"))
        try:
            return self.process.submit(decode, data).result(timeout=SECONDS)
        except BrokenProcessPool:
            self.process = None
            return None

    def close(self) -> None:
        if self.process is not None:
            self.process.shutdown()


def decode(data: bytes) -> np.ndarray | None:
    """Return what torchvision reads; see `SecondDecoder`."""
    try:
        raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        image = decode_image(raw, mode=ImageReadMode.RGB)
    except Exception:
        return None
    return image.permute(1, 2, 0).numpy().astype(float) / np.iinfo(image.numpy().dtype).max * 255


def run_case(rng: random.Random, folder: Path, decoder: SecondDecoder | None) -> tuple[str, str]:
    """Run a case, with a second decoder if there is one.

    Returns:
        "whole", "read", "refused" or "large"; and what was wrong, "" if nothing.
    """
    form, data, upright, turn = make(rng)
    is_whole = rng.random() < 0.15
    if not is_whole:
        data = damage(rng, data)
    ending = ENDINGS.get(form, f".{form.lower()}")
    path = folder / f"p{rng.choice((ending, ending, ending.upper(), '.jpg', '.png'))}"
    path.write_bytes(data)
    story = f"{form}, {'whole' if is_whole else 'damaged'}, turn {turn}"

    if claimed_pixels(path) > MOST_PIXELS:
        return "large", ""

    answers = {}
    for what, ask in {
        "read": lambda: read_picture(path),
        "size": lambda: picture_size(path),
        "check": lambda: check_picture(path, None, decode=True),
    }.items():
        try:
            answers[what] = ask()
        except ValueError as error:
            if str(path) not in str(error):
                return "refused", f"{story}: {what} names no file: {error}"
            answers[what] = error

    image, size = answers["read"], answers["size"]
    if isinstance(image, ValueError):
        if is_whole:
            return "refused", f"{story}: refused without need: {image}"
        if answers["check"] is None:
            return "refused", f"{story}: passes the check and stops the training: {image}"
        return "refused", ""

    if answers["check"] is not None:
        return "read", f"{story}: can be read, but the check says {answers['check']}"
    if size != (image.shape[2], image.shape[1]):
        return "read", f"{story}: the size is said to be {size}, read was {tuple(image.shape)}"

    pixels = image.numpy().transpose(1, 2, 0)  # (H, W, 3)
    if is_whole:
        tolerance = 8 / 255 if form == "JPEG" else 1e-6
        if pixels.shape != upright.shape or np.abs(pixels - upright).max() > tolerance:
            return "whole", f"{story}: other pixels than were stored"
        return "whole", ""

    if decoder is not None and turn == 1 and form in ALSO_DECODED:
        other = decoder(data)
        if other is not None:
            if other.shape != pixels.shape:
                return "read", f"{story}: {pixels.shape}, a second decoder reads {other.shape}"
            largest = np.abs(other - 255 * pixels).max()
            if largest > ALSO_DECODED[form] + 0.01:
                return "read", f"{story}: a second decoder differs by {largest:.1f} of 255"
            return "read by both", ""
    return "read", ""


def too_long(*_: object) -> None:
    raise TimeoutError(f"took longer than {SECONDS} s")


def run(
    num_cases: int, seed: int, keep: Path | None = None, decodes_twice: bool = True
) -> tuple[Counter[str], list[str]]:
    """Run cases; return how many there were of each outcome, and the wrong ones."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    decoder = SecondDecoder() if decodes_twice else None
    before = signal.signal(signal.SIGALRM, too_long)
    for case in range(num_cases):
        rng = random.Random(f"{seed} {case}")
        with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            signal.alarm(SECONDS)
            try:
                kind, fault = run_case(rng, Path(name), decoder)
            except Exception as error:  # whatever it is, it is no answer to a reader
                kind, fault = "refused", f"{type(error).__name__}: {error}"
            finally:
                signal.alarm(0)
            counts[kind] += 1
            if fault:
                wrong.append(f"case {case}: {fault}")
                for path in Path(name).iterdir():
                    if keep is not None:
                        (keep / f"{case}{path.suffix}").write_bytes(path.read_bytes())
    signal.signal(signal.SIGALRM, before)
    if decoder is not None:
        decoder.close()
    return counts, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files of wrong outcomes")
    options = parser.parse_args()
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)

    counts, wrong = run(options.cases, options.seed, options.keep)
    for fault in wrong[:40]:
        print(fault)
    said = ", ".join(f"{number} {kind}" for kind, number in counts.most_common())
    print(f"{options.cases} cases: {said}; {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

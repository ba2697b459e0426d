"""Pictures that a figure carries within itself."""

from __future__ import annotations

import base64
import io

from PIL import Image
from torch import Tensor


def webp(image: Tensor, quality: int = 85) -> str:
    """Return an image as a data URI: WebP, 2 to 4 kB for a scene of ToyTown.

    Args:
        image: (3, H, W), uint8, or float in [0, 1].
        quality: of the compression, 1 to 100.
    """
    if image.is_floating_point():
        image = (image * 255).round().byte()

    file = io.BytesIO()
    pixels = image.permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)
    Image.fromarray(pixels).save(file, "WEBP", quality=quality, method=6)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()

"""HR to LR: the degradations that a network learns to undo, functions of the image alone."""

import numpy as np
from PIL import Image

from kd_lightning.data.images import Pixels
from kd_lightning.errors import UserError


def multiple(scale: int) -> int:
    """What an HR image's sides must be multiples of: the scale; 2 for same-size restoration."""
    return scale if scale > 1 else 2


def crop_to_multiple(image: Pixels, factor: int) -> Pixels:
    """`image` (H, W, 3) without the last rows and columns that `factor` does not divide."""
    height, width = image.shape[:2]
    return image[: height - height % factor, : width - width % factor]


def degrade(hr: Pixels, scale: int, kind: str = "bicubic") -> Pixels:
    """The LR image (H/scale, W/scale, 3) of uint8 `hr` whose sides are multiples of `scale`.

    `kind` "bicubic" (or "auto"): Pillow's bicubic, 8 bit. Scale 1 is same-size restoration: the
    image is shrunk by 2 and enlarged again, so there is blur to undo.

    Raises:
        UserError: an unknown `kind`.
    """
    if kind not in {"auto", "bicubic"}:
        raise UserError(f"data.degradation={kind}: choose auto or bicubic")
    if scale == 1:
        height, width = hr.shape[:2]
        return resize(resize(hr, height // 2, width // 2), height, width)
    return resize(hr, hr.shape[0] // scale, hr.shape[1] // scale)


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """Pillow's bicubic (a = -0.5, antialiased) of a uint8 (H, W, 3) image."""
    if image.shape[:2] == (height, width):
        return image
    pixels = Image.fromarray(np.ascontiguousarray(image))
    return np.array(pixels.resize((width, height), Image.Resampling.BICUBIC))

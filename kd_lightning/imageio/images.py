"""Read any image that a person has, so that the restored one can be written to look like it."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFilter

from kd_lightning.errors import UserError
from kd_lightning.imageio.decode import (
    MAX_PIXELS,
    PIECE,
    Refused,
    decode,
    open_image,
    upright,
)
from kd_lightning.imageio.metadata import Metadata, metadata_of, orientation_of

BLEED = 4  # pixels from which colour flows under full transparency


@dataclass
class ImageData:
    """Pixels the right way up, (H,W,C) uint8 or uint16 (C: grey, grey+alpha, RGB, RGB+alpha),
    and what travels along."""

    pixels: np.ndarray
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def bits(self) -> int:
        return self.pixels.dtype.itemsize * 8


def read_image(source: Path | BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> ImageData:
    """Decode a file and turn it as its orientation says.

    Palettes and bilevel images become RGB or grey, CMYK becomes RGB (without its profile); 16 bits
    stay 16 bits for PNG and for grey TIFF. Colours under full transparency are replaced.

    Raises:
        UserError: unreadable, truncated, animated, of more than `max_pixels`, or of a kind that
            would lose information.
    """
    try:
        # Pillow warns about single tags.
        with warnings.catch_warnings(action="ignore"), open_image(source, max_pixels) as image:
            pixels = decode(image, source)
            orientation = orientation_of(image)
            metadata = metadata_of(image, pixels.shape[2])
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except Refused as error:
        raise UserError(f"{name}: {error}") from error
    _bleed(pixels)
    return ImageData(upright(pixels, orientation), metadata)


def _bleed(pixels: np.ndarray) -> None:
    """Give fully transparent pixels the colours of their visible neighbours, so that whatever
    hides there does not leak into the visible edge. Changes `pixels`."""
    height, width, channels = pixels.shape
    if channels in (1, 3):
        return
    rows = max(1, PIECE // width)
    for top in range(0, height, rows):
        here = slice(top, min(height, top + rows))
        hidden = pixels[here, :, -1] == 0
        if not hidden.any():
            continue
        first = max(0, top - BLEED)
        around = pixels[first : here.stop + BLEED]
        eight = around if pixels.dtype == np.uint8 else (around >> 8).astype(np.uint8)
        image = Image.fromarray(eight).convert("RGBA").convert("RGBa")
        spread = np.asarray(image.filter(ImageFilter.BoxBlur(BLEED)).convert("RGBA"))
        spread = spread[top - first :][: len(hidden)]
        hidden &= spread[..., 3] > 0
        full = np.iinfo(pixels.dtype).max // 255
        colours = spread[..., : channels - 1].astype(pixels.dtype) * full
        pixels[here, :, :-1][hidden] = colours[hidden]

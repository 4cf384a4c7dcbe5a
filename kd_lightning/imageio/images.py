"""Read any image that a person has, so that the restored one can be written to look like it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFilter

from kd_lightning.errors import UserError
from kd_lightning.imageio.decode import (
    MAX_PIXELS,
    PIECE,
    TOO_LARGE_REMEDY,
    Refused,
    decode,
    is_sixteen_bit_grey,
    open_image,
    raw_mode_of,
    sixteen_bit_grey,
    upright,
    white_is_zero,
    with_clear_colour,
)
from kd_lightning.imageio.metadata import Metadata, metadata_of, orientation_of

DIRECT = ("L", "LA", "RGB", "RGBA")  # modes of Pillow whose pixels need no conversion
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


def read_image(
    source: Path | BinaryIO,
    name: str,
    max_pixels: int = MAX_PIXELS,
    remedy: str = TOO_LARGE_REMEDY,
) -> ImageData:
    """Decode a file and turn it as its orientation says.

    Palettes and bilevel images become RGB or grey, CMYK becomes RGB (without its profile); 16 bits
    stay 16 bits for PNG and for grey TIFF and PGM. Colours under full transparency are replaced.

    Raises:
        UserError: unreadable, truncated, animated, of more than `max_pixels`, or of a kind that
            would lose information. Of a larger one it says `remedy`.
    """
    with _opened(source, name, max_pixels, remedy) as image:
        pixels = decode(image, source)
        orientation = orientation_of(image)
        metadata = metadata_of(image, pixels.shape[2])
    _bleed(pixels)
    return ImageData(upright(pixels, orientation), metadata)


def image_sides(path: Path) -> tuple[int, int]:
    """Width and height as they are stored, read from the header alone.

    Raises:
        UserError: as `read_image`, but for what only the pixels show.
    """
    with _opened(path, str(path), MAX_PIXELS, TOO_LARGE_REMEDY) as image:
        return image.width, image.height


@contextmanager
def _opened(source: Path | BinaryIO, name: str, max_pixels: int, remedy: str) -> Iterator[Any]:
    """`open_image`, whose refusals become errors that say `name`."""
    try:
        # Pillow warns about single tags.
        warned = warnings.catch_warnings(action="ignore")
        with warned, open_image(source, max_pixels, remedy) as image:
            yield image
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except Refused as error:
        raise UserError(f"{name}: {error}") from error


def from_pillow(image: Image.Image) -> ImageData:
    """An image that a program holds, as `read_image` gives that of a file, with three differences:
    bilevel becomes RGB, colours of which Pillow has kept 8 bits have 8, and of a grey image of 2 or
    4 bits that is loaded already Pillow no longer says which of its levels is transparent.

    Raises:
        UserError: of a mode whose white is not known, or whose transparency Pillow cannot hold.
        OSError: its file is truncated or damaged.
    """
    if image.mode in ("I", "F") and not is_sixteen_bit_grey(image):
        raise UserError(
            f"Pillow image of mode {image.mode}: which of its levels is white is not known; give "
            "16-bit grey, Image.fromarray(levels.astype(np.uint16)), white at 65535"
        )
    raw_mode, negative = raw_mode_of(image), white_is_zero(image)
    image.load()  # turns a TIFF, and no other kind
    if is_sixteen_bit_grey(image):
        pixels = sixteen_bit_grey(image, negative)
    elif image.mode in DIRECT:
        pixels = np.array(image).reshape(image.height, image.width, len(image.getbands()))
    else:
        try:
            colours = image.convert("RGBA" if image.has_transparency_data else "RGB")
        except ValueError as error:  # La: grey with premultiplied alpha
            raise UserError(
                f"Pillow image of mode {image.mode}: {error}; convert it first"
            ) from None
        pixels = np.array(colours)
    pixels = with_clear_colour(pixels, image, raw_mode)
    if pixels.dtype == np.uint16 and pixels.shape[2] == 2:
        raise UserError(
            f"Pillow image of mode {image.mode} with a transparent colour: Pillow has no 16-bit "
            "grey with alpha; give an array (height, width, 2) of uint16"
        )
    _bleed(pixels)
    return ImageData(upright(pixels, orientation_of(image)), metadata_of(image, pixels.shape[2]))


def to_pillow(image: ImageData) -> Image.Image:
    """Of mode L, LA, RGB, RGBA or I;16; profile and Exif in its `info`, as Pillow's readers do."""
    pixels, metadata = image.pixels, image.metadata
    out = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    kept = {"icc_profile": metadata.icc, "exif": metadata.exif}
    out.info |= {key: value for key, value in kept.items() if value}
    return out


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

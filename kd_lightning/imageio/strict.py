"""Image files in and out: everything the project reads becomes uint8 RGB, or is refused by name."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kd_lightning.errors import UserError
from kd_lightning.files import write_atomic
from kd_lightning.imageio.decode import Refused, decode, open_image

# Modes that become 8-bit RGB without a choice; of those with alpha, the opaque ones.
USABLE = ("1", "L", "P", "RGB", "RGBA", "LA", "PA", "La", "RGBa")
EIGHT = "save it with 8 bits a channel"

Pixels = NDArray[np.uint8]


def read_rgb(path: Path) -> Pixels:
    """The image of `path` as uint8 (H, W, 3), RGB, as it is stored.

    Orientation is never applied, in no format: HR, LR and teacher images may differ in metadata.
    Grey and palette images are converted; an alpha channel is dropped where it is opaque.

    Raises:
        UserError: missing, truncated or damaged file; animated, 16-bit, transparent, CMYK or
            other image, or one of more than `decode.MAX_PIXELS`.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such image file; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror}); check the file") from None
    return decode_rgb(data, path)


def decode_rgb(data: bytes, path: Path) -> Pixels:
    """`read_rgb` for the file's content `data`; `path` only names it in errors."""
    source = io.BytesIO(data)
    try:
        with open_image(source) as image:
            if image.mode in ("I", "F"):
                raise Refused(f"more than 8 bits a channel (mode {image.mode})", EIGHT)
            if image.mode not in USABLE and not image.mode.startswith("I;16"):
                raise Refused(f"colour mode {image.mode}", "convert it to 8-bit RGB")
            pixels = decode(image, source)
        if pixels.dtype != np.uint8:
            raise Refused("16 bits a channel", EIGHT)
        if pixels.shape[2] in (2, 4):
            if pixels[..., -1].min() < 255:
                raise Refused("it has transparent pixels", "flatten it to RGB")
            pixels = pixels[..., :-1]
    except Refused as error:
        raise UserError(f"{path}: cannot use this image: {error}") from error
    if pixels.shape[2] == 1:
        return pixels.repeat(3, axis=2)
    return np.ascontiguousarray(pixels)


def pixel_count(path: Path) -> int:
    """Height times width, from the header alone; 0 where it cannot be read."""
    try:
        with open_image(path) as image:
            return int(image.width * image.height)
    except (Refused, OSError):
        return 0


def write_png(path: Path, pixels: Pixels) -> None:
    """Write uint8 (H, W, 3) `pixels` as PNG; `path` holds the whole image or is not touched."""
    buffer = io.BytesIO()
    # Level 1: a third larger than the default, five times faster to write.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    write_atomic(path, buffer.getvalue())

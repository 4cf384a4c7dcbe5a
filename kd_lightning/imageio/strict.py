"""Image files in and out: everything the project reads becomes uint8 RGB, or is refused by name."""

import io
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from kd_lightning.errors import UserError
from kd_lightning.files import write_atomic

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"})
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

Pixels = NDArray[np.uint8]


def read_rgb(path: Path) -> Pixels:
    """The image of `path` as uint8 (H, W, 3), RGB; orientation tags are not applied.

    Grey and palette images are converted; an alpha channel is dropped where it is opaque.

    Raises:
        UserError: missing, truncated or damaged file; 16-bit, transparent, CMYK or other image.
    """
    try:
        return decode_rgb(path.read_bytes(), path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such image file; check the path") from None


def decode_rgb(data: bytes, path: Path) -> Pixels:
    """`read_rgb` for the file's content `data`; `path` only names it in errors."""
    if _png_bit_depth(data) == 16:  # Pillow would cut 16-bit RGB to 8 bit without a word
        raise _refused(path, "16 bits a channel", "save it with 8 bits a channel")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return _to_rgb(image, path)
    except Image.DecompressionBombError:
        raise _refused(path, "more pixels than Pillow opens safely", "cut it into parts") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, struct.error) as error:
        message = f"truncated, damaged or not an image ({error})".replace("\n", " ")
        raise _refused(path, message, "replace or remove it") from None


def pixel_count(path: Path) -> int:
    """Height times width, from the header alone; 0 where it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.width * image.height
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return 0


def write_png(path: Path, pixels: Pixels) -> None:
    """Write uint8 (H, W, 3) `pixels` as PNG; `path` holds the whole image or is not touched."""
    buffer = io.BytesIO()
    # Level 1: a third larger than the default, five times faster to write.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    write_atomic(path, buffer.getvalue())


def _to_rgb(image: Image.Image, path: Path) -> Pixels:
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        raise _refused(path, f"more than 8 bits a channel (mode {mode})", "save it with 8 bits")
    if mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        lowest, _ = image.getchannel("A").getextrema()
        if int(lowest) < 255:  # type: ignore[arg-type]
            raise _refused(path, "it has transparent pixels", "flatten it to RGB")
    elif mode not in {"1", "L", "P", "RGB"}:
        raise _refused(path, f"colour mode {mode}", "convert it to 8-bit RGB")
    return np.array(image.convert("RGB"))


def _png_bit_depth(data: bytes) -> int | None:
    if data[:8] != PNG_SIGNATURE or len(data) < 25:
        return None
    return data[24]  # IHDR: width, height, bit depth


def _refused(path: Path, what: str, remedy: str) -> UserError:
    return UserError(f"{path}: cannot use this image: {what}; {remedy}")

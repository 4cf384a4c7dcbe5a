"""Read any picture that a person has, and write the restored one so that it looks like it."""

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from kd_lightning.errors import UserError
from kd_lightning.files import replacing
from kd_lightning.imageio.png import write_png
from kd_lightning.imageio.suffixes import WRITABLE

ORIENTATION = 0x0112  # Exif tag
ROWS = 256  # rows that are copied out of Pillow at a time
MOST_PIXELS = 1_000_000_000  # refused above: a forged header must not take all memory
# A 16-bit PNG mode of Pillow's decoder -> what to decode it as to get the high and low bytes.
SIXTEEN = {
    "RGB;16B": ("RGB", "RGB;16B", "RGB;16L"),
    "RGBA;16B": ("RGBA", "RGBA;16B", "RGBA;16L"),
    "LA;16B": ("RGBA", "RGBA", None),
}


@dataclass
class ImageData:
    """Pixels the right way up, (H,W,C) uint8 or uint16 (C: grey, grey+alpha, RGB, RGB+alpha),
    and what must travel along: the ICC profile and the Exif block without its orientation."""

    pixels: np.ndarray
    icc: bytes | None = None
    exif: bytes | None = None

    @property
    def bits(self) -> int:
        return self.pixels.dtype.itemsize * 8


def read_image(source: Path | BinaryIO, name: str) -> ImageData:
    """Decode a file.

    Palettes and bilevel images become RGB or grey, CMYK becomes RGB (without its profile); 16 bits
    stay 16 bits for PNG and for grey TIFF.

    Raises:
        UserError: unreadable, truncated, animated, or of a kind that would lose information.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses at twice this
            with Image.open(source) as image:
                return _decode(image, source, name)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except UnidentifiedImageError:
        raise UserError(f"{name}: not an image that Pillow can read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name}: damaged or unreadable image ({reason})") from None


def _decode(image: Any, source: Path | BinaryIO, name: str) -> ImageData:
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise UserError(f"{name}: has {image.n_frames} frames; give single pictures")
    raw_mode = image.tile[0].args if image.format == "PNG" and image.tile else None
    icc, exif = image.info.get("icc_profile"), image.getexif()  # reading Exif may load the image
    orientation = exif.pop(ORIENTATION, 1)
    if image.mode in ("I", "F") or (
        image.format == "TIFF" and image.mode != "I;16" and 16 in image.tag_v2.get(258, ())
    ):
        raise UserError(f"{name}: {image.mode} pixels of 16 or 32 bits; convert to 16-bit PNG")
    if image.mode.startswith("I;16"):
        pixels = np.array(image, dtype=np.uint16)[..., None]
    elif raw_mode in SIXTEEN:
        pixels = _sixteen_bits(image, source, *SIXTEEN[raw_mode])
    else:
        if image.mode == "CMYK":
            icc = None
        pixels = _eight_bits(image)
    pixels = _upright(pixels, orientation)
    return ImageData(pixels, icc, exif.tobytes() if len(exif) else None)


def _eight_bits(image: Image.Image) -> np.ndarray:
    clear = "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    grey = image.mode in ("1", "L", "LA", "La") and not isinstance(
        image.info.get("transparency"), tuple
    )
    mode = ("L" if grey else "RGB") + ("A" if clear else "")
    if image.mode != mode:
        image = image.convert("RGBA").convert(mode) if clear else image.convert(mode)
    if mode == "RGBA":
        image = _bleed(image)
    width, height = image.size
    image.load()
    pixels = np.empty((height, width, len(mode)), np.uint8)
    for top in range(0, height, ROWS):
        bottom = min(height, top + ROWS)
        rows = np.asarray(image.crop((0, top, width, bottom)))
        pixels[top:bottom] = rows.reshape(bottom - top, width, len(mode))
    return pixels


def _bleed(image: Image.Image) -> Image.Image:
    """Give fully transparent pixels the colours of their visible neighbours, so that whatever
    hides there does not leak into the visible edge."""
    from PIL import ImageChops, ImageFilter

    hidden = image.getchannel("A").point(lambda a: 255 * (a == 0))
    if not hidden.getbbox():
        return image
    spread = image.convert("RGBa").filter(ImageFilter.BoxBlur(4)).convert("RGBA")
    hidden = ImageChops.multiply(hidden, spread.getchannel("A").point(lambda a: 255 * (a > 0)))
    spread.putalpha(0)
    return Image.composite(spread, image, hidden)


def _sixteen_bits(
    image: Image.Image, source: Path | BinaryIO, mode: str, high: str, low: str | None
) -> np.ndarray:
    """16-bit PNG colour, which Pillow cuts to 8 bits: decoded once for the high bytes and, by
    pretending the other byte order, once for the low bytes."""
    if low is None:  # grey and alpha, four bytes a pixel, read as if they were four channels
        both = _decoded_as(source, mode, high)
        return both[..., 0::2].astype(np.uint16) << 8 | both[..., 1::2]
    pixels = _decoded_as(source, mode, high).astype(np.uint16) << 8
    return pixels | _decoded_as(source, mode, low)


def _decoded_as(source: Path | BinaryIO, mode: str, raw_mode: str) -> np.ndarray:
    if not isinstance(source, Path):
        source.seek(0)
    with Image.open(source) as image:
        image._mode = mode
        image.tile = [part._replace(args=raw_mode) for part in image.tile]
        return np.asarray(image)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply Exif's orientation 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def check_format(suffix: str, picture: ImageData, name: str) -> None:
    """Raise UserError where a file of this suffix cannot hold such a picture."""
    if suffix not in WRITABLE:
        raise UserError(f"{name}: cannot write {suffix or 'a file without suffix'}; use .png")
    if suffix != ".png" and picture.bits == 16:
        raise UserError(f"{name}: 16 bits per channel need .png")
    if suffix in (".jpg", ".jpeg", ".bmp") and picture.pixels.shape[2] in (2, 4):
        raise UserError(f"{name}: {suffix} holds no transparency; use .png or .webp")


def write_image(
    target: Path | BinaryIO,
    size: tuple[int, int],
    bands: Iterable[np.ndarray],
    like: ImageData,
) -> None:
    """Write `bands` of rows, together of `size` (height, width), with the depth, profile and Exif
    of `like`. A path is written whole or not at all; a stream gets PNG."""
    if not isinstance(target, Path):
        return _encode(target, ".png", size, bands, like)
    with replacing(target) as file:
        _encode(file, target.suffix.lower(), size, bands, like)


def _encode(
    file: BinaryIO,
    suffix: str,
    size: tuple[int, int],
    bands: Iterable[np.ndarray],
    like: ImageData,
) -> None:
    channels = like.pixels.shape[2]
    if suffix == ".png":
        height, width = size
        write_png(file, width, height, channels, like.bits, bands, like.icc, like.exif)
        return
    pixels = np.concatenate(list(bands))
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    kind = Image.registered_extensions()[suffix]
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    if kind == "JPEG":
        options["subsampling"] = 0
    elif kind == "TIFF":
        options["compression"] = "tiff_lzw"  # type: ignore[assignment]
    extras = {"icc_profile": like.icc, "exif": like.exif}
    if kind == "BMP":
        extras = {}
    whole = io.BytesIO()
    image.save(whole, kind, **options, **{key: value for key, value in extras.items() if value})
    file.write(whole.getvalue())

"""One way from an image file to its pixels, which the reader for people (`images`) and the strict
one of training (`strict`) share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from kd_lightning.imageio.metadata import ORIENTATION

# What Pillow may try: a file that calls itself .png must not reach a rarely used decoder, nor
# Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
MAX_PIXELS = 250_000_000  # of one image; reading takes up to 7 bytes for each
TOO_LARGE_REMEDY = "cut it into parts"
PIECE = 4_000_000  # pixels that are copied out of Pillow at a time
# A 16-bit PNG mode of Pillow's decoder -> what to decode it as to get the high and low bytes.
SIXTEEN = {
    "RGB;16B": ("RGB", "RGB;16B", "RGB;16L"),
    "RGBA;16B": ("RGBA", "RGBA;16B", "RGBA;16L"),
    "LA;16B": ("RGBA", "RGBA", None),
}
GREY = ("1", "L", "LA", "La")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
# TIFF tags
IMAGE_LENGTH, PHOTOMETRIC, STRIP_OFFSETS = 257, 262, 273
SAMPLES, ROWS_PER_STRIP, PLANAR = 277, 278, 284
SPREAD = {"L;2": 85, "L;4": 17}  # level 1 of a grey PNG of 2 or 4 bits, as Pillow decodes it

Source = Path | BinaryIO


class Refused(Exception):
    """Why an image cannot be used, and what to do about it; the reader adds its name."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what, self.remedy = what, remedy


_guard = threading.Lock()
_readers = 0
_users_limit: int | None = None


@contextmanager
def open_image(
    source: Source, max_pixels: int = MAX_PIXELS, remedy: str = TOO_LARGE_REMEDY
) -> Iterator[Any]:
    """The image of a file, its header read, its pixels not.

    Raises:
        Refused: not an image of FORMATS, damaged, or of more than `max_pixels`, of which it says
            `remedy`; errors of the body become `Refused` too, since Pillow's decoders raise
            whatever a damaged file leads to.
        FileNotFoundError, MemoryError
    """
    try:
        with _without_pillows_limit(), Image.open(source, formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise Refused(
                    f"{image.width}x{image.height} are more than {max_pixels:,} pixels",
                    remedy,
                )
            yield image
    except UnidentifiedImageError:
        kinds = ", ".join(FORMATS)
        raise Refused("no image, or a truncated or damaged one", f"readable are {kinds}") from None
    except (Refused, FileNotFoundError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise Refused(f"cannot be read ({error.strerror})", "check the file") from error
        told = isinstance(error, OSError | SyntaxError | ValueError)
        reason = " ".join(str(error).split())[:160] if told else type(error).__name__
        raise Refused(
            f"truncated, damaged or unreadable image ({reason})", "replace or remove it"
        ) from error


@contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Pillow's limit of pixels is one number for the whole process; ours is for one image."""
    global _readers, _users_limit
    with _guard:
        if _readers == 0:
            _users_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _readers += 1
    try:
        yield
    finally:
        with _guard:
            _readers -= 1
            if _readers == 0:
                Image.MAX_IMAGE_PIXELS = _users_limit


def decode(image: Any, source: Source) -> np.ndarray:
    """The pixels of an opened image as they are stored, not turned as its Exif asks.

    Returns:
        (H,W,C) uint8 or uint16; C is 1 grey, 2 grey and alpha, 3 RGB or 4 RGB and alpha. Palettes
        become RGB, a transparent colour becomes alpha, CMYK RGB; 16 bits stay 16 bits for PNG and
        for grey TIFF and PGM.

    Raises:
        Refused: animated, or of a kind that would lose information.
    """
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise Refused(f"has {frames} frames", "give single images")
    _refuse_other_depths(image)
    raw_mode, negative = raw_mode_of(image), white_is_zero(image)
    turned = image.tag_v2.get(ORIENTATION, 1) if image.format == "TIFF" else 1
    image.load()
    if is_sixteen_bit_grey(image):
        pixels = sixteen_bit_grey(image, negative)
    elif raw_mode in SIXTEEN:
        pixels = _sixteen_bits(source, *SIXTEEN[raw_mode])
    else:
        pixels = _eight_bits(image)
    pixels = with_clear_colour(pixels, image, raw_mode)
    if turned in range(2, 9):  # Pillow turns a TIFF, and no other kind, while it loads it
        pixels = upright(pixels, {6: 8, 8: 6}.get(turned, turned))
        image.getexif()[ORIENTATION] = turned
    return pixels


def raw_mode_of(image: Any) -> str | None:
    """How a PNG has its pixels, which Pillow forgets as it loads them."""
    raw_mode = image.tile[0].args if image.format == "PNG" and image.tile else None
    return str(raw_mode) if raw_mode else None


def white_is_zero(image: Any) -> bool:
    """Whether a TIFF is a negative, which Pillow minds for 8 bits only."""
    return image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == 0


def is_sixteen_bit_grey(image: Image.Image) -> bool:
    """Whether it is a grey image whose white is 65535: a PGM too, whose 16 bits have 32 here."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")


def sixteen_bit_grey(image: Image.Image, negative: bool) -> np.ndarray:
    """(H,W,1) uint16 of such an image, in whatever order its bytes are."""
    pixels = np.array(image, dtype=np.uint16)[..., None]
    return 65535 - pixels if negative else pixels


def with_clear_colour(pixels: np.ndarray, image: Image.Image, raw_mode: str | None) -> np.ndarray:
    """`pixels` of an image with an alpha channel for its transparent colour, where it has one."""
    clear = image.info.get("transparency")
    if clear is None or pixels.shape[2] not in (1, 3):
        return pixels
    levels = np.array(clear) * SPREAD.get(raw_mode or "", 1)
    if pixels.dtype == np.uint8 and np.any(levels > 255):  # of the pixels too, 8 bits are left
        levels >>= 8
    return _with_alpha(pixels, levels)


def _refuse_other_depths(image: Any) -> None:
    remedy = "convert it to PNG of 8 or 16 bits"
    if image.mode not in GREY + COLOUR and not is_sixteen_bit_grey(image):
        raise Refused(f"{image.mode} pixels", remedy)
    if image.format == "TIFF":
        bits = max(image.tag_v2.get(258, (1,)))
        if bits > 8 and not (bits == 16 and image.mode.startswith("I;16")):
            raise Refused(f"{image.mode} pixels of {bits} bits a channel", remedy)
        _refuse_missing_rows(image)
    elif image.format == "PPM" and image.tile and image.mode != "I":
        arguments = image.tile[0].args
        if isinstance(arguments, tuple) and arguments[-1] > 255:
            raise Refused(f"{image.mode} pixels of more than 8 bits a channel", remedy)


def _refuse_missing_rows(image: Any) -> None:
    """libtiff leaves rows for which a TIFF holds no strip as they lay in memory."""
    tags = image.tag_v2
    if STRIP_OFFSETS not in tags:
        return
    planes = tags.get(SAMPLES, 1) if tags.get(PLANAR) == 2 else 1
    rows = len(tags[STRIP_OFFSETS]) // planes * tags.get(ROWS_PER_STRIP, 2**32 - 1)
    if rows < tags[IMAGE_LENGTH]:
        raise Refused("a truncated or damaged TIFF, of which rows are missing", "replace it")


def _eight_bits(image: Image.Image) -> np.ndarray:
    """uint8, copied and converted in pieces: Pillow keeps four bytes for each pixel."""
    indexed = image.mode in ("P", "PA")  # else a transparent colour is found in the array
    clear = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or (
        indexed and image.has_transparency_data
    )
    mode = ("L" if image.mode in GREY else "RGB") + ("A" if clear else "")
    width, height = image.size
    pixels = np.empty((height, width, len(mode)), np.uint8)
    rows = max(1, PIECE // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        piece = image.crop((0, top, width, bottom))
        if not indexed:
            piece.info.pop("transparency", None)
        if piece.mode != mode:
            piece = piece.convert(mode)
        pixels[top:bottom] = np.asarray(piece).reshape(bottom - top, width, len(mode))
    return pixels


def _sixteen_bits(source: Source, mode: str, high: str, low: str | None) -> np.ndarray:
    """16-bit PNG colour, which Pillow cuts to 8 bits: decoded once for the high bytes and, by
    pretending the other byte order, once for the low bytes."""
    if low is None:  # grey and alpha, four bytes a pixel, read as if they were four channels
        both = _decoded_as(source, mode, high)
        return both[..., 0::2].astype(np.uint16) << 8 | both[..., 1::2]
    pixels = _decoded_as(source, mode, high).astype(np.uint16) << 8
    return pixels | _decoded_as(source, mode, low)


def _decoded_as(source: Source, mode: str, raw_mode: str) -> np.ndarray:
    if not isinstance(source, Path):
        source.seek(0)
    with Image.open(source, formats=("PNG",)) as image:
        image._mode = mode
        image.tile = [part._replace(args=raw_mode) for part in image.tile]
        return np.asarray(image)


def _with_alpha(pixels: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Add an alpha channel that is 0 where a pixel has the colour `clear`, else opaque."""
    opaque = np.iinfo(pixels.dtype).max
    alpha = np.where((pixels == clear).all(axis=2, keepdims=True), 0, opaque)
    return np.concatenate((pixels, alpha.astype(pixels.dtype)), axis=2)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply Exif's orientation 1 to 8 to (H,W,C)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)

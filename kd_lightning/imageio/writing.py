"""Write a restored image with the depth and the metadata of the one that it was made from."""

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from kd_lightning.errors import UserError
from kd_lightning.files import replacing
from kd_lightning.imageio.images import ImageData
from kd_lightning.imageio.metadata import Metadata, fits
from kd_lightning.imageio.png import write_png
from kd_lightning.imageio.suffixes import WRITABLE
from kd_lightning.imageio.tiff import write_tiff

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
LOSSY = (".jpg", ".jpeg", ".webp")
QUALITY = 95  # of these, 1 to 100, as Pillow counts
# Pixels a side: ISO/IEC 15948; libjpeg's JPEG_MAX_DIMENSION; RFC 9649 (14 bits).
SIDES = {"PNG": 2**31 - 1, "JPEG": 65500, "WEBP": 16383}
BYTES = {"TIFF": 2**32 - 2**20, "BMP": 2**31 - 2**20}  # of pixels: offsets have 32 bits
JPEG_EXIF = 65533  # bytes that a segment of a JPEG holds


def check_format(suffix: str, image: ImageData, size: tuple[int, int], name: str) -> list[str]:
    """Whether a file of this suffix can hold the image enlarged to `size` (height, width).

    Returns:
        What has no place in it and will be left out, for people.

    Raises:
        UserError: depth, transparency or size do not fit.
    """
    if suffix not in WRITABLE:
        raise UserError(f"{name}: cannot write {suffix or 'a file without suffix'}; use .png")
    kind = FORMATS[suffix]
    height, width = size
    channels = image.pixels.shape[2]
    if image.bits == 16 and not (kind == "PNG" or (kind == "TIFF" and channels == 1)):
        raise UserError(f"{name}: 16 bits per channel need .png")
    if kind in ("JPEG", "BMP") and channels in (2, 4):
        raise UserError(f"{name}: {suffix} holds no transparency; use .png or .webp")
    if max(height, width) > SIDES.get(kind, 2**31 - 1):
        raise UserError(
            f"{name}: the result has {width}x{height} pixels, {suffix} holds {SIDES[kind]} a side; "
            "use .png"
        )
    if height * width * channels * image.bits // 8 > BYTES.get(kind, 2**63):
        raise UserError(f"{name}: {width}x{height} pixels are too many for {suffix}; use .png")
    return list(_fitted(kind, image).notes)


def write_image(
    target: Path | BinaryIO,
    size: tuple[int, int],
    bands: Iterable[np.ndarray],
    like: ImageData,
    new: bool = False,
    quality: int = QUALITY,
) -> None:
    """Write `bands` of rows, together of `size` (height, width), with the depth and the metadata
    of `like`; `quality` (1 to 100) is of LOSSY files. A path is written whole or not at all; a
    stream gets PNG.

    Raises:
        UserError: the disk is full or the folder cannot be written; with `new`, as `replacing`.
    """
    if not isinstance(target, Path):
        return _encode(target, "PNG", size, bands, like, quality)
    with replacing(target, new=new) as file:
        _encode(file, FORMATS[target.suffix.lower()], size, bands, like, quality)


def _fitted(kind: str, image: ImageData) -> Metadata:
    """The metadata that a format holds; the notes say what it does not."""
    kept = image.metadata
    notes = []
    if kind == "BMP" and (kept.icc or kept.exif):
        kept = replace(kept, icc=None, exif=None)
        notes.append("BMP holds neither colour profile nor Exif, which are left out")
    if kind == "JPEG" and len(kept.exif or b"") > JPEG_EXIF:
        kept = replace(kept, exif=None)
        notes.append("its Exif is larger than JPEG holds (64 KB) and is left out")
    if kind == "WEBP" and kept.icc and not fits(kept.icc, 3):
        kept = replace(kept, icc=None)  # WebP has no grey
        notes.append("WebP holds no profile of a grey image, which is left out")
    if kind != "PNG" and (kept.gamma or kept.chromaticity):
        kept = replace(kept, gamma=None, chromaticity=None)
        notes.append("only PNG holds its gAMA and cHRM, which are left out: colours may look other")
    return replace(kept, notes=(*kept.notes, *notes))


def _encode(
    file: BinaryIO,
    kind: str,
    size: tuple[int, int],
    bands: Iterable[np.ndarray],
    like: ImageData,
    quality: int,
) -> None:
    metadata = _fitted(kind, like)
    channels = like.pixels.shape[2]
    if kind in ("PNG", "TIFF"):
        write = write_png if kind == "PNG" else write_tiff
        write(file, size, channels, like.bits, bands, metadata)
        return
    pixels = np.concatenate(list(bands))
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    options: dict[str, Any] = {} if kind == "BMP" else {"quality": quality}
    if kind == "JPEG":
        options["subsampling"] = 0
    if metadata.icc:
        options["icc_profile"] = metadata.icc
    if metadata.exif:
        options["exif"] = metadata.exif
    whole = io.BytesIO()
    image.save(whole, kind, **options)
    file.write(whole.getvalue())

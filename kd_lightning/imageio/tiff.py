"""Write baseline TIFF (TIFF 6.0), zlib-compressed, from bands of rows.

Pillow's writer takes no Exif directory together with compression, and needs the whole image.
"""

import zlib
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from kd_lightning.imageio.metadata import EXIF_IFD, GPS_IFD, Metadata, verbatim
from kd_lightning.imageio.png import rows_of

STRIP = 1 << 20  # bytes of pixels in a strip
ROWS = 278  # tag RowsPerStrip


def write_tiff(
    file: BinaryIO,
    size: tuple[int, int],
    channels: int,
    bits: int,
    bands: Iterable[np.ndarray],
    metadata: Metadata,
) -> None:
    """Write an image of `size` (height, width) that arrives as bands (rows, width, channels) of
    uint8 or uint16; compressed strips are held until the end.

    Raises:
        ValueError: the bands do not add up to the announced height.
    """
    height, width = size
    rows = max(1, STRIP // (width * channels * bits // 8))
    strips = [_packed(strip) for strip in rows_of(bands, rows, height)]
    tags = ImageFileDirectory_v2()
    exif = Image.Exif()
    exif.load(metadata.exif or b"")
    for tag, value in exif.items():
        tags[tag] = verbatim(exif.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else value)
    tags[256], tags[257] = width, height
    tags[258] = (bits,) * channels
    tags[259] = 8  # compression: zlib
    tags[262] = 1 if channels < 3 else 2  # black is zero, or RGB
    tags[277], tags[284], tags[317] = channels, 1, 2  # interleaved, horizontal differences
    tags[ROWS] = rows
    if channels in (2, 4):
        tags[338] = 2  # the last channel is alpha, not premultiplied
    if metadata.icc:
        tags[34675] = metadata.icc
    tags.tagtype[273] = tags.tagtype[279] = 4  # LONG
    lengths = [len(strip) for strip in strips]
    tags[279] = tuple(lengths)
    # From the end of the directory, which the writer adds.
    tags[273] = tuple(sum(lengths[:number]) for number in range(len(lengths)))
    tags.save(file)
    for strip in strips:
        file.write(strip)


def _packed(strip: np.ndarray) -> bytes:
    """Horizontal differences (TIFF 6.0, section 14), compressed."""
    lines = strip.astype("<u2") if strip.dtype == np.uint16 else strip.copy()
    lines[:, 1:] -= strip[:, :-1].astype(lines.dtype)
    return zlib.compress(lines.tobytes())

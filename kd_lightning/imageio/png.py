"""Write PNG row by row (ISO/IEC 15948), 8 or 16 bits, so that a large image need not be held.

Pillow writes no 16-bit colour, and needs the whole image at four bytes a pixel.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from kd_lightning.imageio.metadata import Metadata

COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # channels: colour type
ROWS = 32  # at a time: choosing filters takes some twenty bytes a sample
LEVEL = 6  # zlib's own default: beyond it, time grows faster than files shrink


def write_png(
    file: BinaryIO,
    size: tuple[int, int],
    channels: int,
    bits: int,
    bands: Iterable[np.ndarray],
    metadata: Metadata,
) -> None:
    """Write an image of `size` (height, width) that arrives as bands of rows, (rows, width,
    channels) uint8 or uint16.

    Raises:
        ValueError: the bands do not add up to the announced height.
    """
    height, width = size
    file.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">IIBBBBB", width, height, bits, COLOUR_TYPE[channels], 0, 0, 0)
    _chunk(file, b"IHDR", header)
    if metadata.icc:
        _chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc))
    if metadata.gamma:
        _chunk(file, b"gAMA", _fixed(metadata.gamma))
    if metadata.chromaticity:
        _chunk(file, b"cHRM", b"".join(map(_fixed, metadata.chromaticity)))
    if metadata.exif:
        _chunk(file, b"eXIf", metadata.exif.removeprefix(b"Exif\0\0"))
    squeeze = zlib.compressobj(LEVEL)
    step = channels * bits // 8
    above = np.zeros(width * step, np.uint8)
    for rows in rows_of(bands, ROWS, height):
        lines = rows.astype(">u2") if bits == 16 else rows
        lines = np.ascontiguousarray(lines).view(np.uint8).reshape(len(rows), -1)
        data = squeeze.compress(_filtered(lines, above, step).tobytes())
        if data:
            _chunk(file, b"IDAT", data)
        above = lines[-1].copy()
    _chunk(file, b"IDAT", squeeze.flush())
    _chunk(file, b"IEND", b"")


def rows_of(bands: Iterable[np.ndarray], count: int, height: int) -> Iterator[np.ndarray]:
    """The same rows, `count` at a time; fewer at the end.

    Raises:
        ValueError: there are not `height` of them.
    """
    rest: np.ndarray | None = None
    written = 0
    for band in bands:
        written += len(band)
        band = band if rest is None else np.concatenate((rest, band))
        whole = len(band) // count * count
        for top in range(0, whole, count):
            yield band[top : top + count]
        rest = band[whole:].copy()
    if written != height:
        raise ValueError(f"{written} rows written, {height} announced")
    if rest is not None and len(rest):
        yield rest


def _fixed(value: float) -> bytes:
    """A number of gAMA and cHRM: hundred-thousandths."""
    return struct.pack(">I", min(0xFFFFFFFF, max(0, round(value * 100_000))))


def _chunk(file: BinaryIO, name: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + name + data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(name))))


def _filtered(lines: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """Each row behind its filter byte: the filter with the smallest sum of absolute differences
    (the standard's own heuristic, section 12.8) of none, left, up and Paeth."""
    up = np.vstack((above, lines[:-1]))
    left = np.zeros_like(lines)
    left[:, step:] = lines[:, :-step]
    corner = np.zeros_like(lines)
    corner[:, step:] = up[:, :-step]
    best = lines.copy()
    choice = np.zeros(len(lines), np.uint8)
    least = _effort(lines)
    for number, guess in ((1, left), (2, up), (4, _paeth(left, up, corner))):
        residue = lines - guess
        effort = _effort(residue)
        better = effort < least
        best[better] = residue[better]
        choice[better] = number
        least = np.minimum(effort, least)
    return np.column_stack((choice, best))


def _effort(residue: np.ndarray) -> np.ndarray:
    return np.minimum(residue, np.negative(residue)).sum(axis=1, dtype=np.int64)


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    a, b, c = (plane.astype(np.int16) for plane in (left, up, corner))
    far_a, far_b, far_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    return np.where((far_a <= far_b) & (far_a <= far_c), left, np.where(far_b <= far_c, up, corner))

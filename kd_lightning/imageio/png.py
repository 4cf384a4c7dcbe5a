"""Write PNG row by row (ISO/IEC 15948), 8 or 16 bits, so that a large picture need not be held.

Pillow writes no 16-bit colour, and needs the whole picture at four bytes a pixel.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # channels: colour type
ROWS = 32
LEVEL = 6  # zlib's own default: beyond it, time grows faster than files shrink


def write_png(
    file: BinaryIO,
    width: int,
    height: int,
    channels: int,
    bits: int,
    bands: Iterable[np.ndarray],
    icc: bytes | None = None,
    exif: bytes | None = None,
) -> None:
    """Write a picture that arrives as bands of rows, (rows, width, channels) uint8 or uint16.

    Raises:
        ValueError: the bands do not add up to the announced height.
    """
    file.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">IIBBBBB", width, height, bits, COLOUR_TYPE[channels], 0, 0, 0)
    _chunk(file, b"IHDR", header)
    if icc:
        _chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
    if exif:
        _chunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    squeeze = zlib.compressobj(LEVEL)
    step = channels * bits // 8
    above = np.zeros(width * step, np.uint8)
    rows = 0
    for band in _split(bands):
        lines = band.astype(">u2") if bits == 16 else band
        lines = np.ascontiguousarray(lines).view(np.uint8).reshape(len(band), -1)
        data = squeeze.compress(_filtered(lines, above, step).tobytes())
        if data:
            _chunk(file, b"IDAT", data)
        above = lines[-1].copy()
        rows += len(lines)
    if rows != height:
        raise ValueError(f"{rows} rows written, {height} announced")
    _chunk(file, b"IDAT", squeeze.flush())
    _chunk(file, b"IEND", b"")


def _split(bands: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Few rows at a time: choosing filters takes some twenty bytes a sample."""
    for band in bands:
        for top in range(0, len(band), ROWS):
            yield band[top : top + ROWS]


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

"""How the pixels of a stored image lie in its file: in vertical strips.

A crop of 128 rows from an array in row order touches 128 places, in nearly every page of the rows'
whole width. In strips of 128 columns it is two runs of bytes, of which the system can be told
beforehand: that is worth twice the crops per second where the disk must be read
(experiments/benchmark/data).
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from kd_lightning.imageio.strict import Pixels

WIDTH = 128  # pixels of a strip; the last one of an image may be narrower
Shape = tuple[int, int, int]
Place = tuple[slice, slice]


def to_strips(image: Pixels) -> Pixels:
    """The bytes of `image` (H, W, 3), strip after strip, each in row order."""
    columns = range(0, image.shape[1], WIDTH)
    return np.concatenate([image[:, x : x + WIDTH].reshape(-1) for x in columns])


class Strips:
    """An image (H, W, 3) whose bytes `data` (H*W*3) lie in strips. A place in it is two
    slices with start and stop: rows and columns."""

    def __init__(self, data: Pixels, shape: Shape, mapping: mmap.mmap | None = None) -> None:
        self.shape = shape
        self._data, self._mapping = data, mapping

    @classmethod
    def of(cls, image: Pixels) -> Self:
        """`image` (H, W, 3) in memory."""
        height, width, channels = image.shape
        return cls(to_strips(image), (height, width, channels))

    @classmethod
    def map(cls, path: str | Path, offset: int, shape: Shape) -> Self:
        """What `path` holds behind its first `offset` bytes, memory-mapped, read-only."""
        with open(path, "rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return cls(np.frombuffer(mapping, np.uint8, offset=offset), shape, mapping)

    def __getitem__(self, place: Place) -> Pixels:
        rows, columns = place
        image = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
        self.copy(place, image)
        return image

    def copy(self, place: Place, image: Pixels) -> None:
        """Write what lies at `place` into `image`, which has its size."""
        rows, columns = place
        for start, stop in self._strips(columns):
            left = start - start % WIDTH
            inside = self._strip(left)[rows, start - left : stop - left]
            image[:, start - columns.start : stop - columns.start] = inside

    def whole(self) -> Pixels:
        """The image (H, W, 3), a copy."""
        height, width, _ = self.shape
        return self[0:height, 0:width]

    def prefetch(self, place: Place) -> None:
        """Have the system start to read what lies at `place`; does not wait."""
        if self._mapping is None or not hasattr(mmap, "MADV_WILLNEED"):
            return
        rows, columns = place
        before = len(self._mapping) - len(self._data)
        height, width, _ = self.shape
        for start, _ in self._strips(columns):
            left = start - start % WIDTH
            row = 3 * min(WIDTH, width - left)
            first = before + 3 * left * height + rows.start * row
            page = first - first % mmap.PAGESIZE
            length = first + (rows.stop - rows.start) * row - page
            self._mapping.madvise(mmap.MADV_WILLNEED, page, length)

    def _strips(self, columns: slice) -> Iterator[tuple[int, int]]:
        """The parts (start, stop) of `columns`, one in each strip."""
        start = columns.start
        while start < columns.stop:
            stop = min(columns.stop, start - start % WIDTH + WIDTH)
            yield start, stop
            start = stop

    def _strip(self, left: int) -> Pixels:
        """The strip that begins at column `left`, (H, its width, 3), a view."""
        height, width, _ = self.shape
        columns = min(WIDTH, width - left)
        begin = 3 * left * height
        return self._data[begin : begin + 3 * columns * height].reshape(height, columns, 3)

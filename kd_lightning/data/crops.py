"""Random aligned crops: drawn as a pure function of (seed, index), cut on the CPU, finished on the
device.

What travels from a worker to the device is uint8: the LR window (the LR crop with the margin that
the interpolation needs), the HR and teacher crops, and per sample the crop's place inside the
window and one of the eight flips and rotations.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kd_lightning.data.images import Pixels
from kd_lightning.models.interpolate import KERNEL_RADIUS, upscale

Batch = dict[str, Tensor]


class Crop(NamedTuple):
    """One draw: image number, top left corner of the LR crop, op (bits: flip x, flip y, swap)."""

    image: int
    y: int
    x: int
    op: int


class CropGeometry:
    """The sizes of crops at one scale. All in pixels: `lr`, `hr` (crop sides), `margin`, `window`.

    `hr` is `crop_size` cut to a multiple of `scale`.
    """

    def __init__(self, crop_size: int, scale: int) -> None:
        self.scale = scale
        self.lr = crop_size // scale
        self.hr = self.lr * scale
        self.margin = KERNEL_RADIUS if scale > 1 else 0
        self.window = self.lr + 2 * self.margin

    def corner(self, position: int, length: int) -> int:
        """Where the window of a crop at `position` begins in an LR image of side `length`.

        At the image's border the window is shifted inside: there the interpolation sees the
        border, as it does in the whole image.
        """
        return min(max(position - self.margin, 0), length - self.window)


class CropDraws:
    """The crop of every sample index: images by area, positions and ops uniformly.

    A pure function of `seed` and the index (Philox, a counter-based generator), so that it does
    not matter who draws a sample, when, or after which others.

    Args:
        sizes: (height, width) of each LR image, each at least the window.
    """

    def __init__(
        self, sizes: Sequence[tuple[int, int]], geometry: CropGeometry, seed: int, augment: bool
    ) -> None:
        self._sizes = np.array(sizes, np.int64)
        self._ends = np.cumsum(self._sizes.prod(axis=1))
        self._crop = geometry.lr
        self._seed = seed
        self._ops = 8 if augment else 1

    def __call__(self, index: int) -> Crop:
        key = np.array([self._seed, index], np.uint64)
        image, y, x, op = np.random.Generator(np.random.Philox(key=key)).random(4)
        number = int(np.searchsorted(self._ends, image * self._ends[-1], side="right"))
        height, width = self._sizes[number] - self._crop + 1
        return Crop(number, int(y * height), int(x * width), int(op * self._ops))


class Images(NamedTuple):
    """The arrays (H, W, 3) of one image; memory-mapped ones are read only where they are cut."""

    lr: Pixels
    hr: Pixels
    teacher: Pixels | None


def cut(images: Callable[[int], Images], crops: Sequence[Crop], geometry: CropGeometry) -> Batch:
    """The uint8 arrays of `crops`: "window" (B,w,w,3), "hr" and "teacher" (B,H,H,3), and int64
    "place" (B,2), the crop's corner inside its window, and "op" (B).
    """
    count, scale = len(crops), geometry.scale
    window = np.empty((count, geometry.window, geometry.window, 3), np.uint8)
    hr = np.empty((count, geometry.hr, geometry.hr, 3), np.uint8)
    teacher = np.empty_like(hr)
    place = np.empty((count, 2), np.int64)
    has_teacher = True
    for n, crop in enumerate(crops):
        source = images(crop.image)
        top = geometry.corner(crop.y, source.lr.shape[0])
        left = geometry.corner(crop.x, source.lr.shape[1])
        window[n] = source.lr[top : top + geometry.window, left : left + geometry.window]
        place[n] = crop.y - top, crop.x - left
        rows = slice(crop.y * scale, crop.y * scale + geometry.hr)
        columns = slice(crop.x * scale, crop.x * scale + geometry.hr)
        hr[n] = source.hr[rows, columns]
        if source.teacher is None:
            has_teacher = False
        else:
            teacher[n] = source.teacher[rows, columns]
    arrays = {"window": window, "hr": hr, "place": place}
    if has_teacher:
        arrays["teacher"] = teacher
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    batch["op"] = torch.tensor([crop.op for crop in crops])
    return batch


def finish(batch: Batch, geometry: CropGeometry) -> Batch:
    """The triplets of `cut`'s arrays, on the arrays' device: floats in [0, 1], "lr" (B,3,h,h),
    "bicubic", "hr" and, where there is one, "teacher" (B,3,H,H), every sample turned by its op.

    The bicubic crop equals the same crop of the whole interpolated image.
    """
    op = batch["op"]
    # Turned while it is uint8, which is a quarter of the bytes.
    window = to_float(_turn(batch["window"], op))
    place = _turn_place(batch["place"], op, geometry.window - geometry.lr)
    enlarged = upscale(window, geometry.scale)
    triplets = {
        "lr": _crops(window, place, geometry.lr),
        "bicubic": _crops(enlarged, place * geometry.scale, geometry.hr).clamp_(0, 1),
    }
    for name in ("hr", "teacher"):
        if name in batch:
            triplets[name] = to_float(_turn(batch[name], op))
    return triplets


def to_float(pixels: Tensor) -> Tensor:
    """uint8 (B,H,W,3) to float (B,3,H,W) in [0, 1], contiguous."""
    return pixels.permute(0, 3, 1, 2).contiguous().float().div_(255)


def _crops(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """From each of `images` (B,C,H,W) the square of `side` at its own corner (B,2: y, x)."""
    span = torch.arange(side, device=images.device)
    number = torch.arange(len(images), device=images.device)[:, None, None]
    rows = (corners[:, 0, None] + span)[:, :, None]
    columns = (corners[:, 1, None] + span)[:, None, :]
    # Indexing with a slice between index arrays puts the channels last.
    return images[number, :, rows, columns].permute(0, 3, 1, 2).contiguous()


def _turn(images: Tensor, op: Tensor) -> Tensor:
    """Each of the square `images` (B,H,H,C) flipped in x, y and transposed as its op's bits say."""
    op = op[:, None, None, None]
    images = torch.where(op & 1 > 0, images.flip(2), images)
    images = torch.where(op & 2 > 0, images.flip(1), images)
    return torch.where(op & 4 > 0, images.transpose(1, 2), images)


def _turn_place(place: Tensor, op: Tensor, last: int) -> Tensor:
    """Where `_turn` takes a corner (B,2: y, x) that can be between 0 and `last`."""
    y, x = place.unbind(1)
    x = torch.where(op & 1 > 0, last - x, x)
    y = torch.where(op & 2 > 0, last - y, y)
    place = torch.stack([y, x], 1)
    return torch.where(op[:, None] & 4 > 0, place.flip(1), place)

"""Random aligned crops: drawn as a pure function of (seed, index), cut on the CPU, finished on the
device.

What travels from a worker to the device is uint8: the LR window (the LR crop with the margin that
the interpolation needs), the HR and teacher crops, and per sample the crop's place inside the
window and one of the eight flips and rotations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kd_lightning.data.strips import Place, Strips
from kd_lightning.models.interpolate import KERNEL_RADIUS, upscale, upscale_crops

Batch = dict[str, Tensor]


class Crop(NamedTuple):
    """One draw: image number, top left corner of the LR crop, op (bits: flip x, flip y, swap)."""

    image: int
    y: int
    x: int
    op: int


class Places(NamedTuple):
    """Where a sample lies: the LR window, and the HR and teacher crop."""

    window: Place
    crop: Place


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

    def packed(self, with_teacher: bool) -> int:
        """Bytes of a sample as `cut` packs it."""
        return 3 + 3 * self.window**2 + (2 if with_teacher else 1) * 3 * self.hr**2

    def corner(self, position: int, length: int) -> int:
        """Where the window of a crop at `position` begins in an LR image of side `length`.

        At the image's border the window is shifted inside: there the interpolation sees the
        border, as it does in the whole image.
        """
        return min(max(position - self.margin, 0), length - self.window)

    def places(self, draw: Crop, lr_size: tuple[int, ...]) -> Places:
        """Where `draw` lies in an image whose LR array has this shape."""
        top, left = self.corner(draw.y, lr_size[0]), self.corner(draw.x, lr_size[1])
        y, x = draw.y * self.scale, draw.x * self.scale
        return Places(
            (slice(top, top + self.window), slice(left, left + self.window)),
            (slice(y, y + self.hr), slice(x, x + self.hr)),
        )


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


class Crops(NamedTuple):
    """Crops of a batch, uint8: LR windows (B,w,w,3), HR and teacher crops (B,H,H,3), the crop's
    corner inside its window (B,2: y, x) and its op (B).
    """

    window: Tensor
    hr: Tensor
    teacher: Tensor | None
    place: Tensor
    op: Tensor


class Images(NamedTuple):
    """The arrays (H, W, 3) of one image; memory-mapped ones are read only where they are cut."""

    lr: Strips
    hr: Strips
    teacher: Strips | None

    def prefetch(self, places: Places) -> None:
        """Have the system start to read what a sample there needs."""
        self.lr.prefetch(places.window)
        self.hr.prefetch(places.crop)
        if self.teacher is not None:
            self.teacher.prefetch(places.crop)


def cut(images: Callable[[int], Images], draws: Sequence[Crop], geometry: CropGeometry) -> Tensor:
    """The crops of `draws`, packed as uint8 (B, bytes): see `unpack`.

    One tensor, since each one that a worker hands over costs about as much as cutting a crop.
    """
    with_teacher = images(draws[0].image).teacher is not None
    packed = torch.empty((len(draws), geometry.packed(with_teacher)), dtype=torch.uint8)
    crops = unpack(packed, geometry)
    places, ops = crops.place.numpy(), crops.op.numpy()
    windows, hr = crops.window.numpy(), crops.hr.numpy()
    teacher = None if crops.teacher is None else crops.teacher.numpy()
    sources = [images(draw.image) for draw in draws]
    found = [geometry.places(d, source.lr.shape) for d, source in zip(draws, sources, strict=True)]
    for source, at in zip(sources, found, strict=True):
        source.prefetch(at)  # for the whole batch, before the first wait for a disk
    for n, (draw, source, at) in enumerate(zip(draws, sources, found, strict=True)):
        rows, columns = at.window
        source.lr.copy(at.window, windows[n])
        places[n] = draw.y - rows.start, draw.x - columns.start
        ops[n] = draw.op
        source.hr.copy(at.crop, hr[n])
        if teacher is not None and source.teacher is not None:
            source.teacher.copy(at.crop, teacher[n])
    return packed


def unpack(packed: Tensor, geometry: CropGeometry) -> Crops:
    """Views of what `cut` packs: of each sample its place and op, window, HR and teacher crop."""
    with_teacher = packed.shape[1] == geometry.packed(with_teacher=True)
    sides = [geometry.window, geometry.hr, *([geometry.hr] if with_teacher else [])]
    head, *images = packed.split([3, *(3 * side**2 for side in sides)], 1)
    window, hr, *teacher = (
        image.unflatten(1, (side, side, 3)) for image, side in zip(images, sides, strict=True)
    )
    return Crops(window, hr, teacher[0] if teacher else None, head[:, :2], head[:, 2])


def finish(crops: Crops, geometry: CropGeometry) -> Batch:
    """The triplets of `crops`, on their device: floats in [0, 1], "lr" (B,3,h,h), "bicubic", "hr"
    and, where there is one, "teacher" (B,3,H,H), every sample turned by its op.

    The bicubic crop equals the same crop of the whole interpolated image.
    """
    op = crops.op
    # Turned while it is uint8, which is a quarter of the bytes.
    window = to_float(_turn(channels_first(crops.window), op))
    place = _turn_place(crops.place.long(), op, geometry.window - geometry.lr)
    enlarge = upscale_crops if window.device.type == "cpu" else upscale
    enlarged = enlarge(window, geometry.scale)
    triplets = {
        "lr": _crops(window, place, geometry.lr),
        "bicubic": _crops(enlarged, place * geometry.scale, geometry.hr).clamp_(0, 1),
        "hr": to_float(_turn(channels_first(crops.hr), op)),
    }
    if crops.teacher is not None:
        triplets["teacher"] = to_float(_turn(channels_first(crops.teacher), op))
    return triplets


def channels_first(pixels: Tensor) -> Tensor:
    """(B,H,W,3) to (B,3,H,W), contiguous."""
    return pixels.permute(0, 3, 1, 2).contiguous()


def to_float(images: Tensor) -> Tensor:
    """uint8 to float in [0, 1]."""
    return images.float().div_(255)


# On a CPU a copy for each sample is several times faster than indexing or masking the batch; on a
# GPU it would be hundreds of kernels, and reading `op` there would wait for it.


def _crops(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """From each of `images` (B,C,H,W) the square of `side` at its own corner (B,2: y, x)."""
    if images.device.type != "cpu":
        return _crops_at_once(images, corners, side)
    pairs = zip(images, corners.tolist(), strict=True)
    return torch.stack([image[:, y : y + side, x : x + side] for image, (y, x) in pairs])


def _crops_at_once(images: Tensor, corners: Tensor, side: int) -> Tensor:
    span = torch.arange(side, device=images.device)
    number = torch.arange(len(images), device=images.device)[:, None, None]
    rows = (corners[:, 0, None] + span)[:, :, None]
    columns = (corners[:, 1, None] + span)[:, None, :]
    # Indexing with a slice between index arrays puts the channels last.
    return images[number, :, rows, columns].permute(0, 3, 1, 2).contiguous()


def _turn(images: Tensor, op: Tensor) -> Tensor:
    """Each of the square `images` (B,C,H,H) flipped in x, y and transposed as its op's bits say."""
    if images.device.type != "cpu":
        return _turn_at_once(images, op)
    turned = []
    for image, bits in zip(images, op.tolist(), strict=True):
        image = image.flip(2) if bits & 1 else image
        image = image.flip(1) if bits & 2 else image
        turned.append(image.transpose(1, 2) if bits & 4 else image)
    return torch.stack(turned)


def _turn_at_once(images: Tensor, op: Tensor) -> Tensor:
    op = op[:, None, None, None]
    images = torch.where(op & 1 > 0, images.flip(3), images)
    images = torch.where(op & 2 > 0, images.flip(2), images)
    return torch.where(op & 4 > 0, images.transpose(2, 3), images)


def _turn_place(place: Tensor, op: Tensor, last: int) -> Tensor:
    """Where `_turn` takes a corner (B,2: y, x) that can be between 0 and `last`."""
    y, x = place.unbind(1)
    x = torch.where(op & 1 > 0, last - x, x)
    y = torch.where(op & 2 > 0, last - y, y)
    place = torch.stack([y, x], 1)
    return torch.where(op[:, None] & 4 > 0, place.flip(1), place)

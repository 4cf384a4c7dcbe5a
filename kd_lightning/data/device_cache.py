"""The whole training store in the device's memory: crops are gathered where they are used.

For a GPU that a tiny student would otherwise leave idle. DIV2K's HR, LR x2 and teacher images take
about 15.5 GB as uint8.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from kd_lightning.data.crops import Batch, CropDraws, CropGeometry, Crops
from kd_lightning.data.datasets import StoredImage
from kd_lightning.data.disk import gigabytes
from kd_lightning.data.store import StoredArray
from kd_lightning.errors import UserError


class CropPlaces(Dataset[Batch]):
    """The draws alone, int64 (B): "image", "y", "x", "op"; `DeviceCache.cut` does the rest."""

    def __init__(self, draws: CropDraws) -> None:
        self._draws = draws

    def __getitem__(self, indices: list[int]) -> Batch:
        crops = torch.tensor([self._draws(index) for index in indices])
        return dict(zip(("image", "y", "x", "op"), crops.unbind(1), strict=True))


class DeviceCache:
    """The arrays of `items` on `device`.

    Raises:
        UserError: they do not fit in its free memory.
    """

    def __init__(
        self, items: Sequence[StoredImage], geometry: CropGeometry, device: torch.device
    ) -> None:
        arrays: dict[str, list[StoredArray]] = {
            "lr": [item.lr for item in items],
            "hr": [item.hr for item in items],
        }
        teachers = [item.teacher for item in items if item.teacher is not None]
        if len(teachers) == len(items):
            arrays["teacher"] = teachers
        self._geometry = geometry
        # Versions of one image share its HR array.
        unique = {name: list(dict.fromkeys(stored)) for name, stored in arrays.items()}
        _require_memory(unique, device)
        self._pixels = {name: _pixels(stored, device) for name, stored in unique.items()}
        self._sizes = torch.tensor([item.lr.shape[:2] for item in items], device=device)
        self._starts = {
            name: torch.tensor(_starts(stored, unique[name]), device=device)
            for name, stored in arrays.items()
        }

    def cut(self, places: Batch) -> Crops:
        """What `crops.cut` packs for the same draws, on the device."""
        geometry, image = self._geometry, places["image"]
        corners = torch.stack([places["y"], places["x"]], 1)
        limits = self._sizes[image] - geometry.window
        windows = torch.minimum((corners - geometry.margin).clamp(min=0), limits)
        return Crops(
            window=self._crops("lr", image, windows, 1, geometry.window),
            hr=self._crops("hr", image, corners, geometry.scale, geometry.hr),
            teacher=self._crops("teacher", image, corners, geometry.scale, geometry.hr)
            if "teacher" in self._pixels
            else None,
            place=corners - windows,
            op=places["op"],
        )

    def _crops(self, name: str, image: Tensor, corners: Tensor, scale: int, side: int) -> Tensor:
        """(B, side, side, 3) at `corners` (LR pixels; `scale` is this array's size over LR's)."""
        span = torch.arange(side, device=corners.device)
        rows = corners[:, 0, None] * scale + span
        columns = corners[:, 1, None] * scale + span
        starts = self._starts[name][image]
        widths = self._sizes[image, 1] * scale
        index = starts[:, None, None] + rows[:, :, None] * widths[:, None, None]
        return self._pixels[name][index + columns[:, None, :]]


def _starts(stored: Sequence[StoredArray], unique: Sequence[StoredArray]) -> list[int]:
    """Where each of `stored` begins in the pixels of `unique`, which lie one after the other."""
    sizes = [array.shape[0] * array.shape[1] for array in unique]
    start = dict(zip(unique, itertools.accumulate(sizes, initial=0), strict=False))
    return [start[array] for array in stored]


def _pixels(stored: Sequence[StoredArray], device: torch.device) -> Tensor:
    """All pixels of all images, one after the other: uint8 (N, 3)."""
    sizes = [array.shape[0] * array.shape[1] for array in stored]
    pixels = torch.empty((sum(sizes), 3), dtype=torch.uint8, device=device)
    for array, part in zip(stored, pixels.split(sizes), strict=True):
        part.copy_(torch.from_numpy(array.read()).view(-1, 3))
    return pixels


def _require_memory(arrays: dict[str, list[StoredArray]], device: torch.device) -> None:
    if device.type != "cuda":
        return
    free, _ = torch.cuda.mem_get_info(device)
    need = sum(3 * a.shape[0] * a.shape[1] for stored in arrays.values() for a in stored)
    if need > free:
        raise UserError(
            f"data.device_cache=true needs {gigabytes(need)} on {device}, {gigabytes(free)} are "
            "free; set it to false, or data.subset=... to fewer images"
        )

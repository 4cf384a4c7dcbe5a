"""What the loaders read: stored images, memory-mapped where they are used, and the sample order."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from kd_lightning.data.crops import Batch, CropDraws, CropGeometry, Images, cut
from kd_lightning.data.store import StoredArray
from kd_lightning.data.strips import Strips
from kd_lightning.data.triplets import Triplets

log = logging.getLogger(__name__)

OPEN_ARRAYS = 12288  # kept memory-mapped per process; Linux allows 65,530 mappings


def open_arrays() -> int:
    """How many arrays may stay open: each takes one of the file descriptors that the system allows
    (often 1,024), half of which are left to others."""
    try:
        import resource
    except ImportError:  # Windows
        return OPEN_ARRAYS
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OPEN_ARRAYS if allowed < 0 else max(3, min(OPEN_ARRAYS, allowed // 2))


class StoredImage(NamedTuple):
    """Where the arrays of one image lie."""

    stem: str
    lr: StoredArray
    hr: StoredArray
    teacher: StoredArray | None

    def open(self, array: Callable[[StoredArray], Strips] = StoredArray.open) -> Images:
        """The arrays, each as `array` opens it."""
        teacher = array(self.teacher) if self.teacher else None
        return Images(array(self.lr), array(self.hr), teacher)


def stored_images(triplets: Triplets, stems: Sequence[str]) -> list[StoredImage]:
    """The prepared images of `stems`, each version of an LR image as one of its own."""
    images = []
    for stem in stems:
        names, outputs = triplets.lr.names(stem), triplets.output_names(stem)
        for number, name in enumerate(names):
            teacher = None
            if triplets.teacher is not None:  # one output for all versions, or one for each
                teacher = triplets.teacher.stored(outputs[number % len(outputs)])
            lr, hr = triplets.lr.store.stored(name), triplets.hr.stored(stem)
            images.append(StoredImage(stem, lr, hr, teacher))
    return images


class StoredImages:
    """The arrays of image number n, memory-mapped on first use in each process."""

    def __init__(self, items: Sequence[StoredImage]) -> None:
        self._items = items
        self._limit = open_arrays()
        self._open: dict[str, Strips] = {}

    def __call__(self, number: int) -> Images:
        return self._items[number].open(self._array)

    def _array(self, stored: StoredArray) -> Strips:
        """Versions of one image share its HR array."""
        array = self._open.get(stored.path)
        if array is None:
            if len(self._open) >= self._limit:
                self._open.clear()
            array = self._open[stored.path] = stored.open()
        return array

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # a pickled map would be the pixels


class WholeImages(Dataset[dict[str, Any]]):
    """Whole images as uint8 (1,H,W,3) tensors, with their stem."""

    def __init__(self, items: Sequence[StoredImage]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> dict[str, Any]:
        item = self._items[number]
        arrays = item.open()._asdict()
        tensors = {n: torch.from_numpy(a.whole())[None] for n, a in arrays.items() if a is not None}
        return {**tensors, "stem": [item.stem]}


class CropDataset(Dataset[Batch]):
    """Batches of uint8 crops by lists of global sample indices; `finish` makes triplets of them.

    Args:
        images: the arrays by image number, as in the `sizes` of `draws`.
    """

    def __init__(self, images: Callable[[int], Images], draws: CropDraws, geometry: CropGeometry):
        self._images, self._draws, self._geometry = images, draws, geometry

    def __getitem__(self, indices: list[int]) -> Batch:
        return {
            "crops": cut(self._images, [self._draws(index) for index in indices], self._geometry)
        }


class EpochBatches(Sampler[list[int]]):
    """The global sample indices of each batch of this rank.

    Batch b of epoch e holds, of rank r among n, e*samples + (b*size + k)*n + r for k in 0..size-1.
    `start` skips the batches of the first epoch that a resumed run has behind it; `len` is the
    whole epoch's, as Lightning's progress counts it.
    """

    def __init__(
        self,
        samples: int,
        size: int,
        *,
        rank: int = 0,
        world: int = 1,
        epoch: int = 0,
        start: int = 0,
    ) -> None:
        self._samples, self._size, self._rank, self._world = samples, size, rank, world
        self.epoch, self.start = epoch, start

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch, a resumed one included."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __len__(self) -> int:
        return self._samples // (self._size * self._world)

    def __iter__(self) -> Iterator[list[int]]:
        first = self.epoch * self._samples + self._rank
        for batch in range(self.start, len(self)):
            begin = batch * self._size
            yield [first + (begin + k) * self._world for k in range(self._size)]


class CropLoader(DataLoader[Batch]):
    """A loader that a resumed run may continue in the middle of an epoch.

    Its place is Lightning's progress, read in `TripletDataModule`; the state says only which
    stream of samples it is the place in.
    """

    def state_dict(self) -> dict[str, Any]:
        return {"batches": len(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state != self.state_dict():
            log.warning(
                "resumed with %s batches an epoch where the checkpoint has %s: the order of the "
                "data is another one than without the stop",
                len(self),
                state.get("batches"),
            )

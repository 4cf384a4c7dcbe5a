"""What the loaders read: stored images, memory-mapped where they are used, and the sample order."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from kd_lightning.data.crops import Batch, CropDraws, CropGeometry, Images, cut
from kd_lightning.data.store import StoredArray
from kd_lightning.data.strips import Strips
from kd_lightning.data.triplets import Triplets
from kd_lightning.errors import UserError

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
    `len` is the whole epoch's, as Lightning's progress counts it.

    Args:
        samples: of an epoch, over all ranks.
        size: samples of a batch of one rank.
        rank, world: this process among all.
        epoch: the epoch to begin with.
        place: where the iteration that begins now starts, as (epoch, batch); asked when the first
            batch is read, since loaders are built before a resumed run has restored its progress.
    """

    def __init__(
        self,
        samples: int,
        size: int,
        *,
        rank: int = 0,
        world: int = 1,
        epoch: int = 0,
        place: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._samples, self._size, self._rank, self._world = samples, size, rank, world
        self.epoch, self._place = epoch, place

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch, a resumed one included."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._samples // (self._size * self._world)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, start = self._place() if self._place else (self.epoch, 0)
        first = epoch * self._samples + self._rank
        for batch in range(start, len(self)):
            begin = batch * self._size
            yield [first + (begin + k) * self._world for k in range(self._size)]


class CropLoader(DataLoader[Batch]):
    """A loader that a resumed run may continue in the middle of an epoch.

    Its place is Lightning's progress, which `EpochBatches` asks for; its state says only which
    stream of samples it is the place in.

    Args:
        images: identifies the images that the crops are cut from.
    """

    def __init__(self, *args: Any, images: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._images = images

    def __iter__(self) -> Any:
        """Begins, loader processes and all, when the first batch is read, not before."""
        yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        return {"batches": len(self), "images": self._images}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises UserError where the checkpoint's run had other batches."""
        if state.get("batches") != len(self):
            raise UserError(
                f"ckpt_path: its run has {state.get('batches')} batches an epoch, this one "
                f"{len(self)}; give data.batch_size, data.samples_per_epoch and trainer.devices as "
                "they were, or start a new run from its weights"
            )
        if state.get("images", self._images) != self._images:
            raise UserError(
                "ckpt_path: its run trained on other images than data.train holds now; put them "
                "back, or start a new run from its weights"
            )

"""What the data benchmark compares with: basicsr's paired data, LMDB, litdata (all optional)."""

import contextlib
import io
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from kd_lightning.compat import import_basicsr, patch_torchvision
from kd_lightning.data.datasets import StoredImage
from kd_lightning.data.store import StoredArray
from kd_lightning.imageio.strict import Pixels, write_png

SUB_IMAGE, STEP = 480, 240  # pixels: what BasicSR recommends for DIV2K


def write_sub_images(items: list[StoredImage], folder: Path, scale: int) -> int:
    """Overlapping 480-pixel parts of HR, and of LR alike, as PNG in `HR` and `LR`; their number."""
    count = 0
    for item in items:
        hr, lr = item.hr.read(), item.lr.read()
        for y in _starts(hr.shape[0]):
            for x in _starts(hr.shape[1]):
                name = f"{item.stem.replace('/', '_')}_s{count:04}.png"
                write_png(folder / "HR" / name, hr[y : y + SUB_IMAGE, x : x + SUB_IMAGE])
                rows = slice(y // scale, (y + SUB_IMAGE) // scale)
                columns = slice(x // scale, (x + SUB_IMAGE) // scale)
                write_png(folder / "LR" / name, lr[rows, columns])
                count += 1
    return count


def _starts(length: int) -> list[int]:
    """Where sub-images begin along a side; the last one is moved back to end with the image."""
    starts = list(range(0, max(1, length - SUB_IMAGE + 1), STEP))
    if starts[-1] + SUB_IMAGE < length:
        starts.append(length - SUB_IMAGE)
    return starts


def write_basicsr_lmdb(folder: Path) -> None:
    """`HR.lmdb` and `LR.lmdb` of the sub-images, by basicsr's own tool."""
    import_basicsr()
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    for kind in ("HR", "LR"):
        names = sorted(path.name for path in (folder / kind).iterdir())
        keys = [Path(name).stem for name in names]
        quiet = io.StringIO()
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            make_lmdb_from_imgs(str(folder / kind), str(folder / f"{kind}.lmdb"), names, keys)


def basicsr_pairs(folder: Path, backend: str, crop: int, scale: int) -> Dataset[Any]:
    """basicsr's training pairs of random crops, from `backend` "disk" or "lmdb"."""
    import_basicsr()
    from basicsr.data.paired_image_dataset import PairedImageDataset

    ending = ".lmdb" if backend == "lmdb" else ""
    options = {
        "dataroot_gt": str(folder / f"HR{ending}"),
        "dataroot_lq": str(folder / f"LR{ending}"),
        "io_backend": {"type": backend},
        "gt_size": crop,
        "use_hflip": True,
        "use_rot": True,
        "scale": scale,
        "phase": "train",
    }
    return PairedImageDataset(options)


def pair_loader(dataset: Dataset[Any], batch_size: int, workers: int) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
    )


Place = tuple[int, tuple[slice, slice]]  # image number, rows and columns
Reader = Callable[[list[Place]], list[Pixels]]


@contextlib.contextmanager
def strips_reader(items: list[StoredImage], folder: Path) -> Iterator[Reader]:
    """Our store."""
    images = [item.hr.open() for item in items]

    def read(places: list[Place]) -> list[Pixels]:
        for number, place in places:
            images[number].prefetch(place)
        return [images[number][place] for number, place in places]

    yield read


@contextlib.contextmanager
def rows_reader(items: list[StoredImage], folder: Path) -> Iterator[Reader]:
    """HR arrays in `.npy` files as NumPy writes them, memory-mapped."""
    (folder / "rows").mkdir(exist_ok=True)
    images = []
    for number, item in enumerate(items):
        path = folder / "rows" / f"{number}.npy"
        np.save(path, item.hr.read())
        images.append(np.load(path, mmap_mode="r"))
    yield cutting(images.__getitem__)


@contextlib.contextmanager
def lmdb_reader(items: list[StoredImage], folder: Path) -> Iterator[Reader]:
    """HR arrays, undecoded, in one LMDB file, read without a copy."""
    import lmdb

    size = sum(int(np.prod(item.hr.shape)) for item in items)
    with lmdb.open(str(folder / "raw.lmdb"), map_size=2 * size + 2**20) as environment:
        with environment.begin(write=True) as writing:
            for number, item in enumerate(items):
                writing.put(str(number).encode(), item.hr.read().tobytes())
        with environment.begin(buffers=True) as reading:

            def whole(number: int) -> Pixels:
                stored = reading.get(str(number).encode())
                assert stored is not None  # written above
                return np.frombuffer(stored, np.uint8).reshape(items[number].hr.shape)

            yield cutting(whole)


@contextlib.contextmanager
def litdata_reader(items: list[StoredImage], folder: Path) -> Iterator[Reader]:
    """HR arrays, undecoded, in litdata's chunks."""
    patch_torchvision()
    import litdata

    stored = [item.hr for item in items]
    litdata.optimize(
        _litdata_item, stored, str(folder / "litdata"), chunk_bytes="64MB", num_workers=1
    )
    dataset = litdata.StreamingDataset(str(folder / "litdata"))
    yield cutting(lambda number: dataset[number]["hr"])


def _litdata_item(stored: StoredArray) -> dict[str, Pixels]:
    return {"hr": stored.read()}


def cutting(whole: Callable[[int], Pixels]) -> Reader:
    """Reads crops out of what `whole` returns for an image's number."""
    return lambda places: [whole(number)[place].copy() for number, place in places]


def crops_per_second(
    read: Reader, items: list[StoredImage], crop: int, batch: int, seconds: float, crops: float
) -> float:
    """Random HR crops, in one process, one thread, for `seconds` or until there are `crops`."""
    rng = random.Random(0)

    def draw() -> Place:
        number = rng.randrange(len(items))
        height, width, _ = items[number].hr.shape
        y, x = rng.randrange(height - crop + 1), rng.randrange(width - crop + 1)
        return number, (slice(y, y + crop), slice(x, x + crop))

    count, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds and count < crops:
        count += len(read([draw() for _ in range(batch)]))
    return count / elapsed

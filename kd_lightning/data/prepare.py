"""HR folders to decoded stores: pair, degrade, teacher pass, write. Interrupted runs go on.

The image folders may be read-only; everything is written under the cache folder:
`store/v<format>/<image folder>/<kind and settings>/<stem>.npy`, and `teacher/…` for the teacher's
PNGs.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from filelock import FileLock
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kd_lightning.data.degradations.resizing import crop_to_multiple, multiple, resize
from kd_lightning.data.disk import gigabytes, require_space
from kd_lightning.data.store import Origin
from kd_lightning.data.triplets import Recipe, Triplets
from kd_lightning.errors import UserError
from kd_lightning.files import CACHE_REMEDY, unwritable
from kd_lightning.imageio.strict import Pixels, decode_rgb, pixel_count

log = logging.getLogger(__name__)


def prepare_triplets(triplets: Triplets, stems: Sequence[str], cache: Path, workers: int) -> None:
    """Fill the stores for `stems`, in `workers` threads; what is there already stays.

    Raises:
        UserError: an image or pair that cannot be used, a full disk; nothing half-written stays.
    """
    if not triplets.missing(stems) and all(store.committed for store in triplets.stores):
        return
    home = triplets.hr.folder.parent
    with locked(home):
        for store in triplets.stores:
            store.reload()
        missing = [stem for stem in stems if not triplets.has_pair(stem)]
        if missing:
            _require_space(triplets, missing, cache)
            in_parallel(
                f"{triplets.title}: HR, LR",
                missing,
                workers,
                lambda stem: _store_pair(triplets, stem),
            )
    outputs = triplets.teacher_files or {}
    if not outputs and not all(triplets.has_output(stem) for stem in stems):
        outputs = _teacher_pass(triplets, stems, cache)
    with locked(home):
        for store in triplets.stores:
            store.reload()
        missing = [stem for stem in stems if not triplets.has_output(stem)]
        if missing:
            in_parallel(
                f"{triplets.title}: teacher",
                missing,
                workers,
                lambda stem: _store_outputs(triplets, stem, outputs),
            )
        for store in triplets.stores:
            if not store.committed:
                store.commit()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Exclusive use of `folder`: two jobs of a sweep must not prepare one folder at once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise unwritable(folder, error, CACHE_REMEDY) from None
    try:
        yield
    finally:
        lock.release()


def _teacher_pass(triplets: Triplets, stems: Sequence[str], cache: Path) -> dict[str, Path]:
    from kd_lightning.data.teacher_pass import teacher_outputs  # loads torch: only where it runs

    names = [name for stem in stems for name in triplets.output_names(stem)]
    lr_images = {name: triplets.teacher_lr.store.stored(name) for name in names}
    folder = triplets.teacher_cache(cache)
    # The processes of a torchrun share the pass, so none may keep the others out.
    with nullcontext() if "TORCHELASTIC_RUN_ID" in os.environ else locked(folder):
        return teacher_outputs(triplets.network, lr_images, folder)


def _require_space(triplets: Triplets, stems: Sequence[str], cache: Path) -> None:
    recipe = triplets.recipe
    # Arrays per HR array: itself, LR, teacher, and the teacher's PNG at about half an array.
    lr = sum(images.versions or 1 for images in triplets.lr_images)
    outputs = len(triplets.output_names("")) if triplets.teacher else 0
    share = 1 + lr / recipe.scale**2 + outputs * (1.5 if triplets.network else 1)
    pixels = sum(pixel_count(triplets.files[stem]) for stem in stems)
    need = int(3 * pixels / recipe.downscale**2 * share)
    log.info("%s: %d images, %s under %s", triplets.title, len(stems), gigabytes(need), cache)
    require_space({cache: need}, "free some, or set data.cache_dir=... to a larger disk")


def _store_pair(triplets: Triplets, stem: str) -> None:
    path, recipe = triplets.files[stem], triplets.recipe
    source, data = Origin.read(path)
    need = multiple(recipe.scale) * recipe.downscale
    hr = decode_rgb(data, path)
    if min(hr.shape[:2]) < need:
        raise UserError(
            f"{path}: {hr.shape[1]}x{hr.shape[0]} pixels is too small for scale={recipe.scale}, "
            f"{need} pixels; remove the image"
        )
    hr = crop_to_multiple(hr, need)
    hr = resize(hr, hr.shape[0] // recipe.downscale, hr.shape[1] // recipe.downscale)
    if not triplets.hr.has(stem, path):
        triplets.hr.put(stem, hr, source)
    for images in triplets.lr_images:
        for version in images.missing(stem, path):
            name = images.names(stem)[version]
            if images.files is None:
                images.store.put(name, images.make(hr, stem, version, recipe.scale), source)
                continue
            lr_path = images.files[stem]
            lr_source, data = Origin.read(lr_path)
            height, width = hr.shape[0] // recipe.scale, hr.shape[1] // recipe.scale
            lr = _fit(decode_rgb(data, lr_path), height, width, lr_path, recipe)
            images.store.put(name, lr, lr_source)


def _store_outputs(triplets: Triplets, stem: str, files: Mapping[str, Path]) -> None:
    for name in triplets.output_names(stem):
        _store_output(triplets, stem, name, files[name])


def _store_output(triplets: Triplets, stem: str, name: str, path: Path) -> None:
    assert triplets.teacher is not None
    recipe = triplets.recipe
    source, data = Origin.read(path)
    try:
        output = decode_rgb(data, path)
    except UserError:
        if triplets.network is None:
            raise
        path.unlink()
        raise UserError(f"{path}: was damaged and is deleted; run again to compute it") from None
    height, width, _ = triplets.hr.entries[stem].shape
    if triplets.network is not None:  # it saw the stored LR image, downscaled already
        source = triplets.lr_identity(name)
    else:
        factor = recipe.downscale
        output = _fit(output, height * factor, width * factor, path, recipe)
        output = resize(output, height, width)
    triplets.teacher.put(name, _fit(output, height, width, path, recipe), source)


def _fit(image: Pixels, height: int, width: int, path: Path, recipe: Recipe) -> Pixels:
    """`image` at the size that its HR image asks for; see `size_mismatch`."""
    have = image.shape[:2]
    if have == (height, width):
        return image
    crop = multiple(recipe.scale) * recipe.downscale
    if 0 <= have[0] - height < crop and 0 <= have[1] - width < crop:
        return image[:height, :width]  # of the HR image before it was cropped to the scale
    message = f"{path}: {have[1]}x{have[0]} pixels, its HR image asks for {width}x{height}"
    if recipe.size_mismatch == "error":
        hint = _explain(have, height, width, recipe.scale)
        raise UserError(f"{message}{hint}; replace it, or set data.size_mismatch=resize or pad")
    log.warning("%s: %s", message, "resized" if recipe.size_mismatch == "resize" else "padded")
    if recipe.size_mismatch == "resize":
        return resize(image, height, width)
    padding = ((0, max(0, height - have[0])), (0, max(0, width - have[1])), (0, 0))
    return np.pad(image, padding, mode="edge")[:height, :width]


def _explain(have: tuple[int, ...], height: int, width: int, scale: int) -> str:
    for factor in range(1, 9):
        if have == (height * scale // factor, width * scale // factor):
            return f" (it is the HR image at 1/{factor}, but scale={scale})"
    return ""


def in_parallel(
    title: str, stems: Sequence[str], workers: int, task: Callable[[str], None]
) -> None:
    """`task` for every stem, in threads (decoding, resizing and hashing release the GIL)."""
    if not stems:
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with (
        Progress(*columns, TimeRemainingColumn()) as progress,
        ThreadPoolExecutor(max(1, workers)) as pool,
    ):
        bar = progress.add_task(title, total=len(stems))
        futures = [pool.submit(task, stem) for stem in stems]
        try:
            for future in as_completed(futures):
                future.result()
                progress.advance(bar)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise

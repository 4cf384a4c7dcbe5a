"""HR folders to decoded stores: pair, degrade, teacher pass, write. Interrupted runs go on.

The image folders may be read-only; everything is written under the cache folder:
`store/<image folder>/<kind and settings>/<stem>.npy` and `teacher/…` (the teacher's PNGs).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kd_lightning.data.degradation import crop_to_multiple, degrade, multiple, resize
from kd_lightning.data.images import Pixels, decode_rgb, unwritable
from kd_lightning.data.pairing import list_images, pair, sibling
from kd_lightning.data.store import Shelf, Source, folder_id
from kd_lightning.errors import UserError

log = logging.getLogger(__name__)

SizeMismatch = Literal["error", "resize", "pad"]


@dataclass(frozen=True)
class Recipe:
    """How arrays are made from files; each field is described at `TripletDataModule`."""

    scale: int = 2
    degradation: str = "auto"
    downscale: int = 1
    size_mismatch: SizeMismatch = "error"


@dataclass
class Triplets:
    """The shelves of one HR folder. `teacher` is None where there is no teacher output."""

    folder: Path
    recipe: Recipe
    network: Any  # the teacher that must run, or None
    hr: Shelf
    lr: Shelf
    teacher: Shelf | None
    files: dict[str, Path]  # HR file by stem
    lr_files: dict[str, Path] | None  # official LR files; None: made from the HR image
    teacher_files: dict[str, Path] | None  # a folder's; None: no teacher, or a network

    @property
    def title(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def shelves(self) -> list[Shelf]:
        return [self.hr, self.lr, *([self.teacher] if self.teacher else [])]

    def has_pair(self, stem: str) -> bool:
        """Whether HR and LR of `stem` are stored and up to date."""
        lr_file = (self.lr_files or self.files)[stem]
        return self.hr.has(stem, self.files[stem]) and self.lr.has(stem, lr_file)

    def sources(self, shelf: Shelf) -> dict[str, Path] | None:
        """The files that the arrays of `shelf` are made from; None where it is other arrays."""
        if shelf is self.teacher:
            return self.teacher_files
        return self.files if shelf is self.hr else self.lr_files or self.files

    def has_output(self, stem: str) -> bool:
        """Whether the teacher output of `stem` is stored and up to date, or none is asked for."""
        if self.teacher is None:
            return True
        if self.teacher_files is not None:
            return self.teacher.has(stem, self.teacher_files[stem])
        return stem in self.lr.entries and self.teacher.has(stem, self.lr_identity(stem))

    def missing(self, stems: Sequence[str]) -> list[str]:
        return [stem for stem in stems if not (self.has_pair(stem) and self.has_output(stem))]

    def lr_identity(self, stem: str) -> Source:
        """The source of a teacher output that is computed here: the LR array."""
        return Source(f"{stem}.npy", 0, 0, self.lr.entries[stem].sha256)


def open_triplets(
    folder: Path, recipe: Recipe, teacher: Any, cache: Path, *, teacher_required: bool
) -> Triplets:
    """The shelves of `folder`, as far as they are filled; pairs the files, writes nothing.

    Raises:
        UserError: missing or empty folder, files that do not pair, no outputs of a folder teacher
            where they are required.
    """
    files = list_images(folder)
    lr_files = _official_lr(folder, files, recipe)
    outputs = _folder_outputs(teacher, folder, files, recipe.scale, teacher_required)
    settings: dict[str, Any] = {"scale": recipe.scale, "downscale": recipe.downscale}
    lr_settings = {
        **settings,
        "lr": "files" if lr_files else recipe.degradation.replace("auto", "bicubic"),
        "size_mismatch": recipe.size_mismatch,
    }
    size = f"x{recipe.scale}" + (f"-down{recipe.downscale}" if recipe.downscale > 1 else "")
    fit = f"-{recipe.size_mismatch}" if recipe.size_mismatch != "error" else ""
    lr_name = f"{size}-{lr_settings['lr']}{fit}"
    home = cache / "store" / folder_id(folder)
    has_folder = hasattr(teacher, "folder")
    shelf = None
    if outputs is not None or (teacher is not None and not has_folder):
        key = "folder" if has_folder else teacher.key
        teacher_settings = {"kind": "teacher", **lr_settings, "teacher": key}
        shelf = Shelf(home / f"teacher-{lr_name}-{key}", teacher_settings)
    return Triplets(
        folder=folder,
        recipe=recipe,
        network=None if has_folder else teacher,
        hr=Shelf(home / f"hr-{size}", {"kind": "hr", **settings}),
        lr=Shelf(home / f"lr-{lr_name}", {"kind": "lr", **lr_settings}),
        teacher=shelf,
        files=files,
        lr_files=lr_files,
        teacher_files=outputs,
    )


def prepare_triplets(triplets: Triplets, stems: Sequence[str], cache: Path, workers: int) -> None:
    """Fill the shelves for `stems`, in `workers` threads; what is there already stays.

    Raises:
        UserError: an image or pair that cannot be used, a full disk; nothing half-written stays.
    """
    if not triplets.missing(stems) and all(shelf.sealed for shelf in triplets.shelves):
        return
    with locked(triplets.hr.folder.parent):
        for shelf in triplets.shelves:
            shelf.reload()
        _parallel(
            f"{triplets.title}: HR, LR",
            [stem for stem in stems if not triplets.has_pair(stem)],
            workers,
            lambda stem: _store_pair(triplets, stem),
        )
        missing = [stem for stem in stems if not triplets.has_output(stem)]
        if missing:
            outputs = triplets.teacher_files or _teacher_pass(triplets, stems, cache)
            _parallel(
                f"{triplets.title}: teacher",
                missing,
                workers,
                lambda stem: _store_output(triplets, stem, outputs[stem]),
            )
        for shelf in triplets.shelves:
            if not shelf.sealed:
                shelf.seal()


def check_triplets(triplets: Triplets, stems: Sequence[str], workers: int) -> list[Path]:
    """The stored arrays of `stems` that are damaged or missing, or whose source file has changed
    without a new size or time. They are dropped, so that the next preparation makes them again.
    """
    bad: list[Path] = []
    with locked(triplets.hr.folder.parent):
        for shelf in triplets.shelves:
            shelf.reload()
            found: list[str] = []

            def check(stem: str, shelf: Shelf = shelf, found: list[str] = found) -> None:
                if shelf.damaged(stem) or _source_changed(triplets, shelf, stem):
                    found.append(stem)

            _parallel(f"{triplets.title}: check {shelf.folder.name}", stems, workers, check)
            for stem in sorted(found):
                bad.append(shelf.path(stem))
                shelf.drop(stem)
            if found:
                shelf.seal()
    return bad


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Exclusive use of `folder`: two jobs of a sweep must not prepare one folder at once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        yield
    finally:
        lock.release()


def _source_changed(triplets: Triplets, shelf: Shelf, stem: str) -> bool:
    files = triplets.sources(shelf)
    return files is not None and Source.read(files[stem])[0] != shelf.entries[stem].source


def _official_lr(folder: Path, hr: dict[str, Path], recipe: Recipe) -> dict[str, Path] | None:
    official = sibling(folder, "_LR_bicubic")
    if recipe.degradation != "auto" or recipe.downscale > 1 or official is None:
        return None
    official /= f"X{recipe.scale}"
    if not official.is_dir():
        return None
    log.info("LR images: the official files in %s", official)
    return pair(hr, official, recipe.scale, "LR image")


def _folder_outputs(
    teacher: Any, folder: Path, hr: dict[str, Path], scale: int, required: bool
) -> dict[str, Path] | None:
    """The output file for every HR image; None where there is no such folder, or a network."""
    if not hasattr(teacher, "folder"):
        return None
    try:
        outputs = teacher.folder(folder)
    except UserError:
        if required:
            raise
        return None
    return pair(hr, outputs, scale, "teacher output")


def _teacher_pass(triplets: Triplets, stems: Sequence[str], cache: Path) -> dict[str, Path]:
    from kd_lightning.data.teacher_pass import teacher_outputs  # loads torch: only where it runs

    folder = cache / "teacher" / folder_id(triplets.folder) / triplets.lr.folder.name
    lr_images = {stem: triplets.lr.path(stem) for stem in stems}
    return teacher_outputs(triplets.network, lr_images, folder)


def _store_pair(triplets: Triplets, stem: str) -> None:
    path, recipe = triplets.files[stem], triplets.recipe
    source, data = Source.read(path)
    hr = crop_to_multiple(decode_rgb(data, path), multiple(recipe.scale) * recipe.downscale)
    hr = resize(hr, hr.shape[0] // recipe.downscale, hr.shape[1] // recipe.downscale)
    if triplets.lr_files is None:
        lr, lr_source = degrade(hr, recipe.scale, recipe.degradation), source
    else:
        lr_path = triplets.lr_files[stem]
        lr_source, data = Source.read(lr_path)
        height, width = hr.shape[0] // recipe.scale, hr.shape[1] // recipe.scale
        lr = _fit(decode_rgb(data, lr_path), height, width, lr_path, recipe)
    triplets.hr.put(stem, hr, source)
    triplets.lr.put(stem, lr, lr_source)


def _store_output(triplets: Triplets, stem: str, path: Path) -> None:
    assert triplets.teacher is not None
    recipe = triplets.recipe
    source, data = Source.read(path)
    output = decode_rgb(data, path)
    height, width, _ = triplets.hr.entries[stem].shape
    if triplets.network is not None:  # it saw the stored LR image, downscaled already
        source = triplets.lr_identity(stem)
    else:
        factor = recipe.downscale
        output = _fit(output, height * factor, width * factor, path, recipe)
        output = resize(output, height, width)
    triplets.teacher.put(stem, _fit(output, height, width, path, recipe), source)


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


def _parallel(title: str, stems: Sequence[str], workers: int, task: Callable[[str], None]) -> None:
    """`task` for every stem, in threads (decoding, resizing and hashing release the GIL)."""
    if not stems:
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
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

"""The stored triplets of one HR folder: which files they come from and which stores they fill."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kd_lightning.data.pairing import list_images, pair
from kd_lightning.data.store import FORMAT, ArrayStore, Origin, folder_id
from kd_lightning.errors import UserError
from kd_lightning.files import sibling

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
    """The stores of one HR folder. `teacher` is None where there is no teacher output."""

    folder: Path
    recipe: Recipe
    network: Any  # the teacher that must run, or None
    hr: ArrayStore
    lr: ArrayStore
    teacher: ArrayStore | None
    files: dict[str, Path]  # HR file by stem
    lr_files: dict[str, Path] | None  # official LR files; None: made from the HR image
    teacher_files: dict[str, Path] | None  # a folder's; None: no teacher, or a network

    @property
    def title(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def stores(self) -> list[ArrayStore]:
        return [self.hr, self.lr, *([self.teacher] if self.teacher else [])]

    def has_pair(self, stem: str) -> bool:
        """Whether HR and LR of `stem` are stored and up to date."""
        lr_file = (self.lr_files or self.files)[stem]
        return self.hr.has(stem, self.files[stem]) and self.lr.has(stem, lr_file)

    def sources(self, store: ArrayStore) -> dict[str, Path]:
        """The files that the arrays of `store` are made from."""
        files = {id(self.lr): self.lr_files, id(self.teacher): self.teacher_files}
        return files.get(id(store)) or self.files

    def has_output(self, stem: str) -> bool:
        """Whether the teacher output of `stem` is stored and up to date, or none is asked for."""
        if self.teacher is None:
            return True
        if self.teacher_files is not None:
            return self.teacher.has(stem, self.teacher_files[stem])
        return stem in self.lr.entries and self.teacher.has(stem, self.lr_identity(stem))

    def missing(self, stems: Sequence[str]) -> list[str]:
        return [stem for stem in stems if not (self.has_pair(stem) and self.has_output(stem))]

    def teacher_cache(self, cache: Path) -> Path:
        """Where the PNGs of a teacher that runs are kept, in a folder for each teacher key."""
        return cache / "teacher" / folder_id(self.folder) / self.lr.folder.name

    def lr_identity(self, stem: str) -> Origin:
        """The source of a teacher output that is computed here: the LR array."""
        return Origin(f"{stem}.npy", 0, 0, self.lr.entries[stem].sha256)


def open_triplets(
    folder: Path, recipe: Recipe, teacher: Any, cache: Path, *, teacher_required: bool
) -> Triplets:
    """The stores of `folder`, as far as they are filled; pairs the files, writes nothing.

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
    home = cache / "store" / f"v{FORMAT}" / folder_id(folder)
    has_folder = hasattr(teacher, "folder")
    store = None
    if outputs is not None or (teacher is not None and not has_folder):
        key = "folder" if has_folder else teacher.key
        teacher_settings = {"kind": "teacher", **lr_settings, "teacher": key}
        store = ArrayStore(home / f"teacher-{lr_name}-{key}", teacher_settings)
    return Triplets(
        folder=folder,
        recipe=recipe,
        network=None if has_folder else teacher,
        hr=ArrayStore(home / f"hr-{size}", {"kind": "hr", **settings}),
        lr=ArrayStore(home / f"lr-{lr_name}", {"kind": "lr", **lr_settings}),
        teacher=store,
        files=files,
        lr_files=lr_files,
        teacher_files=outputs,
    )


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

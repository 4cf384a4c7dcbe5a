"""The stored triplets of one HR folder: which files they come from and which stores they fill."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from kd_lightning.data.degradations.bicubic import Bicubic
from kd_lightning.data.lr_images import LrImages
from kd_lightning.data.pairing import list_images, pair, say_once
from kd_lightning.data.store import FORMAT, ArrayStore, Origin, folder_id
from kd_lightning.errors import UserError

SizeMismatch = Literal["error", "resize", "pad"]


@dataclass(frozen=True)
class Recipe:
    """How arrays are made from files; see `TripletDataModule`.

    `all_versions` is for training images; of others one version of a random degradation serves.
    """

    scale: int
    degradation: Any
    downscale: int = 1
    size_mismatch: SizeMismatch = "error"
    all_versions: bool = False


@dataclass
class Triplets:
    """The stores of one HR folder. `teacher` is None where there is no teacher output."""

    folder: Path
    recipe: Recipe
    network: Any  # the teacher that must run, or None
    hr: ArrayStore
    lr: LrImages
    teacher_lr: LrImages  # what the teacher reads: `lr` itself, or clean images beside it
    teacher: ArrayStore | None
    files: dict[str, Path]  # HR file by stem
    teacher_files: dict[str, Path] | None  # a folder's; None: no teacher, or a network

    @property
    def title(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def lr_images(self) -> list[LrImages]:
        """What is made of the HR images: a teacher's input only where it must run."""
        apart = self.network is not None and self.teacher_lr is not self.lr
        return [self.lr, self.teacher_lr] if apart else [self.lr]

    @property
    def stores(self) -> list[ArrayStore]:
        lr = [images.store for images in self.lr_images]
        return [self.hr, *lr, *([self.teacher] if self.teacher else [])]

    def names(self, store: ArrayStore, stem: str) -> list[str]:
        """Of the arrays of the image `stem` in one of the `stores`."""
        if store is self.teacher:
            return self.output_names(stem)
        for images in self.lr_images:
            if store is images.store:
                return images.names(stem)
        return [stem]

    def output_names(self, stem: str) -> list[str]:
        """Of the teacher's arrays: one, or one for each version that it has read."""
        return [stem] if self.teacher_files is not None else self.teacher_lr.names(stem)

    def has_pair(self, stem: str) -> bool:
        """Whether HR and LR of `stem` are stored and up to date."""
        file = self.files[stem]
        return self.hr.has(stem, file) and not any(i.missing(stem, file) for i in self.lr_images)

    def has_output(self, stem: str) -> bool:
        """Whether the teacher output of `stem` is stored and up to date, or none is asked for."""
        if self.teacher is None:
            return True
        if self.teacher_files is not None:
            return self.teacher.has(stem, self.teacher_files[stem])
        return all(
            name in self.teacher_lr.store.entries and self.teacher.has(name, self.lr_identity(name))
            for name in self.output_names(stem)
        )

    def missing(self, stems: Sequence[str]) -> list[str]:
        return [stem for stem in stems if not (self.has_pair(stem) and self.has_output(stem))]

    def origin(self, store: ArrayStore, stem: str, name: str) -> Origin | None:
        """What the array `name` of the image `stem` in one of the `stores` has to be made from, as
        it is now; None where that is not there itself."""
        if store is not self.teacher:
            images = [images for images in self.lr_images if store is images.store]
            file = images[0].source(stem, self.files[stem]) if images else self.files[stem]
        elif self.teacher_files is not None:
            file = self.teacher_files[stem]
        else:
            return self.lr_identity(name) if name in self.teacher_lr.store.entries else None
        return Origin.read(file)[0]

    def teacher_cache(self, cache: Path) -> Path:
        """Where the PNGs of a teacher that runs are kept, in a folder for each teacher key."""
        return cache / "teacher" / folder_id(self.folder) / self.teacher_lr.store.folder.name

    def lr_identity(self, name: str) -> Origin:
        """The source of a teacher output that is computed here: the LR array."""
        return Origin(f"{name}.npy", 0, 0, self.teacher_lr.store.entries[name].sha256)


def open_triplets(
    folder: Path, recipe: Recipe, teacher: Any, cache: Path, *, teacher_required: bool
) -> Triplets:
    """The stores of `folder`, as far as they are filled; pairs the files, writes nothing.

    Raises:
        UserError: missing or empty folder, files that do not pair, no outputs of a folder teacher
            where they are required.
    """
    files = list_images(folder)
    home = cache / "store" / f"v{FORMAT}" / folder_id(folder)
    lr = _open_lr(home, recipe, _lr_files(folder, files, recipe))
    clean = getattr(recipe.degradation, "clean", False)
    if clean or getattr(teacher, "input", "clean") == "degraded":
        teacher_lr = lr
    else:
        teacher_lr = _open_lr(home, replace(recipe, degradation=Bicubic(recipe.scale)), None)
    outputs = _folder_outputs(teacher, folder, files, recipe.scale, teacher_required)
    has_folder = hasattr(teacher, "folder")
    store = None
    if outputs is not None or (teacher is not None and not has_folder):
        key = "folder" if has_folder else teacher.key
        settings = {**teacher_lr.store.settings, "kind": "teacher", "teacher": key}
        name = teacher_lr.store.folder.name.removeprefix("lr-")
        store = ArrayStore(home / f"teacher-{name}-{key}", settings)
    size = {"scale": recipe.scale, "downscale": recipe.downscale}
    return Triplets(
        folder=folder,
        recipe=recipe,
        network=None if has_folder else teacher,
        hr=ArrayStore(home / f"hr-{_size_name(recipe)}", {"kind": "hr", **size}),
        lr=lr,
        teacher_lr=teacher_lr,
        teacher=store,
        files=files,
        teacher_files=outputs,
    )


def _open_lr(home: Path, recipe: Recipe, files: dict[str, Path] | None) -> LrImages:
    degradation, versions = recipe.degradation, None
    key = "files" if files else str(degradation.key)
    if files is None and hasattr(degradation, "versions"):
        versions = int(degradation.versions) if recipe.all_versions else 1
        key += f"-seed{getattr(degradation, 'seed', 0)}"
    settings = {
        "kind": "lr",
        "scale": recipe.scale,
        "downscale": recipe.downscale,
        "lr": key,
        "size_mismatch": recipe.size_mismatch,
    }
    fit = f"-{recipe.size_mismatch}" if recipe.size_mismatch != "error" else ""
    store = ArrayStore(home / f"lr-{_size_name(recipe)}-{key}{fit}", settings)
    return LrImages(store, degradation, files, versions)


def _size_name(recipe: Recipe) -> str:
    return f"x{recipe.scale}" + (f"-down{recipe.downscale}" if recipe.downscale > 1 else "")


def _lr_files(folder: Path, hr: dict[str, Path], recipe: Recipe) -> dict[str, Path] | None:
    """The LR files that the degradation knows of; shrunk HR images have none."""
    files = lr_folder(folder, recipe)
    if files is None:
        return None
    say_once(f"LR images: the files in {files}")
    return pair(hr, files, recipe.scale, "LR image")


def lr_folder(folder: Path, recipe: Recipe) -> Path | None:
    """The folder of the LR files of an HR folder; None where the degradation makes LR images.
    Raises UserError where neither can be."""
    if recipe.downscale > 1 or not hasattr(recipe.degradation, "files"):
        return None
    files: Path | None = recipe.degradation.files(folder)
    return files


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

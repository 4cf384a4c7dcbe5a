"""`TripletDataModule`: random triplet crops for training, whole images for validation and test."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from kd_lightning.data.check import check_triplets
from kd_lightning.data.crops import (
    CropDraws,
    CropGeometry,
    channels_first,
    finish,
    to_float,
    unpack,
)
from kd_lightning.data.datasets import (
    CropDataset,
    CropLoader,
    EpochBatches,
    StoredImages,
)
from kd_lightning.data.degradations import check_degradation
from kd_lightning.data.degradations.bicubic import Bicubic
from kd_lightning.data.degradations.official import Official
from kd_lightning.data.device_cache import CropPlaces, DeviceCache
from kd_lightning.data.pairing import split_stems
from kd_lightning.data.prepare import prepare_triplets
from kd_lightning.data.selection import (
    Selection,
    all_images,
    check_sizes,
    folder_of,
    folders_of,
    identity,
    some_images,
    warn_of_overlap,
    whole_images,
)
from kd_lightning.data.sources import Source, fetch_automatic
from kd_lightning.data.store import MANIFEST
from kd_lightning.data.triplets import Recipe, SizeMismatch, Triplets, lr_folder, open_triplets
from kd_lightning.download import home
from kd_lightning.errors import UserError
from kd_lightning.models.interpolate import upscale

SSIM_WINDOW = 11  # pixels; no smaller image can be measured


class TripletDataModule(LightningDataModule):
    """LR, HR and teacher images of folders, prepared once, as batches on the device.

    A batch is a dict of floats in [0, 1]: "lr" (B,3,h,w), "bicubic" (the LR image interpolated to
    the HR size), "hr" and, where the teacher has an output, "teacher" (B,3,H,W), H = h*scale.
    Whole images come one at a time, with "stem" (list of str; [""] is not to be scored).

    Args:
        train, val: folders of HR images; with `split`, `val` is empty.
        test: test set name to HR folder; None entries are left out.
        root: the folder that holds the data, for messages (the configs build paths with it).
        source: what can fetch missing folders (`kd_lightning.data.sources`), or None.
        teacher: a teacher of `kd_lightning.models.teacher`, or None: no "teacher" in batches.
        scale: HR size over LR size; 1 is same-size restoration of a blurred image.
        crop_size: side of a training crop in HR pixels (cut to a multiple of `scale`).
        batch_size: training crops a step, per device.
        samples_per_epoch: training crops an epoch, over all devices.
        augment: flip and rotate training crops.
        degradation: makes the LR images (`kd_lightning.data.degradations`); None: the official
            files `<x>_LR_bicubic/X<scale>` beside `<x>_HR` where they exist, else bicubic. Of a
            random one, training draws from all versions of an image; validation and test read
            version 0.
        train_downscale: training images are first shrunk by this factor.
        size_mismatch: what to do with an LR or teacher file of another size than its HR image asks
            for: "error", "resize" (bicubic) or "pad" (repeat the edge, or cut, right and below).
        subset: use only the first so many training images of each folder, by name.
        split: share of the `train` images that validate instead, chosen by file name.
        num_workers: loader processes; "auto": half the cores that may be used, at most 4.
        device_cache: keep the whole training store in the device's memory (a GPU with room).
        prepare_workers: threads that prepare; None: one for each core.
        seed: of the crops.
        cache_dir: where everything derived is kept; None: `$KD_LIGHTNING_HOME`, or
            `~/.cache/kd_lightning`.

    Attributes:
        train_teacher: whether training crops have the teacher's output; false saves the teacher's
            pass over the training images, where a loss does not use it.

    Raises:
        UserError: see `prepare_data`.
    """

    def __init__(
        self,
        train: Sequence[str],
        val: Sequence[str],
        test: Mapping[str, str | None] | None = None,
        root: str | None = None,
        source: Source | None = None,
        teacher: Any = None,
        scale: int = 2,
        crop_size: int = 128,
        batch_size: int = 16,
        samples_per_epoch: int = 16000,
        augment: bool = True,
        degradation: Any = None,
        train_downscale: int = 1,
        size_mismatch: SizeMismatch = "error",
        subset: int | None = None,
        split: float | None = None,
        num_workers: int | Literal["auto"] = "auto",
        device_cache: bool = False,
        prepare_workers: int | None = None,
        seed: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        _one_of("scale", scale, (1, 2, 3, 4))
        _at_least("data.batch_size", batch_size, 1)
        _at_least("data.samples_per_epoch", samples_per_epoch, 1)
        _at_least("data.num_workers", 0 if num_workers == "auto" else num_workers, 0)
        _at_least("data.crop_size", crop_size, -(-SSIM_WINDOW // scale) * scale)
        if isinstance(degradation, str):
            raise UserError(
                f"data.degradation={degradation}: degradations are a group of their own; give "
                f"degradation={degradation}"
            )
        degradation = degradation or Official(scale, otherwise=Bicubic(scale))
        check_degradation(degradation)
        _one_of("data.size_mismatch", size_mismatch, get_args(SizeMismatch))
        if split is not None and (val or not 0 < split < 1):
            raise UserError("data.split: a share between 0 and 1, with data.val=[]")
        self.train_folders = folders_of("data.train", train)
        self.val_folders = folders_of("data.val", val)
        given = {name: folder for name, folder in (test or {}).items() if folder}
        self.test_folders = {n: folder_of(f"data.test.{n}", f) for n, f in given.items()}
        self.root = Path(root).expanduser() if root else None
        self.source, self.teacher = source, teacher
        self.train_teacher = True
        self.scale, self.batch_size, self.seed = scale, batch_size, seed
        self.samples_per_epoch, self.augment = samples_per_epoch, augment
        self.recipe = Recipe(scale, degradation, 1, size_mismatch)
        self.train_recipe = Recipe(scale, degradation, train_downscale, size_mismatch, True)
        self.geometry = CropGeometry(crop_size, scale)
        self.subset, self.split = subset, split
        self.num_workers = default_workers() if num_workers == "auto" else int(num_workers)
        self.prepare_workers = prepare_workers or os.cpu_count() or 1
        self.device_cache = device_cache
        self.cache = Path(cache_dir).expanduser() if cache_dir else home()
        self._train: list[Selection] = []
        self._val: list[Selection] = []
        self._test: dict[str, Selection] = {}
        self._on_device: DeviceCache | None = None

    @property
    def val_images(self) -> str:
        """The same for the same validation images, wherever they lie; `setup` must have run."""
        return identity(self._val)

    @property
    def val_has_teacher(self) -> bool:
        """Whether validation images have the teacher's output; `setup` must have run."""
        return any(triplets.teacher is not None for triplets, _ in self._val)

    @property
    def degradation_words(self) -> str:
        """What makes the LR images to train on, or where their files lie."""
        recipe = self.train_recipe
        there = (folder if folder.is_dir() else None for folder in self.train_folders)
        found = {folder and lr_folder(folder, recipe) for folder in there}
        words = [recipe.degradation.key if f is None else f"LR images of {f}" for f in found]
        return ", ".join(sorted(words))

    @property
    def test_names(self) -> list[str]:
        """The names of the test sets, in the order of the test loaders."""
        return list(self.test_folders)

    def fetch(self) -> None:
        """Download what is missing of the data set, where a source is known."""
        if self.source is not None and self.root is not None:
            self.source.fetch(self.root, self.cache)

    def prepare_data(self) -> None:
        """Fill the store for every folder; what is there already stays.

        Raises:
            UserError: missing or empty folders, files that do not pair, images that cannot be
                used, a full disk.
        """
        if missing := self._missing():
            fetch_automatic(missing[0], self.root, self.source, self.cache)
        elif getattr(self.source, "derived", False):
            self.fetch()
        for triplets, stems in self._selections():
            prepare_triplets(triplets, stems, self.cache, self.prepare_workers)

    def manifests(self) -> dict[str, Path]:
        """What the data were made from, with the hash of each file: name -> `manifest.json` of a
        store. `prepare_data` must have filled them."""
        stores = {str(s.folder): s for selection in self._selections() for s in selection[0].stores}
        files = [store.folder / MANIFEST for store in stores.values() if store.committed]
        return {f"{number:02d}_{file.parent.name}": file for number, file in enumerate(files)}

    def check(self) -> list[Path]:
        """Read every stored file; the damaged and missing ones are returned and dropped, and the
        next preparation makes them again."""
        selections = self._selections()
        bad = (check_triplets(t, s, self.cache, self.prepare_workers) for t, s in selections)
        return list(dict.fromkeys(path for paths in bad for path in paths))

    def setup(self, stage: str | None = None) -> None:
        """Open what `prepare_data` stored.

        Raises:
            UserError: an image smaller than the crop, or than the SSIM window; for a fit, no image
                to validate on.
        """
        self._train, self._val = self._fit_selections()
        self._test = self._test_selections()
        need = self.geometry.window * self.scale
        check_sizes(
            self._train, need, f"a crop of data.crop_size={self.geometry.hr} and its margin"
        )
        check_sizes([*self._val, *self._test.values()], SSIM_WINDOW, "the window of SSIM")
        if stage == "fit":
            warn_of_overlap(self._train, {"data.val": self._val, **self._named_tests()})
        if stage == "fit" and getattr(self.trainer, "limit_val_batches", 1) != 0:
            some_images(self._val, "val")

    def _named_tests(self) -> dict[str, list[Selection]]:
        return {f"data.test.{name}": [selection] for name, selection in self._test.items()}

    def train_dataloader(self) -> DataLoader[Any]:
        items = some_images(self._train, "train")
        sizes = [item.lr.shape[:2] for item in items]
        draws = CropDraws(sizes, self.geometry, self.seed, self.augment)
        crops = CropDataset(StoredImages(items), draws, self.geometry)
        return CropLoader(
            CropPlaces(draws) if self.device_cache else crops,
            images=identity(self._train),
            sampler=self._batches(),  # Lightning tells a sampler the epoch, a batch sampler not
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return whole_images(some_images(self._val, "val"), *self._rank_and_world())

    def test_dataloader(self) -> list[DataLoader[Any]]:
        dealt = self._rank_and_world()
        return [whole_images(all_images([selection]), *dealt) for selection in self._test.values()]

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """uint8 to float, flips and rotations, bicubic: on the device that the batch is on."""
        if "crops" in batch:
            return dict(finish(unpack(batch["crops"], self.geometry), self.geometry))
        if "image" in batch:
            cache = self._device_cache(batch["image"].device)
            return dict(finish(cache.cut(batch), self.geometry))
        pixels = {name: image for name, image in batch.items() if name != "stem"}
        images = {name: to_float(channels_first(image)) for name, image in pixels.items()}
        bicubic = upscale(images["lr"], self.scale).clamp(0, 1)
        return {**images, "bicubic": bicubic, "stem": batch["stem"]}

    def _device_cache(self, device: torch.device) -> DeviceCache:
        if self._on_device is None:
            self._on_device = DeviceCache(all_images(self._train), self.geometry, device)
        return self._on_device

    def _missing(self) -> list[Path]:
        folders = [*self.train_folders, *self.val_folders, *self.test_folders.values()]
        return [folder for folder in folders if not folder.is_dir()]

    def _selections(self) -> list[Selection]:
        train, val = self._fit_selections()
        return [*train, *val, *self._test_selections().values()]

    def _fit_selections(self) -> tuple[list[Selection], list[Selection]]:
        train, val = [], []
        for folder in self.train_folders:
            triplets = self._open(folder, self.train_recipe, training=True)
            stems = list(triplets.files)
            if self.split is not None:
                stems, held_out = split_stems(stems, self.split)
                val.append(Selection(self._open(folder, self.recipe), held_out))
            train.append(Selection(triplets, stems[: self.subset]))
        val += [self._whole(folder) for folder in self.val_folders]
        return train, val

    def _test_selections(self) -> dict[str, Selection]:
        return {name: self._whole(folder) for name, folder in self.test_folders.items()}

    def _whole(self, folder: Path) -> Selection:
        triplets = self._open(folder, self.recipe)
        return Selection(triplets, list(triplets.files))

    def _open(self, folder: Path, recipe: Recipe, training: bool = False) -> Triplets:
        teacher = self.teacher if self.train_teacher or not training else None
        return open_triplets(folder, recipe, teacher, self.cache, teacher_required=training)

    def _batches(self) -> EpochBatches:
        """The batches of this rank. Raises UserError where an epoch is less than one."""
        rank, world = self._rank_and_world()
        batches = EpochBatches(
            self.samples_per_epoch,
            self.batch_size,
            rank=rank,
            world=world,
            place=self._place if self.trainer is not None else None,
        )
        if len(batches) == 0:
            raise UserError(
                f"data.samples_per_epoch={self.samples_per_epoch} is less than one batch of every "
                f"device ({self.batch_size * world}); raise it, or lower data.batch_size"
            )
        return batches

    def _place(self) -> tuple[int, int]:
        """The epoch and the batch that the trainer is about to train on; a resumed run's too."""
        loop: Any = self.trainer.fit_loop  # type: ignore[union-attr]
        return loop.epoch_progress.current.processed, loop.epoch_loop.batch_progress.current.ready

    def _rank_and_world(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


def default_workers() -> int:
    """Loader processes for this machine: half the cores it may use, at most 4."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(4, (cores or 1) // 2)


def _one_of(key: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        raise UserError(f"{key}={value}: choose one of {', '.join(map(str, choices))}")


def _at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"{key}={value}: give at least {least}")

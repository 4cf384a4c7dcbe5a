"""The teacher pass: a teacher's output for every LR image, computed once, as 8-bit PNG.

Each output carries the hash of the LR file that it was made from, so a changed image or
degradation is noticed, and it gets its name only when it is whole: the pass can be killed at any
moment and continues where it was.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import kd_lightning
from kd_lightning.data.store import StoredArray
from kd_lightning.errors import UserError
from kd_lightning.files import (
    ABANDONED,
    CACHE_REMEDY,
    file_hash,
    remove_leftovers,
    write_atomic,
)
from kd_lightning.imageio.strict import Pixels, read_rgb
from kd_lightning.models.teacher import NetworkTeacher
from kd_lightning.process_group import leave_at_exit

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
LR_HASH = "lr_sha256"  # the PNG text chunk that names the LR file's content
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

_group_is_ours = False  # a process group that a pass has set up serves the later passes too


def teacher_outputs(
    teacher: NetworkTeacher,
    lr_images: Mapping[str, Path | StoredArray],
    folder: Path,
    trainer: Trainer | None = None,
) -> dict[str, Path]:
    """The cached output for each LR image, computed where it is missing or out of date.

    Args:
        teacher: the network and its settings.
        lr_images: 8-bit image file, uint8 (h, w, 3) .npy or stored array, by stem, which may hold
            "/".
        folder: outputs go to ``folder/<teacher.key>/<stem>.png``, beside ``manifest.json``.
        trainer: whose devices share the work; every process calls this function with the same
            arguments and sees the same ``folder``. By default all processes of torchrun, or the
            one device that this process has.

    Raises:
        UserError: no weights, an LR image that cannot be used, a full disk.
    """
    cache = folder / teacher.key
    tasks = [Task(stem, lr, _digest(lr), cache / f"{stem}.png") for stem, lr in lr_images.items()]
    outputs = {task.stem: task.output for task in tasks}
    pending = _agreed(sum(not task.done() for task in tasks))
    if pending == 0:
        return outputs
    repair_manifest(cache, teacher, folder.name)
    remove_leftovers(cache, older_than=ABANDONED)
    trainer = trainer or _default_trainer()
    # Lightning wants an image for each process; two may work on the same one.
    shares = tasks * -(-trainer.world_size // len(tasks))
    trainer.predict(
        TeacherPass(teacher, pending),
        DataLoader(Tasks(shares), batch_size=None),
        return_predictions=False,
    )
    if missing := [task for task in tasks if not task.done()]:
        raise UserError(
            f"{missing[0].output}: the teacher pass did not write it; run the same command again, "
            "with a cache folder that all processes share"
        )
    return outputs


class Task(NamedTuple):
    """One image of the pass; ``digest`` is the sha256 (hex) of the LR file."""

    stem: str
    lr: Path | StoredArray
    digest: str
    output: Path

    def done(self) -> bool:
        """Whether the output is there, whole, and made from this LR file."""
        try:
            with self.output.open("rb") as file:
                file.seek(-len(PNG_END), os.SEEK_END)
                if file.read() != PNG_END:
                    return False
                with Image.open(file) as image:
                    return image.info.get(LR_HASH) == self.digest
        except OSError:
            return False


class Tasks(Dataset[tuple[Task, Tensor | None]]):
    """Each task with its LR image, uint8 (3, h, w), or None where nothing is left to do.

    It lists the finished ones too: processes that start at different moments must agree on who
    takes which.
    """

    def __init__(self, tasks: list[Task]) -> None:
        self.tasks = tasks

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, index: int) -> tuple[Task, Tensor | None]:
        task = self.tasks[index]
        return task, None if task.done() else _read_lr(task.lr)


class TeacherPass(LightningModule):
    """Applies a teacher to one image at a time and writes its outputs; predict only."""

    def __init__(self, teacher: NetworkTeacher, pending: int) -> None:
        super().__init__()
        self.teacher = teacher
        self.network = teacher.network()
        self.pending = pending
        self.images = 0
        self.pixels = 0
        self.seconds = 0.0
        self.bar: Progress | None = None

    @rank_zero_only
    def on_predict_start(self) -> None:
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        share = -(-self.pending // self.trainer.world_size)
        self.bar.add_task(f"teacher {self.teacher.name}", total=share, speed="")
        self.bar.start()

    def predict_step(self, batch: tuple[Task, Tensor | None]) -> str:
        task, lr = batch
        if lr is None:
            return task.stem
        start = time.perf_counter()
        try:
            output = self.teacher.enhance(self.network, lr).permute(1, 2, 0).cpu().numpy()
        except UserError as error:
            raise UserError(f"{_file(task.lr)}: {error}") from None
        _write_output(task, output)
        self.seconds += time.perf_counter() - start
        self.images += 1
        self.pixels += output.shape[0] * output.shape[1]
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], advance=1, speed=self.speed())
        return task.stem

    def on_predict_end(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        log.info("teacher pass: %d images in %.1f s, %s", self.images, self.seconds, self.speed())
        self.trainer.strategy.barrier()  # nobody reads before all have written

    def on_exception(self, exception: BaseException) -> None:
        if self.bar is not None:
            self.bar.stop()

    def speed(self) -> str:
        """Of this process, in output pixels."""
        seconds = max(self.seconds, 1e-9)
        return f"{self.images / seconds:.2f} images/s, {self.pixels / 1e6 / seconds:.2f} MP/s"


def _default_trainer() -> Trainer:
    """All processes of a torchrun; but one device where a training's process group is up already,
    because there the first process prepares the data alone."""
    global _group_is_ours
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        _group_is_ours = "TORCHELASTIC_RUN_ID" in os.environ
        leave_at_exit()
    return Trainer(
        accelerator="auto",
        devices=int(os.environ["LOCAL_WORLD_SIZE"]) if _group_is_ours else 1,
        num_nodes=int(os.environ["GROUP_WORLD_SIZE"]) if _group_is_ours else 1,
        strategy="ddp" if _group_is_ours else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _agreed(pending: int) -> int:
    """The most that any process of the pass has found: a late one may see the work of others, and
    must not leave them waiting for it."""
    if not _group_is_ours:
        return pending
    counts = [0] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(counts, pending)
    return max(counts)


def _file(lr: Path | StoredArray) -> Path:
    return Path(lr.path) if isinstance(lr, StoredArray) else lr


def _read_lr(lr: Path | StoredArray) -> Tensor:
    if isinstance(lr, StoredArray):
        return torch.from_numpy(lr.read()).permute(2, 0, 1)
    pixels = np.load(lr) if lr.suffix == ".npy" else read_rgb(lr)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UserError(f"{lr}: a {pixels.dtype} array of {pixels.shape}, not uint8 (h, w, 3)")
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _write_output(task: Task, pixels: Pixels) -> None:
    chunks = PngInfo()
    chunks.add_text(LR_HASH, task.digest)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1, pnginfo=chunks)
    write_atomic(task.output, buffer.getvalue(), remedy=CACHE_REMEDY)


def repair_manifest(cache: Path, teacher: NetworkTeacher, degradation: str) -> Path | None:
    """Write the manifest of ``cache`` where it is missing or is not as it was written.

    Returns it if it had to be. Its versions are then today's: nothing else knows the old ones.
    """
    path = cache / MANIFEST
    settings = {**teacher.settings(), "degradation": degradation}
    versions = {"kd_lightning": kd_lightning.__version__, "torch": torch.__version__}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        seal = found.pop("sha256")
        if seal == _seal(found) and settings.items() <= found.items():
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    manifest = {**settings, **versions}
    manifest["sha256"] = _seal(manifest)
    write_atomic(path, (json.dumps(manifest, indent=2) + "\n").encode(), remedy=CACHE_REMEDY)
    return path


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _digest(lr: Path | StoredArray) -> str:
    path = _file(lr)
    try:
        return file_hash(path)
    except OSError as error:
        raise UserError(f"{path}: cannot read this LR image ({error.strerror})") from error

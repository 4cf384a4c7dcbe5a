"""Loggers that survive a killed run and are the same for one process or many."""

import csv
import io
import netrc
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
import wandb
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from kd_lightning.distill.processes import is_first_process
from kd_lightning.errors import UserError
from kd_lightning.files import unwritable, write_atomic

KEPT_ROWS = 50  # rows in memory before they are written; every checkpoint writes them too
WANDB_MODES: dict[str, Literal["online", "offline", "disabled"]] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


class RunCSVLogger(Logger):
    """`metrics.csv` in the run folder, written by the first process alone.

    A kill at any moment leaves whole rows, but perhaps for the last; a resumed run keeps the rows
    of the steps before its checkpoint.

    Args:
        folder: the run folder.
        resume_step: optimizer step of the checkpoint that the run continues, or None.
    """

    def __init__(self, folder: str, resume_step: int | None = None) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._columns: list[str] = []
        self._rows: list[dict[str, Any]] = []  # not yet written
        if is_first_process():
            self._columns, rows = self._read_until(resume_step)
            if rows:
                self._write(rows)
            else:
                self.path.unlink(missing_ok=True)

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run's configuration stands in `.hydra` and in its checkpoints."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Add a row."""
        self._rows.append({**{name: float(value) for name, value in metrics.items()}, "step": step})
        if len(self._rows) >= KEPT_ROWS:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that are not written yet. Raises UserError for a full disk."""
        if not self._rows:
            return
        columns = sorted({*self._columns, *(name for row in self._rows for name in row)})
        if columns == self._columns:
            try:
                with self.path.open("a", newline="") as file:
                    file.write(self._text(self._rows))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise unwritable(self.path, error) from None
        else:
            _, written = self._read_until(None if not self._columns else float("inf"))
            self._columns = columns
            self._write([*written, *self._rows])
        self._rows = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    def _write(self, rows: list[dict[str, Any]]) -> None:
        header = self._text([{name: name for name in self._columns}])
        write_atomic(self.path, (header + self._text(rows)).encode())

    def _text(self, rows: list[dict[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerows(rows)
        return text.getvalue()

    def _read_until(self, step: float | None) -> tuple[list[str], list[dict[str, Any]]]:
        """Columns and rows of the steps before `step`; none for None. A row that a kill cut short
        has no end of line."""
        if step is None or not self.path.is_file():
            return [], []
        whole, end, _ = self.path.read_text().rpartition("\n")
        reader = csv.DictReader(io.StringIO(whole + end))
        rows = [row for row in reader if row["step"].isdigit() and int(row["step"]) < step]
        return list(reader.fieldnames or []), rows


class RunWandbLogger(WandbLogger):
    """W&B: one run for each run folder, online, offline or not at all as `wandb_mode` says.

    The run's id is kept in `<folder>/wandb_id`, so that a resumed run continues it.

    Args:
        folder: the run folder.
        project: W&B project.
        name: display name of the run.
        group: runs shown together, for example the jobs of a sweep; or None.
        tags: labels.
    """

    def __init__(
        self,
        folder: str,
        project: str,
        name: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
    ) -> None:
        mode = wandb_mode()
        super().__init__(
            save_dir=folder,
            project=project,
            name=name,
            group=group,
            tags=tags,
            id=run_id(Path(folder) / "wandb_id") if is_first_process() else None,
            resume="allow",
            offline=mode == "offline",
            settings=wandb.Settings(silent=True, console="off", mode=mode),
        )
        self._wandb_init.pop("anonymous", None)  # W&B warns of it, and has dropped it

    def log_file(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Keep the file as a W&B artifact of the type "model"."""
        entry = wandb.Artifact(
            f"student-{self.experiment.id}", type="model", metadata=dict(metadata)
        )
        entry.add_file(str(path))
        self.experiment.log_artifact(entry)


class RunTensorBoardLogger(TensorBoardLogger):
    """TensorBoard's events in `<folder>/tensorboard`.

    Args:
        folder: the run folder.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self, folder: str) -> None:
        try:
            super().__init__(save_dir=folder, name=None, version="tensorboard")
        except ModuleNotFoundError as error:
            raise UserError(
                "logger=tensorboard needs the extra: pip install 'kd_lightning[tensorboard]'"
            ) from error

    def log_image(self, key: str, images: list[Image.Image], step: int | None = None) -> None:
        """Show 8-bit RGB images."""
        for image in images:
            self.experiment.add_image(key, np.asarray(image), step, dataformats="HWC")


def run_id(file: Path) -> str:
    """The W&B id in `file`; a new one where there is none."""
    if not file.is_file():
        write_atomic(file, secrets.token_hex(4).encode())
    return file.read_text().strip()


def wandb_mode() -> Literal["online", "offline", "disabled"]:
    """What W&B's own switches say: WANDB_DISABLED, WANDB_MODE, or what `wandb offline` and `wandb
    disabled` have written. Where none says anything: online if W&B can log in, else offline.

    Raises:
        UserError: WANDB_MODE is none of W&B's.
    """
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on"):
        return "disabled"
    settings = wandb.Settings()
    settings.update_from_system_settings()
    asked = os.environ.get("WANDB_MODE", "").lower() or settings.mode
    if asked not in WANDB_MODES:
        raise UserError(f"WANDB_MODE={asked}: choose one of {', '.join(WANDB_MODES)}")
    mode = WANDB_MODES[asked]
    return "offline" if mode == "online" and not has_credentials() else mode


def has_credentials() -> bool:
    """Whether W&B can log in without asking: by WANDB_API_KEY, or `wandb login`'s netrc entry."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False

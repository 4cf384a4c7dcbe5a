"""Loggers that survive a resumed run."""

import csv
import netrc
import os
import secrets
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import wandb
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from kd_lightning.errors import UserError


class RunCSVLogger(CSVLogger):
    """`metrics.csv` in the run folder; a resumed run keeps the rows up to its checkpoint.

    Args:
        folder: the run folder.
        resume_step: optimizer step of the checkpoint that the run continues, or None.
    """

    def __init__(self, folder: str, resume_step: int | None = None) -> None:
        super().__init__(save_dir=folder, name="", version="", flush_logs_every_n_steps=50)
        kept = self._rows_until(Path(folder) / "metrics.csv", resume_step)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*exists and is not empty")  # .hydra, ...
            self.experiment.metrics.extend(kept)
        self.save()

    @staticmethod
    def _rows_until(path: Path, step: int | None) -> list[dict[str, Any]]:
        if step is None or not path.is_file():
            return []
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [row for row in rows if (row["step"] or "").isdigit() and int(row["step"]) < step]


class RunWandbLogger(WandbLogger):
    """W&B, online if an API key or login is there, else offline; one run for each run folder.

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
        id_file = Path(folder) / "wandb_id"
        if not id_file.is_file():
            id_file.parent.mkdir(parents=True, exist_ok=True)
            id_file.write_text(secrets.token_hex(4))
        offline = os.environ.get("WANDB_MODE") == "offline" or not has_credentials()
        super().__init__(
            save_dir=folder,
            project=project,
            name=name,
            group=group,
            tags=tags,
            id=id_file.read_text().strip(),
            resume="allow",
            offline=offline,
            settings=wandb.Settings(
                silent=True, console="off", mode="offline" if offline else "online"
            ),
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


def has_credentials() -> bool:
    """Whether W&B can log in without asking: by WANDB_API_KEY, or `wandb login`'s netrc entry."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False

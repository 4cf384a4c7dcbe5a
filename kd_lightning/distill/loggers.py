"""Loggers that survive a killed run and are the same for one process or many."""

import csv
import io
import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from kd_lightning.distill.processes import is_first_process
from kd_lightning.errors import UserError
from kd_lightning.files import unwritable, write_atomic

KEPT_ROWS = 50  # rows in memory before they are written; every checkpoint writes them too


class RunCSVLogger(Logger):
    """`metrics.csv` (or another file) in the run folder, written by the first process alone.

    A kill at any moment leaves whole rows, but perhaps for the last; a resumed run keeps the rows
    of the steps before its checkpoint.

    Args:
        folder: the run folder.
        resume_step: optimizer step of the checkpoint that the run continues, or None.
        file: name of the file.
    """

    def __init__(
        self, folder: str, resume_step: int | None = None, file: str = "metrics.csv"
    ) -> None:
        super().__init__()
        self.path = Path(folder) / file
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


class RunTensorBoardLogger(TensorBoardLogger):
    """TensorBoard's events in `<folder>/tensorboard`; of a resumed run it shows none that the
    killed one has had since the checkpoint.

    Args:
        folder: the run folder.
        resume_step: optimizer step of the checkpoint that the run continues, or None.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self, folder: str, resume_step: int | None = None) -> None:
        try:
            super().__init__(folder, name=None, version="tensorboard", purge_step=resume_step)
        except ModuleNotFoundError as error:
            raise UserError(
                "logger=tensorboard needs the extra: pip install 'kd_lightning[tensorboard]'"
            ) from error

    def log_image(self, key: str, images: list[Image.Image], step: int | None = None) -> None:
        """Show 8-bit RGB images."""
        for image in images:
            self.experiment.add_image(key, np.asarray(image), step, dataformats="HWC")

    def log_summary(self, values: Mapping[str, float]) -> None:
        """Keep the latest value of each."""
        for name, value in values.items():
            self.experiment.add_scalar(name, value)


class RunMLflowLogger(MLFlowLogger):
    """MLflow: one run for each run folder; its id is kept in `<folder>/mlflow_id`.

    A local database takes the files of its runs into `mlruns` beside it; a server has a place of
    its own.

    Args:
        folder: the run folder.
        tracking_uri: `sqlite:///<file>`, or the address of a server.
        experiment: runs shown together.

    Raises:
        UserError: MLflow is not installed.
    """

    def __init__(self, folder: str, tracking_uri: str, experiment: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        kept = Path(folder) / "mlflow_id"
        database = tracking_uri.removeprefix("sqlite:///")
        local = database != tracking_uri
        beside = Path(database).absolute().parent
        try:
            super().__init__(
                experiment_name=experiment,
                tracking_uri=tracking_uri,
                artifact_location=(beside / "mlruns").as_uri() if local else None,
                run_id=kept.read_text().strip() if kept.is_file() else None,
            )
        except ModuleNotFoundError as error:
            raise UserError(
                "logger=mlflow needs the extra: pip install 'kd_lightning[mlflow]'"
            ) from error
        if is_first_process():
            if local:
                beside.mkdir(parents=True, exist_ok=True)
            # Two runs that start at once would both make the tables.
            with FileLock(f"{database}.lock") if local else nullcontext():
                write_atomic(kept, str(self.run_id).encode())

    @rank_zero_only
    def log_image(self, key: str, images: list[Image.Image], step: int | None = None) -> None:
        """Keep 8-bit RGB images as `<key>/<step>.png`."""
        for image in images:
            self.experiment.log_image(
                self.run_id, image, artifact_file=f"{key}/{step or 0:08d}.png"
            )

    @rank_zero_only
    def log_file(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Keep the file, and what describes it."""
        self.experiment.log_artifact(self.run_id, str(path))
        self.experiment.log_dict(self.run_id, dict(metadata), f"{path.stem}.json")

    @rank_zero_only
    def use_data(self, files: Mapping[str, Path]) -> None:
        """Keep the manifests of what the run learns from."""
        for name, path in files.items():
            self.experiment.log_artifact(self.run_id, str(path), f"data/{name}")

    @rank_zero_only
    def log_summary(self, values: Mapping[str, float]) -> None:
        """Keep the latest value of each."""
        self.log_metrics(values)

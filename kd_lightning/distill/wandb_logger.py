"""W&B: one run for each run folder, and nothing online that was switched off."""

import netrc
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from kd_lightning.distill.processes import is_first_process
from kd_lightning.errors import UserError
from kd_lightning.files import write_atomic

STEP = "trainer/global_step"  # what Lightning's logger calls the optimizer's step
OVER_IMAGES = ("train/*", "val/*", "speed/*", "memory/*")
WANDB_MODES: dict[str, Literal["online", "offline", "disabled"]] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


class RunWandbLogger(WandbLogger):
    """W&B: one run for each run folder, online, offline or not at all as `wandb_mode` says.

    The run's id is kept in `<folder>/wandb_id`, so that a resumed run continues it.

    Args:
        folder: the run folder.
        project: W&B project.
        name: display name of the run.
        group: runs shown together, for example the jobs of a sweep; or None.
        job_type: what the run does, among those of its group.
        tags: labels.
        notes: what it is for, in words; or None.
    """

    def __init__(
        self,
        folder: str,
        project: str,
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
    ) -> None:
        mode = wandb_mode()
        self.online = mode == "online"
        super().__init__(
            save_dir=folder,
            project=project,
            name=name,
            group=group,
            job_type=job_type,
            tags=tags,
            notes=notes,
            id=run_id(Path(folder) / "wandb_id") if is_first_process() else None,
            resume="allow",
            offline=mode == "offline",
            settings=wandb.Settings(silent=True, console="off", mode=mode),
        )
        self._wandb_init.pop("anonymous", None)  # W&B warns of it, and has dropped it

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's run, with its axes. Lightning's own gives all values one axis, which leaves it
        open which of two patterns that fit a name counts."""
        if self._experiment is None:
            self._experiment = wandb.init(**self._wandb_init)
            define_axes(self._experiment)
        return self._experiment

    @rank_zero_only
    def use_data(self, files: Mapping[str, Path]) -> None:
        """Name the manifests of what the run learns from as its input, an artifact of the type
        "dataset" whose version is its content; online only."""
        if not self.online:
            return
        entry = wandb.Artifact("triplets", type="dataset", description="manifests of the stores")
        for name, path in files.items():
            entry.add_file(str(path), name=f"{name}.json")
        self.experiment.use_artifact(entry)

    @rank_zero_only
    def log_file(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Keep the file as the run's output, an artifact of the type "model"; online only."""
        if not self.online:
            return
        name = student_artifact(self.experiment.id)
        entry = wandb.Artifact(name, type="model", metadata=dict(metadata))
        entry.add_file(str(path))
        self.experiment.log_artifact(entry)

    @rank_zero_only
    def log_summary(self, values: Mapping[str, float]) -> None:
        """Put values into the run's summary."""
        self.experiment.summary.update(dict(values))


def define_axes(run: Any) -> None:
    """Curves over the images seen, which compare between batch sizes; the optimizer's step, which
    is in each row too, can be chosen in its place."""
    run.define_metric(STEP)
    run.define_metric("images", step_metric=STEP)
    for pattern in OVER_IMAGES:
        run.define_metric(pattern, step_metric="images")
    run.define_metric("lr-*", step_metric=STEP)


def student_artifact(run: str) -> str:
    """The name of the artifact with the student of the run with this id."""
    return f"student-{run}"


def run_id(file: Path) -> str:
    """The W&B id in `file`. Where there is none, a new one, or what a W&B agent gives to the job
    of its sweep."""
    if not file.is_file():
        given = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        write_atomic(file, (given or secrets.token_hex(4)).encode())
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

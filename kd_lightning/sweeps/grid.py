"""Hydra's own sweeper, every combination of the values that are given; a job whose process dies is
a failed job."""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from kd_lightning.config import check_keys
from kd_lightning.distill.job import go_on
from kd_lightning.distill.jobs import as_job, leave_mark
from kd_lightning.distill.lock import holder
from kd_lightning.distill.marks import FAILED
from kd_lightning.distill.resume import differing, free
from kd_lightning.distill.run import accepted
from kd_lightning.errors import UserError
from kd_lightning.sweeps import command
from kd_lightning.sweeps.table import results
from kd_lightning.values import check_values

LAUNCHERS = ("joblib", "submitit", "ray", "concurrent")  # whose errors tell of a dead process


class GridSweeper(BasicSweeper):
    """Sweeps over the product of `params` and the command line's lists."""

    def setup(self, **kwargs: Any) -> None:
        super().setup(**kwargs)
        if self.max_batch_size is not None:
            at_least_one("max_batch_size", self.max_batch_size)
        assert self.launcher is not None and self.config is not None
        assert self.hydra_context is not None
        folder = Path(self.config.hydra.sweep.dir)
        loader = self.hydra_context.config_loader
        launch = outliving(self.launcher, folder, self.config, loader)
        self.launcher.launch = launch  # type: ignore[method-assign]


def at_least_one(key: str, number: object) -> None:
    """Raises UserError for a sweep that would never launch a job."""
    if not isinstance(number, int) or number < 1:
        raise UserError(f"hydra.sweeper.{key}={number}: give at least 1")


def outliving(
    launcher: Launcher, folder: Path, config: DictConfig, loader: ConfigLoader
) -> Callable[..., Sequence[JobReturn]]:
    """`launcher.launch` for a sweep in `folder`. A process that dies, for want of memory say, takes
    others of the same launcher with it: those jobs are marked as failed, and the sweep lives on;
    jobs that had not begun are left for `sweep.resume`. Jobs that `folder` holds already must be
    the same and able to go on, or nothing is launched (UserError); `config` is Hydra's of the
    multirun, `loader` composes the jobs of it."""
    launch = launcher.launch

    def outlived(jobs: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        for number, job in enumerate(jobs, start=initial_job_idx):
            run = folder / str(number)
            failed = (run / FAILED).is_file() and results(run) is None  # no more to lose
            if changed_keys(run, job) and not failed:
                refuse_what_fails(run, composed(loader, config, job, run))
        command.keep(config)
        try:
            return launch(jobs, initial_job_idx=initial_job_idx)
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in LAUNCHERS:
                raise
            line = f"the launcher lost a process ({type(error).__name__})"
            traceback.print_exception(error)
            for number in range(initial_job_idx, initial_job_idx + len(jobs)):
                run = folder / str(number)
                if run.is_dir() and results(run) is None and holder(run) is None:
                    leave_mark(run, error, line, number)
            return []

    return outlived


def changed_keys(run: Path, job: Sequence[str]) -> list[str]:
    """The keys that `job` overrides otherwise than the job in the folder `run` did, if there is
    one. Raises UserError for what no resumed run may change: it is another job, whose files Hydra
    would write over those in `run`."""
    file = run / ".hydra" / "overrides.yaml"
    if not file.is_file():
        return []
    before, now = (
        dict(word.lstrip("+").partition("=")[::2] for word in words if "=" in word)
        for words in (command.plain(OmegaConf.load(file)), job)
    )
    changed = [key for key in differing(before, now) if not key.startswith("hydra.")]
    for key in changed:
        if not free(key):
            raise UserError(
                f"{run}: holds the job of {key}={before.get(key)}, not of {key}={now.get(key)}: "
                "give a new sweep hydra.sweep.dir= of its own"
            )
    return changed


def composed(loader: ConfigLoader, config: DictConfig, job: Sequence[str], run: Path) -> DictConfig:
    """What the program will get as the job in the folder `run`."""
    cfg = loader.load_sweep_config(config, list(job))
    with open_dict(cfg):
        cfg.hydra.job.num, cfg.hydra.run.dir = int(run.name), str(run)
        cfg.hydra.runtime.output_dir = str(run.absolute())
    return as_job(cfg)


def refuse_what_fails(run: Path, cfg: DictConfig) -> None:
    """Raises UserError where the job `cfg` would fail, or cannot go on from what `run` has."""
    check_keys(cfg)
    check_values(cfg)
    go_on(cfg, run)
    accepted(cfg)

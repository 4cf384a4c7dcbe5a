"""Hydra's own sweeper, every combination of the values that are given; a job whose process dies is
a failed job."""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from kd_lightning.distill.jobs import leave_mark
from kd_lightning.distill.lock import holder
from kd_lightning.sweeps.table import results

LAUNCHERS = ("joblib", "submitit", "ray", "concurrent")  # whose errors tell of a dead process


class GridSweeper(BasicSweeper):
    """Sweeps over the product of `params` and the command line's lists."""

    def setup(self, **kwargs: Any) -> None:
        super().setup(**kwargs)
        assert self.launcher is not None and self.config is not None
        folder = Path(self.config.hydra.sweep.dir)
        self.launcher.launch = outliving(self.launcher, folder)  # type: ignore[method-assign]


def outliving(launcher: Launcher, folder: Path) -> Callable[..., Sequence[JobReturn]]:
    """`launcher.launch` for a sweep in `folder`. A process that dies, for want of memory say, takes
    others of the same launcher with it: those jobs are marked as failed, and the sweep lives on;
    jobs that had not begun are left for `sweep.resume`."""
    launch = launcher.launch

    def outlived(jobs: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
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

"""Optuna as a Hydra sweeper: one study in the sweep's folder, whatever happens to its processes.

Hydra's own plugin (hydra-optuna-sweeper 1.3.0) holds Optuna at 2.10 with SQLAlchemy below 2, ends
at the first failed trial, prunes nothing, and begins anew when it is started again.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kd_lightning.distill.job import objective
from kd_lightning.distill.lock import holder
from kd_lightning.distill.marks import FAILED, PRUNED
from kd_lightning.errors import UserError
from kd_lightning.files import write_atomic
from kd_lightning.sweeps.grid import at_least_one, outliving
from kd_lightning.sweeps.table import UNFINISHED, results

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from kd_lightning.sweeps.journal import Study

MISSING = "sweep=optuna needs the extra: pip install 'kd_lightning[sweeps]'"


class OptunaSweeper(Sweeper):
    """Trials of one Optuna study, each a job in the folder of its number.

    The suggestion of a trial is a function of `seed`, its number and the trials before it, so that
    a study that was killed and resumed asks for the same trials as an undisturbed one. Processes
    that are started with the same sweep folder share the study. A trial whose process was killed is
    taken up again by the next sweeper that starts, from its last checkpoint.

    Args:
        n_trials: of the whole study, failed and pruned ones included.
        n_jobs: trials that the launcher gets at once.
        seed: of the suggestions.
        params: key -> `interval(a, b)`, `tag(log, interval(a, b))`, `int(interval(a, b))`,
            `choice(...)` or `range(...)`, as on Hydra's command line, which overrides them.
        sampler: node of an `optuna.samplers` class that takes `seed`.
    """

    def __init__(
        self, n_trials: int, n_jobs: int, seed: int, params: DictConfig, sampler: DictConfig
    ) -> None:
        self.n_trials, self.n_jobs, self.seed = n_trials, n_jobs, seed
        self.params, self.sampler = params, sampler
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run what is missing of the study.

        Raises:
            UserError: Optuna is not installed, there is nothing to search, or no trial at once.
        """
        at_least_one("n_jobs", self.n_jobs)
        at_least_one("n_trials", self.n_trials)
        try:
            from kd_lightning.sweeps.journal import Study
        except ImportError as error:
            raise UserError(MISSING) from error
        assert self.config is not None and self.hydra_context is not None
        assert self.launcher is not None
        folder = Path(self.config.hydra.sweep.dir)
        mode = OmegaConf.select(self.config, "callbacks.best.mode", default="max")
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        words = [*(f"{key!s}={value}" for key, value in self.params.items()), *arguments]
        fixed, space = search_space(parser.parse_overrides(words))
        if not space:
            raise UserError("hydra.sweeper.params: nothing to search; give KEY: interval(a, b)")
        launch = outliving(self.launcher, folder, self.config, self.hydra_context.config_loader)
        study = Study(folder, "maximize" if mode == "max" else "minimize")
        with study.sweeper():
            waiting = study.abandoned()
            while batch := self.next_batch(study, space, waiting):
                jobs = [[*fixed, *assignments(trial.params)] for trial in batch]
                self.validate_batch_is_legal(jobs)
                for first, several in consecutive([trial.number for trial in batch]):
                    numbered = dict(zip((trial.number for trial in batch), jobs, strict=True))
                    launch([numbered[number] for number in several], initial_job_idx=first)
                for trial in batch:
                    conclude(study, trial)

    def next_batch(
        self, study: "Study", space: Mapping[str, "BaseDistribution"], waiting: list["FrozenTrial"]
    ) -> list["FrozenTrial"]:
        """The trials to run now: those that `waiting` (emptied here) has, and new ones."""
        batch = waiting[: self.n_jobs]
        del waiting[: self.n_jobs]
        while len(batch) < self.n_jobs:
            trial = study.ask(space, self.make_sampler, self.n_trials)
            if trial is None:
                break
            batch.append(trial)
        return batch

    def make_sampler(self, number: int) -> Any:
        """The sampler for the trial of this number."""
        return instantiate(self.sampler, seed=self.seed + number)


def search_space(
    overrides: Iterable[Override],
) -> tuple[list[str], dict[str, "BaseDistribution"]]:
    """The overrides that every trial has, and what is searched by key; the last of a key holds."""
    fixed: dict[str, str] = {}
    space: dict[str, BaseDistribution] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            fixed.pop(key, None)
            space[key] = distribution(override)
        else:
            space.pop(key, None)
            fixed[key] = str(override.input_line)
    return list(fixed.values()), space


def distribution(override: Override) -> "BaseDistribution":
    """What Optuna searches for a sweep of Hydra's. Raises UserError for a range of nothing."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    interval = override.value()
    try:
        if not isinstance(interval, IntervalSweep):
            return CategoricalDistribution(list(override.sweep_string_iterator()))
        low, high, log = interval.start, interval.end, "log" in interval.tags
        assert low is not None and high is not None
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(low, high, log=log)
    except ValueError as error:
        raise UserError(f"{override.input_line}: {error}") from None


def assignments(params: Mapping[str, Any]) -> list[str]:
    """The overrides of a trial."""
    return [f"{key}={value!s}" for key, value in params.items()]


def consecutive(numbers: list[int]) -> list[tuple[int, list[int]]]:
    """Runs of numbers without a gap, each with its first: launchers count on from one."""
    runs: list[tuple[int, list[int]]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1][-1] == number - 1:
            runs[-1][1].append(number)
        else:
            runs.append((number, [number]))
    return runs


def conclude(study: "Study", trial: "FrozenTrial") -> None:
    """Tell the study what became of a trial; nothing where a process still runs it."""
    from optuna.trial import TrialState

    run = study.folder / str(trial.number)
    if holder(run):
        return
    if (run / PRUNED).is_file():
        study.tell(trial, TrialState.PRUNED, None)
        return
    value = objective(run) if results(run) is not None else None
    if value is not None and math.isfinite(value):
        study.tell(trial, TrialState.COMPLETE, value)
        return
    if not (run / FAILED).is_file():
        reason = UNFINISHED if value is None else f"its objective is {value}"
        write_atomic(run / FAILED, reason.encode())
    study.tell(trial, TrialState.FAIL, None)

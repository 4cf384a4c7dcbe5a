"""An Optuna study in a file that several processes share and that outlives each of them."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from kd_lightning.distill.lock import exclusive, holder, sole_writer

JOURNAL = "study.journal"  # in the sweep's folder
NAME = "study"
SWEEPER = "sweeper"  # attribute of a trial: which process takes care of it
DIGITS = 4  # significant ones of a suggested number


class KernelLock(BaseJournalFileLock):
    """A lock that ends with the process that holds it. Optuna's own are files, which a killed
    process leaves behind for half a minute."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def acquire(self) -> bool:
        self._held = exclusive(self._path)
        self._held.__enter__()
        return True

    def release(self) -> None:
        self._held.__exit__(None, None, None)


class Study:
    """The study in a sweep's folder, made where there is none.

    Args:
        folder: the sweep's.
        direction: of the objective; None opens a study that is there.
    """

    def __init__(
        self, folder: Path, direction: Literal["maximize", "minimize"] | None = None
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.token = secrets.token_hex(4)  # names this process
        self.storage = journal(folder)
        if direction is None:
            self.optuna = optuna.load_study(study_name=NAME, storage=self.storage)
        else:
            self.optuna = optuna.create_study(
                storage=self.storage, study_name=NAME, direction=direction, load_if_exists=True
            )

    @contextmanager
    def sweeper(self) -> Iterator[None]:
        """While this process takes care of trials; its death is seen by the others."""
        with sole_writer(self._sweeper(self.token)):
            yield

    def abandoned(self) -> list[FrozenTrial]:
        """The running trials whose sweeper is dead: from now on they are this process's."""
        with self._alone():
            running = self.optuna.get_trials(states=(TrialState.RUNNING,))
            found = [t for t in running if not self._cared_for(t.user_attrs[SWEEPER])]
            for trial in found:
                self.storage.set_trial_user_attr(trial._trial_id, SWEEPER, self.token)
        return found

    def ask(
        self,
        space: Mapping[str, BaseDistribution],
        sampler: Callable[[int], BaseSampler],
        most: int,
    ) -> FrozenTrial | None:
        """A new trial, or None where the study has `most`. It is written at once and whole.

        Args:
            space: what to search, by key.
            sampler: makes the sampler for the trial of a number.
        """
        with self._alone():
            history = self.optuna.get_trials()
            number = len(history)
            if number >= most:
                return None
            twin = optuna.create_study(direction=self.optuna.direction, sampler=sampler(number))
            twin.add_trials(history)
            params = {k: rounded(v, space[k]) for k, v in twin.ask(dict(space)).params.items()}
            self.optuna.add_trial(
                create_trial(
                    state=TrialState.RUNNING,
                    params=params,
                    distributions=dict(space),
                    user_attrs={SWEEPER: self.token},
                )
            )
            return self.optuna.get_trials()[number]

    def tell(self, trial: FrozenTrial, state: TrialState, value: float | None) -> None:
        """End a trial; `value` only with COMPLETE."""
        self.optuna.tell(trial.number, value, state=state)

    def _alone(self) -> Any:
        return exclusive(self.folder / "study.lock")

    def _sweeper(self, token: str) -> Path:
        return self.folder / ".sweepers" / token

    def _cared_for(self, token: str) -> bool:
        return token == self.token or holder(self._sweeper(token)) is not None


def journal(folder: Path) -> optuna.storages.JournalStorage:
    """The storage of the study in a sweep's folder."""
    file = folder / JOURNAL
    lock = KernelLock(file.with_suffix(".journal.lock"))
    return optuna.storages.JournalStorage(JournalFileBackend(str(file), lock))


def rounded(value: Any, distribution: BaseDistribution) -> Any:
    """A suggested number as people write it, inside its range."""
    if not isinstance(distribution, FloatDistribution):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), distribution.low), distribution.high)

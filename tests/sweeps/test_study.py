"""An Optuna study that several processes share and that outlives each of them."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from kd_lightning.errors import UserError
from kd_lightning.sweeps.journal import Study
from kd_lightning.sweeps.study import conclude, consecutive, search_space

SPACE = {
    "loss.alpha": FloatDistribution(0.5, 1.0),
    "optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True),
}


def sampler(number: int) -> TPESampler:
    return TPESampler(n_startup_trials=3, seed=number)


def ask(study: Study, most: int = 100) -> FrozenTrial | None:
    return study.ask(SPACE, sampler, most)


def searched(*words: str) -> tuple[list[str], dict]:
    return search_space(OverridesParser.create().parse_overrides(list(words)))


def run_study(study: Study, trials: int, between: Callable[[], Study] | None = None) -> list[dict]:
    """The suggestions of a study whose score is alpha; `between` trials it may be another."""
    while trial := ask(study, trials):
        study.tell(trial, TrialState.COMPLETE, trial.params["loss.alpha"])
        study = between() if between else study
    return [trial.params for trial in study.optuna.get_trials()]


def test_hydras_ranges_are_searched_and_single_values_fixed() -> None:
    fixed, space = searched(
        "loss.alpha=interval(0.5, 1.0)",
        "optimizer.lr=tag(log, interval(1e-4, 1e-2))",
        "student.width=int(interval(8, 32))",
        "loss=hybrid,hybrid_gradient",
        "seed=range(0, 3)",
        "name=x",
    )
    assert fixed == ["name=x"]
    assert space == {
        **SPACE,
        "student.width": IntDistribution(8, 32),
        "loss": CategoricalDistribution(["hybrid", "hybrid_gradient"]),
        "seed": CategoricalDistribution(["0", "1", "2"]),
    }


def test_the_command_line_overrides_what_the_configuration_searches() -> None:
    fixed, space = searched("loss.alpha=interval(0.5, 1.0)", "seed=1,2", "loss.alpha=0.7")
    assert fixed == ["loss.alpha=0.7"]
    assert list(space) == ["seed"]
    with pytest.raises(UserError, match=r"loss\.alpha=interval\(1\.0,0\.5\)|loss\.alpha"):
        searched("loss.alpha=tag(log, interval(0.0, 0.5))")


def test_a_study_resumed_after_every_trial_asks_for_the_same_ones(tmp_path: Path) -> None:
    whole = run_study(Study(tmp_path / "whole", "maximize"), 8)
    parts = run_study(Study(tmp_path / "parts", "maximize"), 8, lambda: Study(tmp_path / "parts"))
    assert parts == whole
    assert len({json.dumps(params) for params in whole}) == 8


def test_a_trial_is_in_the_journal_whole_or_not_at_all(tmp_path: Path) -> None:
    study = Study(tmp_path, "maximize")
    before = (tmp_path / "study.journal").read_bytes().count(b"\n")
    trial = ask(study)
    assert trial is not None
    assert (tmp_path / "study.journal").read_bytes().count(b"\n") == before + 1
    (stored,) = Study(tmp_path).optuna.get_trials()
    assert stored.state == TrialState.RUNNING
    assert stored.params == trial.params


def test_the_trials_of_a_killed_process_are_taken_over_once_and_of_a_living_one_never(
    tmp_path: Path,
) -> None:
    ready, told = os.pipe()
    if (pid := os.fork()) == 0:
        study = Study(tmp_path, "maximize")
        with study.sweeper():
            ask(study)
            os.write(told, b"x")
            signal.pause()
    os.read(ready, 1)
    ours, another = Study(tmp_path), Study(tmp_path)
    with ours.sweeper():
        try:
            assert ours.abandoned() == []
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert [trial.number for trial in ours.abandoned()] == [0]
        if (pid := os.fork()) == 0:  # another process: this one may not look at its own lock
            os._exit(len(another.abandoned()))
        assert os.waitpid(pid, 0)[1] == 0


def test_processes_that_ask_at_once_get_different_trials_and_no_more_than_wanted(
    tmp_path: Path,
) -> None:
    Study(tmp_path, "maximize")
    pids = []
    for _ in range(3):
        if (pid := os.fork()) == 0:
            study = Study(tmp_path)
            while ask(study, 10):
                pass
            os._exit(0)
        pids.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
    trials = Study(tmp_path).optuna.get_trials()
    assert len(trials) == 10
    assert len({trial.params["loss.alpha"] for trial in trials}) == 10


@pytest.mark.parametrize(
    ("score", "state", "reason"),
    [
        (0.9, TrialState.COMPLETE, None),
        (float("nan"), TrialState.FAIL, "its objective is nan"),
        (float("-inf"), TrialState.FAIL, "its objective is -inf"),
        (None, TrialState.FAIL, "ended without results"),
    ],
)
def test_a_trial_without_a_finite_score_is_a_failed_trial(
    tmp_path: Path, score: float | None, state: TrialState, reason: str | None
) -> None:
    study = Study(tmp_path, "maximize")
    trial = ask(study)
    assert trial is not None
    run = tmp_path / "0"
    (run / "checkpoints").mkdir(parents=True)
    if score is not None:
        (run / "student.safetensors").touch()
        (run / "metrics.json").write_text("{}")
        callbacks = {"best": {"monitor": "val/ssim", "best_model_score": torch.tensor(score)}}
        empty = {key: {} for key in ("state_dict", "hyper_parameters", "loops")}
        checkpoint = {**empty, "callbacks": callbacks, "global_step": 1, "epoch": 1}
        torch.save(checkpoint, run / "checkpoints" / "best.ckpt")
    conclude(study, trial)
    (told,) = Study(tmp_path).optuna.get_trials()
    assert told.state == state
    mark = run / "failed.txt"
    assert (mark.read_text() if mark.exists() else None) == reason
    assert ask(study) is not None  # and not the end


def test_launchers_get_trials_by_runs_of_consecutive_numbers() -> None:
    assert consecutive([7, 2, 3, 9, 8]) == [(2, [2, 3]), (7, [7, 8, 9])]

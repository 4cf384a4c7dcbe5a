"""Trials are given up at a validation where those before them were better."""

from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from kd_lightning.distill.marks import Pruned
from kd_lightning.distill.run import train
from kd_lightning.sweeps.journal import Study
from kd_lightning.sweeps.pruning import PruneTrials
from tests.runs import tiny_run

SPACE = {"loss.alpha": FloatDistribution(0.0, 1.0)}
OPTIONS = (
    *("sweep=optuna", "callbacks.pruning.pruner.n_startup_trials=2", "student=student_fast"),
    *("student.width=4", "student.depth=3", "data.crop_size=24", "callbacks.pictures=null"),
)
PRUNER = optuna.pruners.MedianPruner(n_startup_trials=2)


def studied(folder: Path, score: float) -> Path:
    """A study with two trials that ended with this score after epoch 1; the third one's folder."""
    study = Study(folder, "maximize")
    for _ in range(2):
        trial = study.ask(SPACE, lambda number: RandomSampler(seed=number), 10)
        assert trial is not None
        study.storage.set_trial_intermediate_value(trial._trial_id, 1, score)
        study.tell(trial, TrialState.COMPLETE, score)
    assert study.ask(SPACE, lambda number: RandomSampler(seed=number), 10) is not None
    return folder / "2"


@pytest.mark.parametrize(("score", "given_up"), [(0.4, True), (0.6, False)])
def test_a_trial_below_the_median_of_those_before_is_given_up(
    tmp_path: Path, score: float, given_up: bool
) -> None:
    run = studied(tmp_path, 0.5)
    assert PruneTrials(str(run), "val/ssim", PRUNER).judge(1, score) is given_up
    trials = Study(tmp_path).optuna.get_trials()
    assert trials[2].intermediate_values == {1: score}


@pytest.mark.slow
def test_a_run_is_given_up_at_its_validation_and_as_no_trial_it_goes_to_its_end(
    tmp_path: Path, photos: Path
) -> None:
    run = studied(tmp_path / "sweep", 2.0)  # no SSIM is as good
    with pytest.raises(Pruned, match=r"val/ssim .* after epoch 1$"):
        train(tiny_run(run, photos, *OPTIONS))
    assert not (run / "student.safetensors").exists()
    alone = tmp_path / "alone"
    train(tiny_run(alone, photos, *OPTIONS))
    assert (alone / "student.safetensors").is_file()

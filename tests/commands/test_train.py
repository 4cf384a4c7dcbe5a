"""kd-train."""

import csv
from pathlib import Path

import pytest

from kd_lightning.commands.train import run
from tests.runs import tiny_run


def test_job_returns_the_best_validated_score_as_a_sweepers_objective(
    tmp_path: Path, photos: Path
) -> None:
    returned = run(tiny_run(tmp_path, photos))
    with (tmp_path / "metrics.csv").open() as file:
        scores = [float(row["val/ssim"]) for row in csv.DictReader(file) if row["val/ssim"]]
    assert len(scores) == 2
    assert returned == pytest.approx(max(scores), abs=1e-6)

"""Loggers survive a kill; images, files and summaries go to each that can hold them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd_lightning.distill.loggers import RunCSVLogger, RunMLflowLogger, RunTensorBoardLogger
from kd_lightning.distill.publish import log_file, log_image, log_summary, use_data


def test_a_row_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    first = RunCSVLogger(str(tmp_path))
    for step in (3, 4, 12):
        first.log_metrics({"loss": step / 8}, step)
    first.save()
    file = tmp_path / "metrics.csv"
    file.write_text(file.read_text()[:-2])  # the last row says step 1 now
    RunCSVLogger(str(tmp_path), resume_step=10)
    assert file.read_text() == "loss,step\n0.375,3\n0.5,4\n"


def test_rows_are_kept_when_a_new_column_comes(tmp_path: Path) -> None:
    logger = RunCSVLogger(str(tmp_path))
    logger.log_metrics({"loss": 0.5}, 1)
    logger.save()
    logger.log_metrics({"a": 0.25}, 2)
    logger.finalize("success")
    assert (tmp_path / "metrics.csv").read_text() == "a,loss,step\n,0.5,1\n0.25,,2\n"


def test_tensorboard_shows_no_step_twice_after_a_kill(tmp_path: Path) -> None:
    """A killed run has had steps since its last checkpoint."""
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for resume_step, steps in ((None, range(11)), (8, range(8, 16))):
        logger = RunTensorBoardLogger(str(tmp_path), resume_step)
        for step in steps:
            logger.log_metrics({"loss": 1.0}, step)
        logger.save()
    shown = EventAccumulator(str(tmp_path / "tensorboard"))
    shown.Reload()
    assert [event.step for event in shown.Scalars("loss")] == list(range(16))


@pytest.mark.slow
def test_mlflow_keeps_a_run_with_its_images_files_and_summary(tmp_path: Path) -> None:
    """Also after the run was killed and resumed."""
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    pytest.importorskip("sqlalchemy")
    uri = f"sqlite:///{tmp_path}/logs/mlflow.db"
    weights, manifest = tmp_path / "student.safetensors", tmp_path / "manifest.json"
    weights.write_bytes(b"weights")
    manifest.write_text("{}")
    run_folder = tmp_path / "run"
    first = RunMLflowLogger(str(run_folder), uri, "kd")
    first.log_metrics({"val/ssim": 0.5}, 9)
    logger = RunMLflowLogger(str(run_folder), uri, "kd")
    assert logger.run_id == first.run_id
    use_data([logger], {"00_train": manifest})
    image = Image.fromarray(np.full((4, 6, 3), 7, np.uint8))
    log_image([logger], "val/comparison/0801", image, 20)
    log_file([logger], weights, {"valid": {"n": 1}})
    log_summary([logger], {"best/val/ssim": 0.5, "best/step": 9})
    logger.log_hyperparams({"loss": {"alpha": 0.85}})
    logger.finalize("success")

    client = mlflow.MlflowClient(uri)
    run = client.get_run(logger.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"val/ssim": 0.5, "best/val/ssim": 0.5, "best/step": 9}
    assert run.data.params["loss/alpha"] == "0.85"
    (kept,) = (tmp_path / "logs" / "mlruns").rglob("artifacts")
    assert (kept / "student.safetensors").read_bytes() == b"weights"
    assert json.loads((kept / "student.json").read_text()) == {"valid": {"n": 1}}
    assert (kept / "data" / "00_train" / "manifest.json").is_file()
    shown = Image.open(kept / "val" / "comparison" / "0801" / "00000020.png")
    assert np.array_equal(np.asarray(shown), np.full((4, 6, 3), 7, np.uint8))

"""An artifact says the same of its run, whether the run wrote it or kd-export did."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import OmegaConf

from kd_lightning.deploy.export import export
from kd_lightning.distill.checkpoints import AtomicCheckpointIO
from kd_lightning.distill.losses import DistillationLoss
from kd_lightning.distill.module import DistillationModule
from kd_lightning.distill.results import origin_of
from kd_lightning.distill.run import train
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.checkpoint import load_checkpoint
from kd_lightning.models.students import StudentFast
from tests.runs import CONF, composed, tiny_run

DEGRADATIONS = sorted(path.stem for path in (CONF / "degradation").glob("*.yaml"))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_checkpoint_states_the_key_of_its_degradation(tmp_path: Path, name: str) -> None:
    if name in ("call", "h264", "vp8", "vp9"):
        pytest.importorskip("av", reason="PyAV (extra video) is not installed")
    cfg = composed(
        tmp_path, f"degradation={name}", "student=student_fast", "student.width=8", "logger=csv"
    )
    degradation = instantiate(cfg.degradation)
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    module = DistillationModule(
        StudentFast(width=8, depth=config["student"]["depth"]),
        DistillationLoss(),
        optimizer=lambda parameters: None,
        scheduler=lambda optimizer: None,
        config=config,
        origin=origin_of(config, degradation),
    )
    plugins = [AtomicCheckpointIO()]
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, plugins=plugins)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    _, metadata = load_checkpoint(tmp_path / "last.ckpt")
    assert metadata["degradation"] == degradation.key


def test_artifact_of_a_checkpoint_says_what_the_artifact_of_its_run_does(
    tmp_path: Path, photos: Path
) -> None:
    """All but the test's scores and the time, which no checkpoint knows."""
    train(tiny_run(tmp_path / "run", photos))
    export(tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "s.safetensors")
    _, own = load_artifact(tmp_path / "run" / "student.safetensors")
    _, exported = load_artifact(tmp_path / "s.safetensors")
    assert exported == {k: v for k, v in own.items() if k not in ("metrics", "train_minutes")}
    assert own["degradation"] == "bicubic"

"""One run: prepare, fit, test the best weights, write what it leaves behind."""

import hashlib
import json
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import wandb
from hydra.utils import instantiate
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.table import Table

from kd_lightning.config import check_keys
from kd_lightning.distill.losses import make_loss
from kd_lightning.distill.metrics import make_metrics
from kd_lightning.distill.module import ROWS, DistillationModule
from kd_lightning.distill.publish import log_file
from kd_lightning.distill.summary import summary
from kd_lightning.errors import UserError
from kd_lightning.files import write_atomic
from kd_lightning.models.artifact import check_saveable, save_artifact
from kd_lightning.models.checkpoint import student_arguments
from kd_lightning.models.init_from import load_init_from
from kd_lightning.models.network import fuse_and_round
from kd_lightning.quality import Metric

# Lightning 2.6 says so itself, with torch 2.13, on every run.
warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)")


def train(cfg: DictConfig) -> float | None:
    """Run the composed configuration; returns the best value of what the checkpoints monitor, by
    default `val/ssim`, or None where nothing is monitored.

    Everything is written under `cfg.run_folder`: `checkpoints/`, `metrics.csv`, `metrics.json`,
    `images/`, `student.safetensors`, `.hydra/` and the W&B files.

    Raises:
        UserError: a key, a file or a value of the configuration is wrong, or the loss diverged.
    """
    check_keys(cfg)
    folder = Path(cfg.run_folder)
    step = checkpoint_step(cfg.ckpt_path)
    precision_for_device(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")
    config = resolved(cfg)

    teacher = instantiate(cfg.teacher)
    data = instantiate(cfg.data, teacher=teacher)
    student = instantiate(cfg.student)
    check_saveable(student, student_arguments(config["student"]))
    tell(summary(config, student, teacher))
    if cfg.init_from is not None:
        tell(f"starting from {load_init_from(student, cfg.init_from)}")
    make_features = instantiate(cfg.features)
    module = DistillationModule(
        student=student,
        loss=make_loss(cfg.loss),
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler.make),
        interval=cfg.scheduler.interval,
        tile=cfg.eval_tile,
        config=config,
        features=make_features and make_features(student=student),
        metrics=make_metrics(cfg.metrics),
    )
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if node is not None]
    try:
        loggers = make_loggers(cfg, step)
        trainer: Trainer = instantiate(cfg.trainer, callbacks=callbacks, logger=loggers)
        started = time.perf_counter()
        trainer.fit(module, datamodule=data, ckpt_path=cfg.ckpt_path)
        minutes = (time.perf_counter() - started) / 60
        load_best(trainer, module)
        module.student = fuse_and_round(module.student)  # what is scored is what is written
        trainer.test(module, datamodule=data, verbose=False)
        if trainer.is_global_zero:
            save_results(folder, config, module, trainer, module.test_results(), minutes)
    finally:
        wandb.finish()
    return objective(trainer)


@rank_zero_only
def tell(text: str) -> None:
    """Print on one of the processes."""
    print(text, flush=True)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain containers, interpolations and all."""
    content = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def checkpoint_step(ckpt_path: str | None) -> int | None:
    """Optimizer step of the checkpoint to continue from."""
    if ckpt_path is None:
        return None
    if not Path(ckpt_path).is_file():
        raise UserError(f"ckpt_path={ckpt_path}: no such file; name a checkpoints/last.ckpt")
    return int(torch.load(ckpt_path, map_location="cpu", weights_only=True)["global_step"])


def precision_for_device(cfg: DictConfig) -> None:
    """Replace fp16 by fp32 where it would run on a CPU, and say so."""
    on_cpu = cfg.trainer.get("accelerator") == "cpu" or not (
        torch.cuda.is_available() or torch.backends.mps.is_available()
    )
    if on_cpu and cfg.precision.lightning == "16-mixed":
        tell("precision=fp16 needs a GPU: running in fp32 on this CPU (precision=bf16 also works)")
        with open_dict(cfg):
            cfg.precision.lightning = "32-true"


def make_loggers(cfg: DictConfig, resume_step: int | None) -> list[Any]:
    loggers = {name: instantiate(node) for name, node in (cfg.logger or {}).items()}
    return [
        logger(resume_step=resume_step) if name == "csv" else logger
        for name, logger in loggers.items()
    ]


def objective(trainer: Trainer) -> float | None:
    """The best value of what the checkpoints monitor."""
    for callback in trainer.checkpoint_callbacks:
        score = getattr(callback, "best_model_score", None)
        if getattr(callback, "monitor", None) and score is not None:
            return float(score)
    return None


def load_best(trainer: Trainer, module: DistillationModule) -> None:
    """Put the weights of the best validated checkpoint into `module`."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_path:
            state = torch.load(callback.best_model_path, map_location="cpu", weights_only=True)
            module.load_state_dict(state["state_dict"])


def save_results(
    folder: Path,
    config: dict[str, Any],
    module: DistillationModule,
    trainer: Trainer,
    results: dict[str, Any],
    minutes: float,
) -> None:
    """Write the metrics and the artifact, log the artifact, and tell the user where they are."""
    write_json(folder / "metrics.json", results)
    arguments = student_arguments(config["student"])
    degradation = trainer.datamodule.recipe.degradation  # type: ignore[attr-defined]
    metadata = {
        "metrics": results,
        "config_sha256": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        "loss": config["loss"],
        "degradation": getattr(degradation, "key", degradation),
        "steps": trainer.global_step,
        "train_minutes": round(minutes, 2),
    }
    artifact = save_artifact(folder / "student.safetensors", module.student, arguments, metadata)
    log_file(trainer.loggers, artifact, results)
    Console().print(results_table(results, module.metrics))
    print(f"images      {folder / 'images'}", f"artifact    {artifact}", sep="\n")
    for offline in sorted((folder / "wandb").glob("offline-run-*")):
        print(f"W&B         {offline} (offline; `wandb sync` uploads it)")


def results_table(results: dict[str, Any], metrics: Mapping[str, Metric]) -> Table:
    """The test table: one row for each set and method."""
    table = Table("test set", "images", "method", *(metric.label for metric in metrics.values()))
    for name, rows in results.items():
        for method in ROWS:
            if method in rows:
                cells = (metric.text(rows[method][key]) for key, metric in metrics.items())
                table.add_row(name, str(rows["n"]), method, *cells)
    return table


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())

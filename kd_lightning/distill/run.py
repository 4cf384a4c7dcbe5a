"""One run: prepare, fit, test the best weights, write what it leaves behind."""

import hashlib
import json
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import wandb
from hydra.utils import instantiate
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.table import Table

from kd_lightning.config import check_keys
from kd_lightning.distill.module import DistillationModule
from kd_lightning.errors import UserError
from kd_lightning.files import write_atomic
from kd_lightning.models.artifact import check_saveable, save_artifact
from kd_lightning.models.checkpoint import student_arguments
from kd_lightning.models.init_from import load_init_from
from kd_lightning.models.network import fuse_and_round

# Lightning 2.6 says so itself, with torch 2.13, on every run.
warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)")

METRICS = {"ssim_rgb": "RGB-SSIM", "psnr_y": "PSNR-Y (dB)", "ssim_y": "SSIM-Y"}


def train(cfg: DictConfig) -> dict[str, Any]:
    """Run the composed configuration; returns the content of the run's `metrics.json`.

    Everything is written under `cfg.run_folder`: `checkpoints/`, `metrics.csv`, `metrics.json`,
    `images/`, `student.safetensors`, `.hydra/` and the W&B files.

    Raises:
        UserError: a key, a file or a value of the configuration is wrong, or the loss diverged.
    """
    check_keys(cfg)
    initial = init_weights(cfg)
    folder = Path(cfg.run_folder)
    step = checkpoint_step(cfg.ckpt_path)
    precision_for_device(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")
    config = resolved(cfg)

    data = instantiate(cfg.data, teacher=instantiate(cfg.teacher))
    student = instantiate(cfg.student)
    check_saveable(student, student_arguments(config["student"]))
    if initial is not None:
        print(f"starting from {load_init_from(student, initial)}")
    make_features = instantiate(cfg.features)
    module = DistillationModule(
        student=student,
        loss=instantiate(cfg.loss),
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler.make),
        interval=cfg.scheduler.interval,
        tile=cfg.eval_tile,
        config=config,
        features=make_features and make_features(student=student),
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
        results = module.test_results()
        if trainer.is_global_zero:
            save_results(folder, config, module, trainer, results, minutes)
    finally:
        wandb.finish()
    return results


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


def init_weights(cfg: DictConfig) -> str | None:
    """Where the student's first weights come from. `weights=pretrained` is another way to say
    `initial=pretrained`; any other `weights` are the teacher's."""
    if cfg.weights == "pretrained":
        with open_dict(cfg):
            cfg.weights, cfg.initial = None, "pretrained"
    initial: str | None = cfg.initial
    return initial


def precision_for_device(cfg: DictConfig) -> None:
    """Replace fp16 by fp32 where it would run on a CPU, and say so."""
    on_cpu = cfg.trainer.get("accelerator") == "cpu" or not (
        torch.cuda.is_available() or torch.backends.mps.is_available()
    )
    if on_cpu and cfg.precision.lightning == "16-mixed":
        print("precision=fp16 needs a GPU: running in fp32 on this CPU (precision=bf16 also works)")
        with open_dict(cfg):
            cfg.precision.lightning = "32-true"


def make_loggers(cfg: DictConfig, resume_step: int | None) -> list[Any]:
    loggers = {name: instantiate(node) for name, node in (cfg.logger or {}).items()}
    return [
        logger(resume_step=resume_step) if name == "csv" else logger
        for name, logger in loggers.items()
    ]


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
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            entry = wandb.Artifact(
                f"student-{logger.experiment.id}", type="model", metadata=results
            )
            entry.add_file(str(artifact))
            logger.experiment.log_artifact(entry)
    console = Console()
    console.print(results_table(results))
    console.print(f"run folder  {folder}", f"pictures    {folder / 'images'}", sep="\n")
    console.print(f"artifact    {artifact}")
    for offline in sorted((folder / "wandb").glob("offline-run-*")):
        console.print(f"W&B         {offline} (offline; `wandb sync` uploads it)")


def results_table(results: dict[str, Any]) -> Table:
    """The test table: one row for each set and method."""
    table = Table("test set", "images", "method", *METRICS.values())
    for name, rows in results.items():
        for method in ("bicubic", "student", "teacher"):
            if method in rows:
                values = [f"{rows[method][key]:.4f}" for key in METRICS]
                values[1] = f"{rows[method]['psnr_y']:.2f}"
                table.add_row(name, str(rows["n"]), method, *values)
    return table


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())

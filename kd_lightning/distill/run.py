"""One run: prepare, fit, test the best weights, write what it leaves behind."""

import inspect
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import wandb
from hydra.utils import instantiate
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf, open_dict

from kd_lightning.config import check_keys
from kd_lightning.distill.checkpoints import AtomicCheckpointIO
from kd_lightning.distill.features import check_input
from kd_lightning.distill.losses import make_loss, uses_teacher
from kd_lightning.distill.metrics import make_metrics
from kd_lightning.distill.module import DistillationModule
from kd_lightning.distill.processes import cluster, is_first_process, processes
from kd_lightning.distill.publish import use_data
from kd_lightning.distill.restored import FormerResults, RestoredTrainer
from kd_lightning.distill.results import origin_of, save_results
from kd_lightning.distill.resume import Resume, accept
from kd_lightning.distill.schedules import spans_the_run
from kd_lightning.distill.summary import summary
from kd_lightning.errors import UserError
from kd_lightning.files import remove_leftovers
from kd_lightning.models.artifact import check_any_size, check_saveable
from kd_lightning.models.checkpoint import student_arguments
from kd_lightning.models.init_from import load_init_from, other_arguments
from kd_lightning.models.network import fuse_and_round
from kd_lightning.values import check_values

# Lightning 2.6 says so itself, with torch 2.13, on every run.
warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)")
# Loss terms are evaluated, not trained, on purpose.
warnings.filterwarnings("ignore", message="Found .* in eval mode at the start of training")


def train(cfg: DictConfig) -> float | None:
    """Run the composed configuration; returns the best value of what the checkpoints monitor, by
    default `val/ssim`, or None where nothing is monitored.

    Everything is written under `cfg.run_folder`: `checkpoints/`, `metrics.csv`, `metrics.json`,
    `images/`, `student.safetensors`, `.hydra/` and the W&B files.

    Raises:
        UserError: a key, a file or a value of the configuration is wrong, or the loss diverged.
    """
    check_keys(cfg)
    check_values(cfg)
    folder = Path(cfg.run_folder)
    resume = accepted(cfg)
    precision_for_device(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    config = resolved(cfg)

    teacher = instantiate(cfg.teacher)
    data = instantiate(cfg.data, teacher=teacher)
    student = instantiate(cfg.student)
    arguments = student_arguments(config["student"])
    check_saveable(student, arguments)
    if resume is None:
        check_any_size(student)
    for key, scale in (("student", student.scale), ("data", data.scale)):
        if scale != cfg.scale:
            raise UserError(
                f"{key}.scale={scale}: the run has scale={cfg.scale}; give scale= alone"
            )
    tell(summary(config, student, teacher, data.degradation_words))
    if cfg.init_from is not None and resume is None:
        start = load_init_from(student, cfg.init_from)
        tell(f"starting from {start}{other_arguments(start, student, arguments)}")
    make_features = instantiate(cfg.features)
    loss = make_loss(cfg.loss)  # after the student, whose weights are drawn first
    features = make_features and make_features(student=student)
    if resume is None:
        check_input(features, data.recipe.degradation)
    data.train_teacher = uses_teacher(loss)
    module = DistillationModule(
        student=student,
        loss=loss,
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler.make),
        interval=cfg.scheduler.interval,
        monitor=cfg.scheduler.get("monitor"),
        tile=cfg.eval_tile,
        config=config,
        features=features,
        metrics=make_metrics(cfg.metrics),
        origin=origin_of(config, data.recipe.degradation),
    )
    if teacher is None and (weight := cfg.loss.get("teacher_weight", 0)):
        raise UserError(
            f"loss.teacher_weight={weight} needs a teacher, and this is teacher=none: name one, or "
            "give loss.teacher_weight=0"
        )
    data.prepare_data()  # before there are processes that would wait for each other
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if node is not None]
    if is_first_process():
        remove_leftovers(folder / "checkpoints")
    if resume is not None:
        tell(f"resumes at step {resume.step}{resume.changes}")
        # It goes on in its own folder.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    try:
        trainer: Trainer = instantiate(
            cfg.trainer,
            callbacks=[RestoredTrainer(), FormerResults(folder), *callbacks],
            logger=make_loggers(cfg, resume and resume.step),
            plugins=[AtomicCheckpointIO(), *cluster()],
        )
        checkpoint = resume and str(resume.path)
        with processes(trainer, checkpoint):
            if is_first_process():
                use_data(trainer.loggers, data.manifests())
            started = time.perf_counter()
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
            minutes = (time.perf_counter() - started) / 60
            step = load_best(trainer, module)
            module.student = fuse_and_round(module.student)  # what is scored is what is written
            results: dict[str, Any] = {}
            if data.test_names:
                trainer.test(module, datamodule=data, verbose=False)
                results = module.test_results()  # of all processes: each asks
            if trainer.is_global_zero:
                save_results(folder, config, module, trainer, results, step, minutes)
    finally:
        wandb.finish()
    return objective(trainer)


@rank_zero_only
def tell(text: str) -> None:
    """Print on one of the processes."""
    print(text, flush=True)


def accepted(cfg: DictConfig) -> Resume | None:
    """The checkpoint that the run continues, if it may (UserError); None for a new run. Leaves
    `cfg` and every file as they are."""
    if cfg.ckpt_path is None:
        return None
    cfg = cfg.copy()
    precision_for_device(cfg, say=False)
    fixed_length = spans_the_run(instantiate(cfg.scheduler.make))
    return accept(cfg.ckpt_path, resolved(cfg), fixed_length)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain containers, interpolations and all."""
    content = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def is_on_cpu(cfg: DictConfig) -> bool:
    return cfg.trainer.get("accelerator") == "cpu" or not (
        torch.cuda.is_available() or torch.backends.mps.is_available()
    )


def precision_for_device(cfg: DictConfig, say: bool = True) -> None:
    """Replace fp16 by fp32 where it would run on a CPU, and `say` so."""
    if is_on_cpu(cfg) and cfg.precision.lightning == "16-mixed":
        if say:
            tell("precision=fp16 needs a GPU: running in fp32 on this CPU (bf16 also works)")
        with open_dict(cfg):
            cfg.precision.lightning = "32-true"


def make_loggers(cfg: DictConfig, resume_step: int | None) -> list[Any]:
    """The run's loggers; those that are classes still, and ask for it, are told from which step the
    run goes on."""
    loggers = [instantiate(node) for node in (cfg.logger or {}).values()]
    return [logger(resume_step=resume_step) if takes_step(logger) else logger for logger in loggers]


def takes_step(logger: Any) -> bool:
    return callable(logger) and "resume_step" in inspect.signature(logger).parameters


def objective(trainer: Trainer) -> float | None:
    """The best value of what the checkpoints monitor."""
    best = best_checkpoints(trainer)
    if best is None or best.best_model_score is None:
        return None
    return float(best.best_model_score)


def best_checkpoints(trainer: Trainer) -> ModelCheckpoint | None:
    """The first that monitors something: callbacks.best, whatever others a user has beside it."""
    callbacks = (c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint))
    return next((callback for callback in callbacks if callback.monitor), None)


def load_best(trainer: Trainer, module: DistillationModule) -> int:
    """Put the weights of the best validated checkpoint into `module`; the optimizer steps that they
    have behind them. Without a validation `module` keeps what it has."""
    best = best_checkpoints(trainer)
    if best is None or not best.best_model_path:
        return trainer.global_step
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["state_dict"])
    return int(state["global_step"])

"""What a run is about to do, in a few lines."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from kd_lightning.models.network import fuse


def summary(config: Mapping[str, Any], student: nn.Module, teacher: Any, degradation: str) -> str:
    """Student, teacher, data, loss, length and folder of the run with this resolved
    configuration; one line each. `degradation` says where LR images come from."""
    data, trainer, loss = config["data"], config["trainer"], config["loss"]
    side = data["crop_size"]
    steps = _steps(data, trainer)
    lines = {
        "student": f"{type(student).__name__}, {_parameters(student)}",
        "teacher": getattr(teacher, "name", None) or getattr(teacher, "key", "none"),
        "data": f"{data['root']}, x{config['scale']}, {degradation}",
        "loss": ", ".join(_settings(loss)),
        "training": (
            f"{trainer['max_epochs']} epochs of {steps} steps, {data['batch_size']} crops of "
            f"{side}x{side}, {trainer['precision']}, seed {config['seed']}"
        ),
        "run folder": str(config["run_folder"]),
    }
    return "\n".join(f"{name:<11} {line}" for name, line in lines.items())


def _steps(data: Mapping[str, Any], trainer: Mapping[str, Any]) -> int:
    """Optimizer steps of an epoch."""
    counts = (trainer.get(key, 1) for key in ("devices", "num_nodes"))
    processes = math.prod(n for n in counts if isinstance(n, int) and n > 0)
    batches = data["samples_per_epoch"] // (data["batch_size"] * processes)
    limit = trainer.get("limit_train_batches")
    if limit is not None:
        batches = min(batches, limit if isinstance(limit, int) else int(batches * limit))
    return -(-batches // int(trainer.get("accumulate_grad_batches", 1)))


def _parameters(student: nn.Module) -> str:
    trained, written = (
        sum(parameter.numel() for parameter in network.parameters())
        for network in (student, fuse(student))
    )
    return f"{trained:,} parameters" + (f", {written:,} fused" if written != trained else "")


def _settings(loss: Mapping[str, Any]) -> list[str]:
    """alpha=0.85, teacher_weight=0.5, 0.5*gradient"""
    plain = [f"{k}={v}" for k, v in loss.items() if k not in ("_target_", "extra_terms")]
    extra = (loss.get("extra_terms") or {}).items()
    return [*plain, *(f"{node['weight']}*{name}" for name, node in extra)]

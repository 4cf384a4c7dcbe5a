"""What a run leaves behind: metrics, artifact, and the lines that say where they are."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Trainer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kd_lightning.data.degradations import Degradation
from kd_lightning.distill.metrics import log_name
from kd_lightning.distill.module import ROWS, DistillationModule
from kd_lightning.distill.publish import log_file, log_summary
from kd_lightning.files import write_json
from kd_lightning.models.artifact import save_artifact
from kd_lightning.models.checkpoint import student_arguments
from kd_lightning.quality import Metric

RESULTS = ("metrics.json", "student.safetensors")  # the latter last: with it a run is done


def save_results(
    folder: Path,
    config: dict[str, Any],
    module: DistillationModule,
    trainer: Trainer,
    results: dict[str, Any],
    step: int,
    minutes: float,
) -> None:
    """Write the metrics and the artifact, log the artifact, and tell the user where they are.

    Args:
        step: optimizer steps that the student's weights have behind them.
        minutes: of the whole training.
    """
    write_json(folder / "metrics.json", results)
    arguments = student_arguments(config["student"])
    metadata = {
        **module.origin,
        "metrics": results,
        "steps": step,
        "train_minutes": round(minutes, 2),
    }
    artifact = save_artifact(folder / "student.safetensors", module.student, arguments, metadata)
    log_file(trainer.loggers, artifact, results)
    log_summary(trainer.loggers, test_summary(results))
    if results:
        Console().print(results_table(results, module.metrics))
    else:
        print("no test set: validations alone score the student; +data.test.NAME=FOLDER adds one")
    print(f"images      {folder / 'images'}", f"artifact    {artifact}", sep="\n")
    for offline in sorted((folder / "wandb").glob("offline-run-*")):
        print(f"W&B         {offline} (offline; `wandb sync` uploads it)")


def origin_of(config: dict[str, Any], degradation: Degradation) -> dict[str, Any]:
    """What artifacts say of the run that they come from, whether it writes them at its end or
    kd-export makes them of its checkpoints."""
    return {
        "config_sha256": config_hash(config),
        "loss": config["loss"],
        "degradation": degradation.key,
    }


def test_summary(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """`test/<set>/ssim`, `test/<set>/bicubic/ssim` and so on, as validations are named."""
    return {
        "/".join(["test", name, *([] if row == "student" else [row]), log_name(metric)]): value
        for name, rows in results.items()
        for row in ROWS
        for metric, value in rows.get(row, {}).items()
    }


def config_hash(config: dict[str, Any]) -> str:
    """SHA-256 (hex) of what was asked for: the same wherever the run's folder lies, and however
    often it was continued."""
    text = in_any_folder({**config, "ckpt_path": None}, config["run_folder"])
    return hashlib.sha256(text.encode()).hexdigest()


def in_any_folder(settings: Any, run_folder: str) -> str:
    """`settings` of a run as JSON, the same wherever its folder lies."""
    return json.dumps(settings, sort_keys=True).replace(json.dumps(str(run_folder))[1:-1], "")


def results_table(results: dict[str, Any], metrics: Mapping[str, Metric]) -> Table:
    """The test table: one row for each set and method."""
    labels = (escape(metric.label) for metric in metrics.values())
    table = Table("test set", "images", "method", *labels)
    for name, rows in results.items():
        for method in ROWS:
            if method in rows:
                cells = (metric.text(rows[method][key]) for key, metric in metrics.items())
                table.add_row(escape(name), str(rows["n"]), method, *cells)
    return table

"""The table that ends a Hydra multirun."""

import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from kd_lightning.distill.metrics import make_metrics
from kd_lightning.distill.results import write_json


class SweepTable(Callback):
    """Prints one row for each job and test set, and writes `sweep.json` to the sweep's folder."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = sorted(folder.glob("*/metrics.json"), key=lambda path: int(path.parent.name))
        rows = [row for path in jobs for row in job_rows(path)]
        metrics = make_metrics(config.metrics)
        labels = (metric.label for metric in metrics.values())
        table = Table("job", "overrides", "test set", *labels)
        for row in rows:
            scores = (m.text(row[key]) if key in row else "" for key, m in metrics.items())
            table.add_row(row["job"], " ".join(row["overrides"]), row["set"], *scores)
        console = Console()
        console.print(table)
        write_json(folder / "sweep.json", rows)
        console.print(f"sweep folder  {folder}")


def job_rows(metrics: Path) -> list[dict[str, Any]]:
    """The student's scores of one job on each test set, with the overrides that made the job."""
    overrides = OmegaConf.load(metrics.parent / ".hydra" / "overrides.yaml")
    return [
        {"job": metrics.parent.name, "overrides": list(overrides), "set": name, **rows["student"]}
        for name, rows in json.loads(metrics.read_text()).items()
    ]

"""The table that ends a Hydra multirun, whatever became of its jobs."""

import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kd_lightning.config import fail
from kd_lightning.distill.jobs import FAILED
from kd_lightning.distill.metrics import make_metrics
from kd_lightning.distill.results import write_json


class SweepTable(Callback):
    """Prints one row for each job and test set, failed jobs with their reason, and writes
    `sweep.json` to the sweep's folder."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        rows = [row for job in job_folders(folder) for row in job_rows(job)]
        metrics = make_metrics(config.metrics)
        labels = (metric.label for metric in metrics.values())
        table = Table("job", "overrides", "test set", *labels)
        for row in rows:
            scores = [m.text(row[key]) if key in row else "" for key, m in metrics.items()]
            what = row["set"] if "set" in row else f"failed: {escape(row['failed'])}"
            table.add_row(row["job"], " ".join(row["overrides"]), what, *scores)
        console = Console()
        console.print(table)
        write_json(folder / "sweep.json", rows)
        console.print(f"sweep folder  {folder}")
        if failed := [row["job"] for row in rows if "failed" in row]:
            count = len(job_folders(folder))
            fail(f"{len(failed)} of {count} jobs failed ({', '.join(failed)}); see the table")


def job_folders(sweep: Path) -> list[Path]:
    """The folders of a sweep's jobs, in their order."""
    folders = {path.parent.parent for path in sweep.glob("*/.hydra/overrides.yaml")}
    return sorted(folders, key=lambda folder: (len(folder.name), folder.name))


def job_rows(job: Path) -> list[dict[str, Any]]:
    """The student's scores of one job on each test set, or why it failed, with the overrides that
    made the job."""
    overrides = OmegaConf.load(job / ".hydra" / "overrides.yaml")
    row = {"job": job.name, "overrides": list(overrides)}
    if (job / FAILED).is_file():
        return [{**row, "failed": (job / FAILED).read_text()}]
    try:
        results = json.loads((job / "metrics.json").read_text())
    except OSError:
        return [{**row, "failed": "ended without results"}]
    return [{**row, "set": name, **rows["student"]} for name, rows in results.items()]

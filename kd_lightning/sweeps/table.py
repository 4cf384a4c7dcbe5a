"""What ends a multirun, whatever became of its jobs: the table, the best configuration, plots."""

import json
import shlex
import statistics
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from kd_lightning.distill.job import objective
from kd_lightning.distill.lock import holder
from kd_lightning.distill.marks import FAILED, PRUNED
from kd_lightning.distill.metrics import make_metrics
from kd_lightning.explain import fail
from kd_lightning.files import write_json
from kd_lightning.imports import named, options
from kd_lightning.sweeps import command
from kd_lightning.sweeps.command import plain
from kd_lightning.sweeps.plots import write_plots

Row = dict[str, Any]
UNFINISHED = "ended without results"
NO_TEST = "none"  # in place of the test set's name


class SweepTable(Callback):
    """Prints one row for each job and test set, others with their reason, the best configuration as
    a command line, and writes `sweep.json` and plots to the sweep's folder."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        one_folder(config)
        if not (Path(config.hydra.sweep.dir) / command.COMMAND).is_file():
            command.keep(config)  # else once the jobs have proved to be the same

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = job_folders(folder)
        rows = [row for job in jobs for row in job_rows(job)]
        write_json(folder / "sweep.json", rows)
        console = Console()
        console.print(sweep_table(rows, config))
        for line in best_lines(rows, command.config_dir(config.hydra)):
            print(line)
        try:
            if plots := write_plots(rows, folder):
                print(f"plots         {plots}")
        finally:  # whatever becomes of the plots, the command's status is that of the jobs
            print(f"sweep folder  {folder}")
            if failed := list(dict.fromkeys(row["job"] for row in rows if "failed" in row)):
                fail(
                    f"{len(failed)} of {len(jobs)} jobs failed ({', '.join(failed)}); see the "
                    f"table; {command.RESUME}{folder} tries them again"
                )


def one_folder(config: DictConfig) -> None:
    """Give all jobs the sweep folder of `config`, Hydra's of the multirun: each would else find its
    own from what it overrides, such as `name`."""
    folder = str(config.hydra.sweep.dir)
    quoted = folder.replace('"', '\\"')
    with read_write(config.hydra):
        config.hydra.sweep.dir = folder
        config.hydra.overrides.hydra.append(f'hydra.sweep.dir="{quoted}"')


def job_folders(sweep: Path) -> list[Path]:
    """The folders of a sweep's jobs, in their order."""
    folders = {path.parent.parent for path in sweep.glob("*/.hydra/overrides.yaml")}
    return sorted(folders, key=lambda folder: (len(folder.name), folder.name))


def job_rows(job: Path) -> list[Row]:
    """The overrides that made a job and the student's scores on each test set, or one row that says
    why it has none: `failed`, `pruned` or `running` with the reason. A finished job that failed
    when it was tried again has both."""
    words = OmegaConf.load(job / ".hydra" / "overrides.yaml")
    row: Row = {"job": job.name, "overrides": plain(words)}
    if process := holder(job):
        return [{**row, "running": process}]
    for name, mark in (("failed", FAILED), ("pruned", PRUNED)):
        if (job / mark).is_file():
            row[name] = (job / mark).read_text()
    if (scores := results(job)) is None:
        return [row if {"failed", "pruned"} & row.keys() else {**row, "failed": UNFINISHED}]
    row |= {"score": objective(job), **monitored(job)}
    tested = [{**row, "set": name, **rows["student"]} for name, rows in scores.items()]
    return tested or [{**row, "set": NO_TEST}]


def monitored(job: Path) -> dict[str, str]:
    """What the job's score is, `monitor`, and whether the best is its `max` or `min`, `mode`."""
    file = job / ".hydra" / "config.yaml"
    config = OmegaConf.load(file) if file.is_file() else OmegaConf.create()
    defaults = {"monitor": "score", "mode": "max"}
    return {
        key: str(OmegaConf.select(config, f"callbacks.best.{key}", default=default))
        for key, default in defaults.items()
    }


def results(job: Path) -> dict[str, Any] | None:
    """The test results of a job that came to its end; None of any other."""
    if not (job / "student.safetensors").is_file():  # written last
        return None
    return dict(json.loads((job / "metrics.json").read_text()))


def sweep_table(rows: list[Row], config: DictConfig) -> Table:
    """Jobs, with the overrides that not all of them have, and their scores."""
    metrics = make_metrics(config.metrics)
    monitors = {row["monitor"] for row in rows if "monitor" in row}
    several = len(monitors) > 1
    best = "best score" if several or not monitors else f"best {monitors.pop()}"
    labels = (escape(metric.label) for metric in metrics.values())
    overrides = Column("overrides", overflow="fold")
    table = Table("job", overrides, escape(best), "test set", *labels)
    same = set.intersection(*({*row["overrides"]} for row in rows)) if len(rows) > 1 else set()
    for row in rows:
        state = next((name for name in ("failed", "pruned", "running") if name in row), None)
        what = row.get("set", "") + (f" {state}: {row[state]}" if state else "")
        score = "" if row.get("score") is None else f"{row['score']:.4f}"
        score += f" {row['monitor']}" if score and several else ""
        scores = [m.text(row[key]) if key in row else "" for key, m in metrics.items()]
        changed = "\n".join(word for word in row["overrides"] if word not in same)
        table.add_row(*map(escape, (row["job"], changed, score, what.strip(), *scores)))
    return table


def best_lines(rows: list[Row], config_dir: str = "") -> list[str]:
    """`best_line` for each score that the jobs' checkpoints monitor: one does not compare with
    another. Named where there are several."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.get("score") is not None:
            groups.setdefault((row["monitor"], row["mode"]), []).append(row)
    return [
        best_line(group, mode, config_dir, f"best {monitor}" if len(groups) > 1 else "best")
        for (monitor, mode), group in groups.items()
    ]


def best_line(rows: list[Row], mode: str, config_dir: str = "", title: str = "best") -> str:
    """The configuration of the best mean validation score over its seeds, as a command line, with
    the `--config-dir` and `--import` of the sweep. Every row has a score."""
    groups: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        words = tuple(word for word in row["overrides"] if not is_seed(word))
        groups.setdefault(words, {})[row["job"]] = row
    sign = 1 if mode == "max" else -1
    means = {
        words: statistics.fmean(row["score"] for row in jobs.values())
        for words, jobs in groups.items()
    }
    best = max(means, key=lambda words: sign * means[words])
    jobs = groups[best]
    scores = [row["score"] for row in jobs.values()]
    spread = f" ± {statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
    same = set.intersection(*({*row["overrides"]} for row in jobs.values()))
    shared = [word for word in next(iter(jobs.values()))["overrides"] if word in same]
    program = "python train.py" if sys.argv[0].endswith(".py") else "kd-train"
    first = ["--config-dir", config_dir] if config_dir else []
    first += options(named())
    which = f"job {', '.join(jobs)}: {means[best]:.4f}{spread}"
    return f"{title:<13} {which}\n  {program} {shlex.join([*first, *shared])}"


def is_seed(word: str) -> bool:
    return word.startswith("seed=")

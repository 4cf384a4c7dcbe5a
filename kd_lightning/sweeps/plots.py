"""Plots of a sweep: scores against each number that it changed, with the spread over seeds, and how
much each of them matters."""

import math
import statistics
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]
SCORES = {"ssim_rgb": "RGB-SSIM", "psnr_y": "PSNR-Y (dB)"}  # of the test sets' rows
ENOUGH = 8  # jobs; below, importance is chance
SEED = "seed"


class Point(NamedTuple):
    """One job: its numbers by key, and its score."""

    settings: dict[str, float]
    score: float


def settings(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Job -> numbers by key, of the keys that have several numbers among `rows`."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        pairs = (word.lstrip("+").partition("=")[::2] for word in row["overrides"])
        found[row["job"]] = {key: float(value) for key, value in pairs if _is_number(value)}
    keys = {key for numbers in found.values() for key in numbers}
    changed = [k for k in sorted(keys) if len({n.get(k) for n in found.values()}) > 1]
    return {job: {k: n[k] for k in changed if k in n} for job, n in found.items()}


def points(rows: Sequence[Row], test_set: str, score: str) -> list[Point]:
    """The jobs that have this score."""
    numbers = settings(rows)
    scored = (row for row in rows if row.get("set") == test_set and row.get(score) is not None)
    return [Point(numbers[row["job"]], row[score]) for row in scored]


def against(jobs: Sequence[Point], key: str) -> tuple[list[float], list[float], list[float]]:
    """The values of `key`, and mean and standard deviation (0 for one job) of the scores there."""
    groups: dict[float, list[float]] = {}
    for job in jobs:
        if key in job.settings:
            groups.setdefault(job.settings[key], []).append(job.score)
    at = sorted(groups)
    spreads = [statistics.stdev(groups[x]) if len(groups[x]) > 1 else 0.0 for x in at]
    return at, [statistics.fmean(groups[x]) for x in at], spreads


def importance(jobs: Sequence[Point]) -> dict[str, float]:
    """The share that each key has in what makes the better jobs better, largest first; empty for
    fewer than ENOUGH jobs, one key, or without Optuna. PED-ANOVA (Watanabe et al. 2023)."""
    keys = sorted({key for job in jobs for key in job.settings if key != SEED})
    jobs = [job for job in jobs if {*keys} <= job.settings.keys()]
    if len(jobs) < ENOUGH or len(keys) < 2:
        return {}
    try:
        import optuna
    except ImportError:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    space: dict[str, optuna.distributions.BaseDistribution] = {
        key: optuna.distributions.FloatDistribution(
            min(job.settings[key] for job in jobs), max(job.settings[key] for job in jobs)
        )
        for key in keys
    }
    for job in jobs:
        params = {key: job.settings[key] for key in keys}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=space, value=job.score)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def write_plots(rows: Sequence[Row], folder: Path) -> Path | None:
    """Draw `sweep.png` in `folder`: a column for each key, a row for each score, of the first test
    set. None where there is nothing to draw; says so where matplotlib is missing."""
    first = next((row["set"] for row in rows if "set" in row), None)
    changed = {key for numbers in settings(rows).values() for key in numbers} - {SEED}
    if first is None or not changed:
        return None
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plots: pip install 'kd_lightning[sweeps]' brings matplotlib")
        return None
    scored = points(rows, first, next(iter(SCORES)))
    keys = [key for key in sorted(changed) if any(key in job.settings for job in scored)]
    if not keys:
        return None
    weights = importance(scored)
    columns = len(keys) + bool(weights)
    figure = Figure(figsize=(4 * columns, 3.2 * len(SCORES)), layout="constrained")
    axes = figure.subplots(len(SCORES), columns, squeeze=False)
    for line, (score, label) in zip(axes, SCORES.items(), strict=True):
        jobs = points(rows, first, score)
        for ax, key in zip(line, keys, strict=False):
            at, means, spreads = against(jobs, key)
            shared = len(at) < len(jobs)  # values with several jobs: a line joins their means
            ax.errorbar(
                at, means, spreads, fmt="o-" if shared or len(keys) == 1 else "o", capsize=3
            )
            ax.set(xlabel=key, ylabel=f"{first}: {label}")
            if min(at) > 0 and max(at) / min(at) > 30:
                ax.set_xscale("log")
        if weights:
            names, shares = zip(*reversed(importance(jobs).items()), strict=True)
            line[-1].barh(names, shares)
            line[-1].set(xlabel=f"importance for {label}")
    path = folder / "sweep.png"
    figure.savefig(path, dpi=120)
    return path


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False

"""One HTML page of many runs, from their folders alone. It needs no server and no other file."""

import base64
import hashlib
import html
import json
import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from PIL.Image import DecompressionBombError

from kd_lightning.files import as_json
from kd_lightning.runs.benchmark import SCORES, Method
from kd_lightning.runs.read import Damaged, Run, find_runs
from kd_lightning.runs.thin import data_uri, thin_curve

WEB = Path(__file__).parent / "web"
SCRIPTS = ("dom", "state", "table", "curves", "compare", "tradeoff", "parallel", "main")
POINTS = 120_000  # of all curves together, which bounds the page
IMAGES = 120  # of all runs together
ALIVE = 600.0  # seconds after its last write for which an unfinished run counts as running
VARIED = 12  # configuration keys that are columns
MONITOR = "val/ssim"
IMAGE_NAME = re.compile(r"(.+?)_epoch_(\d{1,9})")
# Keys that say where a run lies and what it shows, not what it learns.
SILENT = (
    *("name", "run_folder", "ckpt_path", "logger*", "callbacks*", "eval_tile", "data.root"),
    *("data.*workers", "data.cache_dir", "data.device_cache", "data.test*", "trainer.enable*"),
    *("trainer.default_root_dir", "trainer.check_val*", "trainer.log_every*", "*_partial_"),
)


def page(folders: Sequence[Path], methods: Sequence[Method] = (), watch: float = 0) -> str:
    """The page of all runs at or below `folders`, as HTML under a policy that runs nothing but its
    own script and loads nothing.

    Args:
        folders: where to look for run folders.
        methods: what was measured of quality and time (`kd_lightning.runs.benchmark`).
        watch: seconds after which the page loads itself again; 0: never.
    """
    content = collect(folders) | {"benchmark": [m._asdict() for m in methods], "watch": watch}
    style = (WEB / "page.css").read_text()
    script = "\n".join(
        [
            '(() => {\n"use strict";',
            *((WEB / f"{name}.js").read_text() for name in SCRIPTS),
            "})();",
        ]
    )
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "POLICY": html.escape(policy),
        "TITLE": "kd_lightning runs",
        "STYLE": style,
        "DATA": as_json(content).replace("<", "\\u003c"),
        "SCRIPT": script,
    }
    template = (WEB / "page.html").read_text()
    return re.sub(r"@([A-Z]+)@", lambda found: parts[found[1]], template)


def collect(folders: Sequence[Path]) -> dict[str, Any]:
    """What the page's script reads: values that JSON can hold, numbers finite."""
    runs, damaged = [], []
    for folder in folders:
        found, broken = find_runs(folder)
        runs += [(run, _name(run.folder, folder, len(folders) > 1)) for run in found]
        damaged += broken
    shared = _Shared([run for run, _ in runs])
    table = [shared.entry(run, name) for run, name in runs]
    sets = Counter(name for run, _ in runs for name in run.results)
    return {
        "made": time.strftime("made %Y-%m-%d %H:%M:%S"),
        "runs": table,
        "keys": shared.keys,
        "values": shared.values,
        "steps": shared.steps,
        "varied": varied([run for run, _ in runs]),
        "sets": [name for name, _ in sets.most_common(6)],
        "scores": _scores([run for run, _ in runs]),
        "monitor": shared.monitor,
        "damaged": [
            {"folder": str(entry.folder), "reason": entry.reason}
            for entry in (*damaged, *shared.damaged)
        ],
    }


def varied(runs: Sequence[Run]) -> list[str]:
    """Configuration keys that people set and that differ between runs: those named on command
    lines first, then those of groups that were chosen (`student=...`), the most frequent first."""
    named: Counter[str] = Counter()
    grouped: Counter[str] = Counter()
    for run in runs:
        words = {word.lstrip("+~").partition("=")[0] for word in run.overrides}
        groups = tuple(f"{word}." for word in words)
        named.update(key for key in run.config if key in words)
        grouped.update(key for key in run.config if groups and key.startswith(groups))
    ranked = [*(key for key, _ in named.most_common()), *(key for key, _ in grouped.most_common())]
    return [key for key in dict.fromkeys(ranked) if _tells(key, runs)][:VARIED]


class _Shared:
    """Entries of runs for the page. What they have in common is written once: names of keys,
    values of configurations, steps of curves."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.keys = sorted({key for run in runs for key in run.config})
        self.values: list[Any] = []
        self.steps: list[list[int]] = []
        self.damaged: list[Damaged] = []
        self.monitor = _common(runs, "callbacks.best.monitor", MONITOR)
        self.mode = _common(runs, "callbacks.best.mode", "max")
        self._values: dict[str, int] = {}
        self._steps: dict[tuple[int, ...], int] = {}
        curves = sum(len(run.curves) for run in runs)
        self.points = max(20, min(400, POINTS // max(1, curves)))
        self.images = max(1, IMAGES // max(1, sum(1 for run in runs if run.images)))

    def entry(self, run: Run, name: str) -> dict[str, Any]:
        best = run.best(self.monitor, self.mode)
        running = run.state == "unfinished" and time.time() - run.modified < ALIVE
        return {
            "name": name,
            "state": "running" if running else run.state,
            "reason": run.failed or run.pruned or "",
            "overrides": run.overrides,
            "steps": max((curve.steps[-1] + 1 for curve in run.curves.values()), default=None),
            "batch": _batch(run),
            "best": best and [_short(best[0]), best[1]],
            "results": run.results,
            "values": [self._value(run, key) for key in self.keys],
            "curves": {
                key: self._curve(curve.steps, curve.values) for key, curve in run.curves.items()
            },
            "images": self._images(run),
        }

    def _value(self, run: Run, key: str) -> int:
        """The place of a value in `values`; -1 where the run has no such key."""
        if key not in run.config:
            return -1
        value = run.config[key]
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)
        text = json.dumps(value, default=str, skipkeys=True, allow_nan=True)
        if text not in self._values:
            self._values[text] = len(self.values)
            plain = value is None or isinstance(value, bool | int | float | str)
            self.values.append(value if plain else text)
        return self._values[text]

    def _curve(self, steps: list[int], values: list[float]) -> list[Any]:
        """[place of its steps in `steps`, values of five digits]."""
        steps, values = thin_curve(steps, values, self.points)
        place = self._steps.setdefault(tuple(steps), len(self.steps))
        if place == len(self.steps):
            self.steps.append(steps)
        return [place, [_short(value) for value in values]]

    def _images(self, run: Run) -> dict[str, list[Any]]:
        """Kind of image -> [epoch, address], ascending; -1 where there is no epoch."""
        kinds: dict[str, list[tuple[int, Path]]] = {}
        for path in run.images:
            found = IMAGE_NAME.fullmatch(path.stem)
            kind, epoch = (found[1], int(found[2])) if found else (path.stem, -1)
            kinds.setdefault(kind, []).append((epoch, path))
        each = max(2, self.images // max(1, len(kinds)))
        shown: dict[str, list[Any]] = {}
        for kind, series in list(sorted(kinds.items()))[: self.images]:
            series.sort()
            last = len(series) - 1
            places = sorted({round(n * last / (each - 1)) for n in range(each)})
            for epoch, path in (series[place] for place in places):
                try:
                    address = data_uri(path)
                except (OSError, ValueError, SyntaxError, DecompressionBombError) as error:
                    self.damaged.append(Damaged(path, " ".join(str(error).split())[:200]))
                else:
                    shown.setdefault(kind, []).append([epoch, address])
        return shown


def _scores(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The metrics of the results: key, label, digits."""
    names = dict.fromkeys(SCORES)
    for run in runs:
        for rows in run.results.values():
            student = rows.get("student")
            names |= dict.fromkeys(student if isinstance(student, dict) else ())
    known = {name: SCORES.get(name, (name, 4)) for name in names}
    return [
        {"key": key, "label": label, "digits": digits} for key, (label, digits) in known.items()
    ]


def _common(runs: Sequence[Run], key: str, default: str) -> str:
    counts = Counter(run.config[key] for run in runs if isinstance(run.config.get(key), str))
    return counts.most_common(1)[0][0] if counts else default


def _batch(run: Run) -> int:
    """Crops of an optimizer step."""
    keys = ("devices", "num_nodes", "accumulate_grad_batches")
    factors = (run.config.get(key) for key in ("data.batch_size", *(f"trainer.{k}" for k in keys)))
    return math.prod(f for f in factors if isinstance(f, int) and 0 < f < 2**20)


def _tells(key: str, runs: Sequence[Run]) -> bool:
    """Whether a key differs between runs and is about what they learn."""
    if any(fnmatch(key, pattern) for pattern in SILENT):
        return False
    return len({f"{type(value)} {value}" for value in (run.config.get(key) for run in runs)}) > 1


def _name(folder: Path, root: Path, several: bool) -> str:
    """How a run is called: its folder below the root."""
    name = folder.relative_to(root).as_posix()
    parts = [root.name] if several or name == "." else []
    return "/".join([*parts, *([name] if name != "." else [])]) or str(folder)


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"

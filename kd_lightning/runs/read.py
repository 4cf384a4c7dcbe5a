"""What run folders say: configuration, curves, results, images.

A run folder is one that `train.py` wrote (`.hydra/config.yaml`), or a copy of its evidence
(`config.yaml` beside the metrics, as in `experiments/`). Nothing in it is trusted: a file may be
damaged, half-written, or made to deceive, and interpolations that would read the environment are
left as they stand.
"""

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

FAILED = "failed.txt"  # in the folder of a sweep's job: why it failed
PRUNED = "pruned.txt"  # beside it: why it was given up
LARGEST = 256 * 2**20  # bytes of a file that is read
MOST_KEYS = 5000  # of a configuration
DEEPEST = 20  # levels of a configuration
LONGEST = 10_000  # characters that a reference may become
MARKS = (".hydra/config.yaml", "metrics.csv", "metrics.json", FAILED, PRUNED)
CURVES = ("metrics.csv", "speed.csv")
IMAGES = (".png", ".jpg", ".jpeg", ".webp")
REFERENCE = re.compile(r"\$\{([\w.@-]+)\}")
STEP = re.compile(r"[0-9]{1,15}")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Curve(NamedTuple):
    """One column of `metrics.csv`: optimizer steps, ascending, and the values logged at them."""

    steps: list[int]
    values: list[float]


class Damaged(NamedTuple):
    """A folder that looks like a run's and cannot be read, and why."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class Run:
    """What one run folder says.

    Attributes:
        folder: where it lies.
        config: dotted key -> scalar or list, interpolations of other keys resolved.
        overrides: the command line that made it, word for word.
        curves: column of `metrics.csv` or `speed.csv` -> its finite values.
        finished: the run came to its end.
        results: `metrics.json`: {test set: {"n": images, row: {metric: value}}}.
        images: image files, sorted by name.
        failed: why it failed, or None.
        pruned: why its sweep gave it up, or None.
        modified: when something of it was last written, in seconds since 1970.
    """

    folder: Path
    config: dict[str, Any]
    overrides: list[str]
    curves: dict[str, Curve]
    finished: bool
    results: dict[str, dict[str, Any]]
    images: list[Path] = field(default_factory=list)
    failed: str | None = None
    pruned: str | None = None
    modified: float = 0.0

    @property
    def state(self) -> Literal["finished", "failed", "pruned", "unfinished"]:
        """Unfinished: it still runs, or was killed."""
        if self.failed is not None:
            return "failed"
        if self.finished:
            return "finished"
        return "pruned" if self.pruned is not None else "unfinished"

    def best(self, metric: str = "val/ssim", mode: str = "max") -> tuple[float, int] | None:
        """The best value of a column and the first step at which it stood, or None."""
        curve = self.curves.get(metric)
        if curve is None:
            return None
        sign = 1 if mode == "max" else -1
        value, step = max(zip(curve.values, curve.steps, strict=True), key=lambda p: sign * p[0])
        return value, step


def find_runs(root: Path) -> tuple[list[Run], list[Damaged]]:
    """All runs at or below `root`, by folder name in natural order (job 10 after job 9), and the
    folders that could not be read. Links to folders are not followed below `root`."""
    runs, damaged = [], []
    for folder in run_folders(root):
        try:
            run = read_run(folder)
        except (OSError, ValueError, csv.Error, yaml.YAMLError, RecursionError) as error:
            damaged.append(Damaged(folder, _line(error)))
        else:
            if any(key.startswith("trainer.") for key in run.config):  # not one of kd-prepare
                runs.append(run)
    return runs, damaged


def run_folders(root: Path) -> list[Path]:
    """The run folders at or below `root`; what lies inside a run folder is its own."""
    found = []
    for name, below, _ in os.walk(root):
        folder = Path(name)
        if any(os.path.isfile(folder / mark) for mark in MARKS):
            found.append(folder)
            below.clear()
        below[:] = [part for part in below if not part.startswith(".")]
    return sorted(found, key=lambda folder: natural(folder.relative_to(root).as_posix()))


def read_run(folder: Path) -> Run:
    """Read one run folder. Raises OSError, ValueError, csv.Error or yaml.YAMLError where one of its
    files is damaged."""
    files = {name: _first(folder, name) for name in ("config.yaml", "overrides.yaml")}
    marks = {name: folder / name for name in (FAILED, PRUNED)}
    reasons = {name: _text(mark).strip() for name, mark in marks.items() if mark.is_file()}
    curves: dict[str, Curve] = {}
    for file in (folder / name for name in CURVES):
        curves = (read_curves(_text(file), file.name) if file.is_file() else {}) | curves
    results = folder / "metrics.json"
    words = _yaml(files["overrides.yaml"]) if files["overrides.yaml"] else []
    if not isinstance(words, list):
        raise ValueError("overrides.yaml is no list")
    return Run(
        folder=folder,
        config=resolve(dict(_flat(_yaml(files["config.yaml"])))),
        overrides=[str(word) for word in words],
        curves=curves,
        finished=results.is_file(),
        results=_json(results) if results.is_file() else {},
        images=sorted(p for p in (folder / "images").glob("*") if p.suffix.lower() in IMAGES),
        failed=reasons.get(FAILED),
        pruned=reasons.get(PRUNED),
        modified=max(_times(folder), default=0.0),
    )


def read_curves(text: str, file: str = "metrics.csv") -> dict[str, Curve]:
    """The columns of a logger's `file`. Its last line is left out where a kill has cut it short;
    values that are empty or not finite are left out. Raises ValueError for another kind of file."""
    whole, end, _ = text.rpartition("\n")
    reader = csv.DictReader(io.StringIO(whole + end), strict=True)
    columns = reader.fieldnames or []
    if columns and "step" not in columns:
        raise ValueError(f"{file} has no column named step")
    curves = {name: Curve([], []) for name in columns if name != "step"}
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(f"{file}: line {reader.line_num} has another number of columns")
        if not STEP.fullmatch(row["step"]):
            raise ValueError(f"{file}: line {reader.line_num} has no step")
        step = int(row["step"])
        for name, curve in curves.items():
            if row[name]:
                value = float(row[name])
                if math.isfinite(value):
                    curve.steps.append(step)
                    curve.values.append(value)
    return {name: curve for name, curve in curves.items() if curve.steps}


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with `${other.key}` replaced by what stands there. Anything else in braces, such as
    `${oc.env:NAME}`, is left as it is, for a page is made to be handed on; so are references that
    go in a circle or grow beyond LONGEST characters."""
    done: dict[str, Any] = {}
    open_keys: set[str] = set()

    def at(key: str) -> Any:
        if key not in done:
            open_keys.add(key)
            done[key] = whole(config[key])
            open_keys.remove(key)
        return done[key]

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(item) for item in value]
        if not isinstance(value, str):
            return value
        if (found := REFERENCE.fullmatch(value)) and known(found[1]):
            return at(found[1])
        text = REFERENCE.sub(lambda m: str(at(m[1])) if known(m[1]) else m[0], value)
        return text if len(text) <= max(LONGEST, len(value)) else value

    def known(key: str) -> bool:
        return key in config and key not in open_keys

    return {key: at(key) for key in config}


def natural(text: str) -> list[tuple[bool, int, str]]:
    """A sorting key under which numbers in a name count as numbers, and come before letters."""
    parts = re.findall(r"\d+|\D+", text)
    return [(False, int(p), "") if p.isdecimal() else (True, 0, p) for p in parts]


def _flat(node: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a list is a value."""
    if depth > DEEPEST or not isinstance(node, Mapping):
        raise ValueError("config.yaml is no configuration")
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", value


def _yaml(path: Path | None) -> Any:
    """The content of a YAML file without aliases, which can make a small file endless."""
    if path is None:
        raise ValueError("no config.yaml, in .hydra or beside the metrics")
    text = _text(path)
    events = yaml.parse(text, Loader=LOADER)
    for event in islice(events, 4 * MOST_KEYS):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"{path.name} has aliases")
    if next(events, None) is not None:
        raise ValueError(f"{path.name} has more than {MOST_KEYS} keys")
    return yaml.load(text, Loader=LOADER)


def _json(path: Path) -> dict[str, Any]:
    content = json.loads(_text(path))
    if not isinstance(content, dict) or not all(isinstance(s, dict) for s in content.values()):
        raise ValueError(f"{path.name} holds no results")
    return content


def _text(path: Path) -> str:
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.name} is larger than {LARGEST >> 20} MB")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is no text") from None


def _first(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / ".hydra" / name, folder / name) if p.is_file()), None)


def _times(folder: Path) -> Iterator[float]:
    for path in (*folder.glob("*"), *(folder / "checkpoints").glob("*")):
        if path.is_file():
            yield path.stat().st_mtime


def _line(error: BaseException) -> str:
    """One line for people."""
    if isinstance(error, yaml.YAMLError):
        return "its YAML is damaged"
    if isinstance(error, json.JSONDecodeError):
        return f"metrics.json is damaged ({error.msg.lower()}, line {error.lineno})"
    if isinstance(error, OSError) and error.strerror:
        return f"{Path(error.filename or '').name}: {error.strerror}"
    return " ".join(str(error).split())[:200] or type(error).__name__

"""python -m kd_lightning.benchmark: quality and speed of the students, their teacher and peers."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kd_lightning import pictures as picture_grid
from kd_lightning.benchmark import machine, quality, report
from kd_lightning.benchmark.cases import full_cases, quick_cases, student_cases
from kd_lightning.benchmark.speed import Case, run_case
from kd_lightning.deploy.artifact import load_artifact
from kd_lightning.deploy.backends import Runner, open_weights
from kd_lightning.errors import UserError

WEIGHTS = Path(__file__).parents[1] / "weights"
CHOICES = {"torch fp32": ("torch", "fp32"), "default": ("auto", "auto")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 a wrong argument."""
    parser = argparse.ArgumentParser("python -m kd_lightning.benchmark", description=__doc__)
    add = parser.add_argument
    add("--set", action="append", default=[], metavar="NAME=FOLDER", help="HR images to score on")
    add("--student", action="append", default=[], metavar="NAME=FILE", help="artifact or export")
    add("--teacher", type=Path, help="teacher's artifact, for sets without a _teacher folder")
    add("--full", action="store_true", help="every frame size, backend and peer")
    add("--no-speed", action="store_true", help="quality only")
    add("--scale", type=int, default=2)
    add("-o", "--output", type=Path, default=Path("experiments/benchmark"))
    options = parser.parse_args(arguments)
    try:
        run(options)
    except UserError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    students = pairs(options.student, "--student") or shipped("student*.safetensors")
    sets = pairs(options.set, "--set") or default_sets(Path("../shared/data"))
    teacher = options.teacher or next(iter(shipped("swinir*.safetensors").values()), None)
    facts = machine.describe()
    facts["matrix_peaks"] = machine.matrix_peaks()
    runners = open_students(students)
    scores: dict[str, Any] = {}
    crops: dict[str, Path] = {}
    for name, folder in sets.items():
        print(f"quality on {name}", file=sys.stderr, flush=True)
        files = quality.pictures(folder)
        methods = methods_for(folder, runners, teacher, options.scale)
        values = quality.score_set(files, methods, options.scale)
        scores[name] = {"n": len(files), "scores": values}
        picture = options.output / f"{name}.png"
        crops[f"{name}: {files[0].stem}"] = compare(files[0], methods, options.scale, picture)
    cases: list[Case] = []
    if not options.no_speed:
        cases = full_cases() if options.full else quick_cases()
        cases += student_cases(students)
    speed = []
    for number, case in enumerate(cases, 1):
        note = f"speed {number}/{len(cases)}: {case.method}, {case.frame}"
        print(note, file=sys.stderr, flush=True)
        speed.append(run_case(case))
    result = {
        "machine": facts,
        "quality": scores,
        "speed": speed,
        "timed_as": {"bicubic": "OpenCV bicubic", **{name: name for name in runners}},
    }
    page = report.write(result, options.output, crops)
    print(report.markdown(result))
    print(f"page: {page.resolve()}")


def pairs(values: Sequence[str], option: str) -> dict[str, Path]:
    """NAME=PATH arguments; UserError for another form or a missing path."""
    found = {}
    for value in values:
        name, mark, path = value.partition("=")
        if not (name and mark):
            raise UserError(f"{option} {value}: write NAME=PATH")
        if not Path(path).exists():
            raise UserError(f"{option} {value}: {path} does not exist")
        found[name] = Path(path)
    return found


def shipped(pattern: str) -> dict[str, Path]:
    """Weights that come with the package, by stem."""
    return {path.stem: path for path in sorted(WEIGHTS.glob(pattern))}


def default_sets(data: Path) -> dict[str, Path]:
    """Set5 and the photos' validation split, where they lie beside the checkout."""
    known = {"set5": data / "set5/HR", "photos_valid": data / "photos/valid_HR"}
    return {name: folder for name, folder in known.items() if folder.is_dir()}


def open_students(students: dict[str, Path]) -> dict[str, Runner]:
    """Each student once in fp32 torch, the reference, and once as kd-enhance would run it."""
    runners = {}
    for name, path in students.items():
        for label, (backend, precision) in CHOICES.items():
            if path.suffix == ".safetensors" or label == "default":
                runner = open_weights(path, backend, "cpu", precision)  # type: ignore[arg-type]
                runners[f"{name} {label}"] = runner
    return runners


def methods_for(
    folder: Path, runners: dict[str, Runner], teacher: Path | None, scale: int
) -> dict[str, quality.Method]:
    """Name -> method, in the order of the table."""
    methods = {"bicubic": quality.bicubic(scale)}
    methods |= {name: quality.deployed(runner, scale) for name, runner in runners.items()}
    outputs = quality.teacher_folder(folder)
    if outputs:
        methods["teacher"] = quality.stored(outputs)
    elif teacher:
        load_artifact(teacher)  # named as wrong here, not after minutes
        runner = open_weights(teacher, "torch", "cpu", "fp32")
        methods["teacher"] = quality.deployed(runner, scale)
    return methods


def compare(path: Path, methods: dict[str, quality.Method], scale: int, target: Path) -> Path:
    """Write the methods' outputs for one picture beside each other, with a zoomed detail."""
    lr, hr = quality.read_pair(path, scale)
    truth = quality.to_tensor(hr)[0]
    outputs = {name: method(lr, path.stem) for name, method in methods.items()}
    columns = {name: quality.to_tensor(sr)[0] for name, sr in outputs.items() if sr is not None}
    with torch.inference_mode():
        grid = picture_grid.comparison({**columns, "hr": truth}, truth, columns["bicubic"])
    return picture_grid.save(grid, target)


if __name__ == "__main__":
    sys.exit(main())

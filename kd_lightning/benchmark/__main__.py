"""python -m kd_lightning.benchmark: quality and speed of the students, their teacher and peers."""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from kd_lightning.benchmark import exit_status, machine, quality, report
from kd_lightning.benchmark.cases import full_cases, quick_cases, shapes
from kd_lightning.benchmark.speed import run_case
from kd_lightning.data.samples import SamplePhotos
from kd_lightning.deploy.backends import Runner, open_weights
from kd_lightning.deploy.export import export
from kd_lightning.errors import UserError
from kd_lightning.imageio import comparison as picture_grid
from kd_lightning.imports import add_option
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.lookup import import_modules
from kd_lightning.models.network import model_info
from kd_lightning.models.pretrained import shipped

CHOICES = {"torch fp32": ("torch", "fp32"), "default": ("auto", "auto")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 a wrong argument."""
    parser = argparse.ArgumentParser("python -m kd_lightning.benchmark", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, help="a folder with set5/HR and photos/valid_HR, scored without --set")
    add("--set", action="append", default=[], metavar="NAME=FOLDER", help="HR images to score on")
    add("--student", action="append", default=[], metavar="NAME=FILE", help="artifact or export")
    add("--teacher", type=Path, help="teacher's artifact, for sets without a _teacher folder")
    add_option(parser)
    add("--full", action="store_true", help="every frame size, backend and peer")
    add("--no-speed", action="store_true", help="quality only")
    add("--scale", type=int, default=2)
    add("-o", "--output", type=Path, default=Path("experiments/benchmark"))
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    import_modules(options.imports)
    students = pairs(options.student, "--student") or shipped()
    sets = pairs(options.set, "--set") or known_sets(options.data)
    teacher = options.teacher or next(iter(shipped("swinir*.safetensors").values()), None)
    facts = machine.describe()
    facts["matrix_peaks"] = machine.matrix_peaks()
    with TemporaryDirectory() as scratch:
        samples = sample_photos(Path(scratch))
        int8 = int8_exports(students, samples, Path(scratch)) if samples else {}
        runners = open_students(students, int8)
        scores = {}
        for name, folder in sets.items():
            tell(f"quality on {name}")
            scores[name] = score(
                folder, methods_for(folder, runners, teacher, options.scale), options
            )
        crops = {}
        for photo in quality.pictures(samples / "test_HR") if samples else []:
            target = options.output / f"{photo.stem}.png"
            methods = methods_for(photo.parent, runners, teacher, options.scale)
            crops[photo.stem] = compare(photo, methods, options.scale, target)
        speed = []
        if not options.no_speed:
            cases = (full_cases if options.full else quick_cases)(students, int8)
            for number, case in enumerate(cases, 1):
                tell(f"speed {number}/{len(cases)}: {case.method}, {case.frame}")
                speed.append(run_case(case, facts["matrix_peaks"], options.imports))
    result = {"machine": facts, "quality": scores, "speed": speed, "timed_as": timed_as(students)}
    page = report.write(result, options.output, crops)
    print(report.markdown(result))
    print(f"page: {page.resolve()}")


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def score(
    folder: Path, methods: dict[str, quality.Method], options: argparse.Namespace
) -> dict[str, Any]:
    """The table of one test set and, for each student, by how many 8-bit levels its default way
    differs from fp32 at most."""
    files = quality.pictures(folder)
    exact = {name: name.replace(" default", " torch fp32") for name in methods}
    exact = {name: other for name, other in exact.items() if other != name and other in methods}
    return {"n": len(files), "scores": quality.score_set(files, methods, options.scale, exact)}


def sample_photos(folder: Path) -> Path | None:
    """The photographs of scikit-image: train_HR to calibrate with, test_HR for pictures; None
    without it."""
    try:
        SamplePhotos().fetch(folder, folder)
    except UserError as error:
        tell(f"no pictures and no int8: {error}")
        return None
    return folder


def int8_exports(students: dict[str, Path], samples: Path, folder: Path) -> dict[str, Path]:
    """The students quantized on sample photos, but for those in 8 bits already; none where NNCF is
    not installed."""
    if not (find_spec("nncf") and find_spec("openvino")):
        return {}
    found = {}
    for name, path in students.items():
        if path.suffix == ".safetensors" and not model_info(load_artifact(path)[0]).int8:
            tell(f"int8 export of {name}")
            found[name] = folder / f"{name}.xml"
            export(path, found[name], "int8", samples / "train_HR")
    return found


def timed_as(students: dict[str, Path]) -> dict[str, str]:
    """Row of the quality table -> row of the speed tables."""
    rows = {"bicubic": "OpenCV bicubic"}
    for name, case in shapes(students).items():
        rows |= {f"{name} {way}": f"{case.method} {way}" for way in (*CHOICES, "int8")}
    return rows


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


def known_sets(data: Path | None) -> dict[str, Path]:
    """Set5 and the photos' validation split, where `data` has them."""
    if data is None:
        return {}
    known = {"set5": data / "set5/HR", "photos_valid": data / "photos/valid_HR"}
    return {name: folder for name, folder in known.items() if folder.is_dir()}


def open_students(students: dict[str, Path], int8: dict[str, Path]) -> dict[str, Runner]:
    """Each student in fp32 torch, the reference, as kd-enhance runs it, and quantized."""
    runners = {}
    for name, path in students.items():
        for label, (backend, precision) in CHOICES.items():
            if path.suffix == ".safetensors" or label == "default":
                runner = open_weights(path, backend, "cpu", precision)  # type: ignore[arg-type]
                runners[f"{name} {label}"] = runner
        if name in int8:
            runners[f"{name} int8"] = open_weights(int8[name], device="cpu")
    return runners


def methods_for(
    folder: Path, runners: dict[str, Runner], teacher: Path | None, scale: int
) -> dict[str, quality.Method]:
    """Name -> method, in the order of the table."""
    methods = {"bicubic": quality.bicubic(scale)}
    methods |= {name: quality.deployed(runner, scale) for name, runner in runners.items()}
    outputs = quality.teacher_folder(folder)
    if outputs:
        methods["teacher of the folder"] = quality.stored(outputs)
    elif teacher:
        runner = open_weights(teacher, "torch", "cpu", "fp32")
        methods["bundled teacher"] = quality.deployed(runner, scale)
    return methods


def compare(path: Path, methods: dict[str, quality.Method], scale: int, target: Path) -> Path:
    """Write the methods' outputs for one picture beside each other, with a zoomed detail."""
    lr, hr = quality.read_pair(path, scale)
    truth = quality.to_tensor(hr)[0]
    shown = [n for n in methods if not n.endswith((" torch fp32", " int8"))]
    outputs = {name: methods[name](lr, path.stem) for name in shown}
    columns = {name: quality.to_tensor(sr)[0] for name, sr in outputs.items() if sr is not None}
    with torch.inference_mode():
        grid = picture_grid.comparison({**columns, "hr": truth}, truth, columns["bicubic"])
    return picture_grid.save(grid, target)


if __name__ == "__main__":
    sys.exit(main())

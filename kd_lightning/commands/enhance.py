"""kd-enhance: restore pictures with a distilled student."""

import argparse
import glob
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kd_lightning.errors import UserError
from kd_lightning.models.pretrained import DEFAULT, find_weights

if TYPE_CHECKING:  # heavy imports wait until the arguments are understood
    from kd_lightning.deploy.backends import Runner

STREAM = "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all done, 1 a picture failed and was skipped, 2 nothing could start."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except UserError as error:
        print(f"kd-enhance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kd-enhance", description=__doc__)
    add = parser.add_argument
    add("input", nargs="+", help="files, folders, globs; - is standard input")
    add("-o", "--output", required=True, help="file, folder, or - for PNG on standard output")
    add("--scale", type=int, choices=(1, 2, 3, 4), help="1 sharpens; default: the weights' own")
    add(
        "--weights",
        default=DEFAULT,
        help="name of a student of the package, or .safetensors, .onnx, .xml; default: %(default)s",
    )
    add("--backend", choices=("auto", "torch", "onnx", "openvino", "ncnn"), default="auto")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    add("--tile", default="auto", help="tile side in pixels; bounds the memory")
    add("--force", action="store_true", help="overwrite existing files")
    add("-q", "--quiet", action="store_true", help="no progress bar")
    return parser


def _run(options: argparse.Namespace) -> int:
    tile = _tile(options.tile)
    inputs = expand(options.input)
    jobs = [(name, _target(name, options.output, len(inputs))) for name in inputs]
    _refuse_collisions(jobs)
    weights = find_weights(options.weights)

    from kd_lightning.deploy.backends import open_weights

    runner = open_weights(weights, options.backend, options.device, options.precision)
    if options.scale and runner.takes_lr and options.scale != runner.scale:
        raise UserError(f"--scale {options.scale}: these weights only enlarge by {runner.scale}")
    _say(f"kd-enhance: {runner.name}, {len(jobs)} picture(s)")
    failed = 0
    for name, target in _progress(jobs, options.quiet):
        try:
            _one(name, target, runner, options.scale or runner.scale, tile, options.force)
        except (UserError, OSError, MemoryError) as error:
            failed += 1
            reason = str(error) or type(error).__name__
            _say(f"kd-enhance: skipped {reason if name in reason else f'{name}: {reason}'}")
    if failed:
        _say(f"kd-enhance: {failed} of {len(jobs)} pictures skipped")
    return 1 if failed else 0


def _one(
    name: str, target: Path | None, runner: "Runner", scale: int, tile: int | None, force: bool
) -> None:
    from kd_lightning.deploy.enhance import enhance_bands
    from kd_lightning.imageio.images import check_format, read_image, write_image

    if target and target.exists() and not force:
        raise UserError(f"{name}: {target} exists; use --force to overwrite it")
    source = io.BytesIO(sys.stdin.buffer.read()) if name == STREAM else Path(name)
    picture = read_image(source, name)
    if target:
        check_format(target.suffix.lower(), picture, name)
        target.parent.mkdir(parents=True, exist_ok=True)
    height, width = picture.pixels.shape[:2]
    bands = enhance_bands(runner, picture.pixels, scale, tile)
    write_image(target or sys.stdout.buffer, (height * scale, width * scale), bands, picture)


def expand(inputs: Sequence[str]) -> list[str]:
    """File names for files, folders (their pictures, sorted) and globs.

    Raises:
        UserError: a folder without pictures, or a glob that matches nothing.
    """
    from kd_lightning.imageio.suffixes import READABLE

    names: list[str] = []
    for item in inputs:
        path = Path(item)
        if item == STREAM or path.is_file():
            names.append(item)
        elif path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in READABLE)
            if not found:
                raise UserError(f"{item}: no pictures in this folder ({', '.join(READABLE)})")
            names += map(str, found)
        elif glob.has_magic(item):
            matches = sorted(p for p in glob.glob(item, recursive=True) if Path(p).is_file())
            if not matches:
                raise UserError(f"{item}: matches no file")
            names += matches
        else:
            names.append(item)  # named as missing when its turn comes
    return names


def _target(name: str, output: str, count: int) -> Path | None:
    """Where the result of `name` goes; None for standard output."""
    from kd_lightning.imageio.suffixes import WRITABLE

    if output == STREAM:
        if count > 1:
            raise UserError("-o -: standard output takes one picture; give a folder")
        return None
    path = Path(output)
    if count == 1 and not path.is_dir() and path.suffix and not output.endswith("/"):
        return path
    if path.is_file():
        raise UserError(f"{output}: is a file, but {count} pictures need a folder")
    source = Path("stdin.png" if name == STREAM else name)
    return path / (source.name if source.suffix.lower() in WRITABLE else f"{source.stem}.png")


def _refuse_collisions(jobs: list[tuple[str, Path | None]]) -> None:
    owners: dict[Path, str] = {}
    for name, target in jobs:
        if target is None:
            continue
        if owners.setdefault(target, name) != name:
            raise UserError(f"{name} and {owners[target]} would both be written to {target}")


def _tile(value: str) -> int | None:
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"--tile {value}: give auto or a number of pixels")
    return int(value)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _progress(
    jobs: list[tuple[str, Path | None]], quiet: bool
) -> Iterable[tuple[str, Path | None]]:
    if quiet or len(jobs) == 1 or not sys.stderr.isatty():
        return jobs
    from rich.console import Console
    from rich.progress import track

    return track(jobs, "enhancing", console=Console(stderr=True))


if __name__ == "__main__":
    sys.exit(main())

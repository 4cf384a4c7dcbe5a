"""kd-enhance: restore images, and live video, with a distilled student."""

import argparse
import glob
import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kd_lightning.commands import live
from kd_lightning.commands.failures import exit_status, one_line, say, show
from kd_lightning.deploy.backends import MODULES
from kd_lightning.errors import UserError
from kd_lightning.models.pretrained import DEFAULT, find_weights

if TYPE_CHECKING:  # heavy imports wait until the arguments are understood
    from kd_lightning.deploy.backends import Runner

STREAM = "-"
IMPORT = "module with the class of the weights' network, where it is not one of kd_lightning"
Job = tuple[str, Path | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all done, 1 an image failed and was skipped, 2 nothing could start."""
    parser = _parser()
    options = parser.parse_args(arguments)
    run = live.run if live.is_live(options) else _run
    if run is _run and not (options.input and options.output):
        parser.error("give inputs and -o OUTPUT (or a live stream: --camera, --show, --pipe, ...)")
    return exit_status("kd-enhance", options.debug, lambda: run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kd-enhance", description=__doc__)
    add = parser.add_argument
    add("input", nargs="*", help="files, folders, globs; - is standard input")
    add(
        "-o",
        "--output",
        help="file (.png, .jpg, .webp, .tif, .bmp), folder, or - for PNG on standard output",
    )
    add(
        "--scale",
        type=int,
        choices=(1, 2, 3, 4),
        help="default: the weights' own; 1 keeps the size",
    )
    add(
        "--weights",
        help="name of a student of the package, or .safetensors, .onnx, .xml; default: "
        f"{DEFAULT}; for a live stream several, the largest first: {live.STUDENTS}",
    )
    add("--backend", choices=("auto", *MODULES), default="auto")
    add("--import", dest="imports", action="append", default=[], metavar="MODULE", help=IMPORT)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    add("--tile", default="auto", help="tile side in pixels; bounds the memory")
    add("--max-pixels", type=int, help="refuse larger inputs; default: 250 million pixels")
    add("--force", action="store_true", help="overwrite existing files")
    add("--debug", action="store_true", help="show where in the program an error arose")
    add("-q", "--quiet", action="store_true", help="no progress bar")
    live.add_arguments(parser)
    return parser


def _run(options: argparse.Namespace) -> int:
    tile = _tile(options.tile)
    inputs = expand(options.input)
    jobs = [(name, _target(name, options.output, len(inputs))) for name in inputs]
    _refuse_collisions(jobs)
    weights = find_weights(options.weights or DEFAULT)

    from kd_lightning.deploy.backends import open_weights
    from kd_lightning.deploy.enhance import untrained_scale
    from kd_lightning.deploy.parity import WrongBackend
    from kd_lightning.imageio.decode import MAX_PIXELS
    from kd_lightning.models.lookup import import_modules

    import_modules(options.imports)
    runner = open_weights(weights, options.backend, options.device, options.precision)
    if options.scale and runner.takes_lr and options.scale != runner.scale:
        raise UserError(f"--scale {options.scale}: these weights only enlarge by {runner.scale}")
    if options.scale and (warning := untrained_scale(runner, options.scale)):
        say(f"kd-enhance: warning: {warning}")
    _remove_leftovers(jobs)
    say(f"kd-enhance: {runner.name}, {len(jobs)} image(s)")
    scale, limit = options.scale or runner.scale, options.max_pixels or MAX_PIXELS
    failed = 0
    for name, target in _progress(jobs, options.quiet):
        shown = "standard input" if name == STREAM else name
        try:
            _refuse_existing(target, options.force)
            notes = _one(name, shown, target, runner, scale, tile, limit)
        except WrongBackend:
            raise
        except Exception as error:  # each image's own: the others go on
            failed += 1
            reason = one_line(error)
            if isinstance(error, FloatingPointError):
                reason = f"{weights}: these weights give NaN or infinite values; take others"
            if isinstance(error, BrokenPipeError):
                _silence_output()
            reason = reason if shown in reason else f"{shown}: {reason}"
            say(f"kd-enhance: skipped {reason}")
            if options.debug:
                show(error)
        else:
            for note in notes:
                say(f"kd-enhance: {shown}: {note}")
    if failed:
        say(f"kd-enhance: {failed} of {len(jobs)} images skipped")
    return 1 if failed else 0


def _one(
    name: str,
    shown: str,
    target: Path | None,
    runner: "Runner",
    scale: int,
    tile: int | None,
    max_pixels: int,
) -> list[str]:
    """Restore one image; returns what of its metadata was left out."""
    from kd_lightning.deploy.enhance import enhance_bands
    from kd_lightning.imageio.images import read_image
    from kd_lightning.imageio.writing import check_format, write_image

    source = io.BytesIO(sys.stdin.buffer.read()) if name == STREAM else Path(name)
    image = read_image(source, shown, max_pixels)
    height, width = image.pixels.shape[:2]
    size = height * scale, width * scale
    notes = check_format(target.suffix.lower() if target else ".png", image, size, shown)
    bands = enhance_bands(runner, image.pixels, scale, tile)
    write_image(target or sys.stdout.buffer, size, bands, image)
    if target is None:
        sys.stdout.flush()
    return notes


def expand(inputs: Sequence[str]) -> list[str]:
    """File names for files, folders (their images, sorted) and globs. What a folder
    holds besides images is counted in one line on standard error.

    Raises:
        UserError: a folder without images, or a glob that matches nothing.
    """
    from kd_lightning.imageio.folders import describe, list_folder
    from kd_lightning.imageio.suffixes import READABLE

    names: list[str] = []
    for item in inputs:
        path = Path(item)
        if item == STREAM or path.is_file():
            names.append(item)
        elif path.is_dir():
            found, left_out = list_folder(path)
            if left_out:
                say(f"kd-enhance: {item}: {describe(left_out)}")
            if not found:
                raise UserError(f"{item}: no images in this folder ({', '.join(READABLE)})")
            names += map(str, found)
        elif glob.has_magic(item):
            matches = sorted(p for p in glob.glob(item, recursive=True) if Path(p).is_file())
            if not matches:
                raise UserError(f"{item}: matches no file")
            names += _each_once(matches)
        else:
            names.append(item)  # named as missing when its turn comes
    return names


def _each_once(matches: list[str]) -> list[str]:
    """Without what a link to a folder makes appear again, as one that leads in a circle does."""
    places: dict[str, str] = {}
    for match in sorted(matches, key=lambda match: (match.count(os.sep), match)):
        folder, name = os.path.split(match)
        places.setdefault(os.path.join(os.path.realpath(folder), name), match)
    return sorted(places.values())


def _target(name: str, output: str, count: int) -> Path | None:
    """Where the result of `name` goes; None for standard output.

    A name is a file's where it ends as an image's does, and a folder's where it exists as one,
    ends with a slash or has no ending of letters ("results_1.5").
    """
    from kd_lightning.imageio.suffixes import WRITABLE

    if output == STREAM:
        if count > 1:
            raise UserError("-o -: standard output takes one image; give a folder")
        return None
    path = Path(output)
    if not (path.is_dir() or output.endswith("/")):
        ending = path.suffix.lower()
        if ending in WRITABLE and count == 1:
            return path
        if path.is_file() or ending in WRITABLE:
            raise UserError(f"{output}: names one file, but {count} images need a folder")
        if ending[1:].isalpha():
            raise UserError(
                f"{output}: cannot write {ending}; end the file's name in {', '.join(WRITABLE)}, "
                "or a folder's in /"
            )
    source = Path("stdin.png" if name == STREAM else name)
    return path / (source.name if source.suffix.lower() in WRITABLE else f"{source.stem}.png")


def _refuse_collisions(jobs: list[Job]) -> None:
    owners: dict[Path, str] = {}
    for name, target in jobs:
        if target is None:
            continue
        if owners.setdefault(target, name) != name:
            raise UserError(f"{name} and {owners[target]} would both be written to {target}")


def _refuse_existing(target: Path | None, force: bool) -> None:
    """A link exists too, even one that points nowhere."""
    if target and os.path.lexists(target) and not force:
        raise UserError(f"{target} exists; use --force to overwrite it")


def _remove_leftovers(jobs: list[Job]) -> None:
    from kd_lightning.files import ABANDONED, remove_leftovers

    for folder in {target.parent for _, target in jobs if target}:
        remove_leftovers(folder, recursive=False, older_than=ABANDONED)


def _tile(value: str) -> int | None:
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"--tile {value}: give auto or a number of pixels")
    return int(value)


def _silence_output() -> None:
    """Whoever read standard output is gone: Python must not try again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _progress(jobs: list[Job], quiet: bool) -> Iterable[Job]:
    if quiet or len(jobs) == 1 or not sys.stderr.isatty():
        return jobs
    from rich.console import Console
    from rich.progress import track

    return track(jobs, "enhancing", console=Console(stderr=True))


if __name__ == "__main__":
    sys.exit(main())

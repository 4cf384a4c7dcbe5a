"""kd-enhance: restore images, videos and live streams with a distilled student."""

import argparse
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kd_lightning.commands import VERSION, clips, live
from kd_lightning.commands.failures import exit_status, one_line, say, show
from kd_lightning.commands.jobs import (
    OR_SKIP,
    STREAM,
    Job,
    Kind,
    open_runner,
    pending,
    pixel_limit,
    plan,
    refuse_existing,
    remove_leftovers,
    silence_output,
    tile_side,
)
from kd_lightning.deploy.backends import MODULES
from kd_lightning.errors import UserError
from kd_lightning.imageio.suffixes import READABLE, WRITABLE
from kd_lightning.imports import add_option
from kd_lightning.models.pretrained import DEFAULT, SAME_SIZE

if TYPE_CHECKING:  # heavy imports wait until the arguments are understood
    from kd_lightning.deploy.backends import Runner

IMAGES = Kind("images", READABLE, WRITABLE, ".png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all done, 1 an image failed and was skipped, 2 nothing could start."""
    parser = _parser()
    options = parser.parse_args(arguments)
    run = live.run if live.is_live(options) else _files
    if run is _files and not (options.input and options.output):
        parser.error("give inputs and -o OUTPUT (or a live stream: --camera, --show, --pipe, ...)")
    return exit_status("kd-enhance", options.debug, lambda: run(options))


def _files(options: argparse.Namespace) -> int:
    return clips.run(options) if clips.are_clips(options) else _run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kd-enhance", description=__doc__)
    add = parser.add_argument
    add("input", nargs="*", help="files, folders, globs; - is standard input")
    add(
        "-o",
        "--output",
        help="file (.png, .jpg, .webp, .tif, .bmp; a video's), folder, or - for standard output",
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
        f"{DEFAULT}, for scale 1 {SAME_SIZE}; for a live stream several, the largest first: "
        f"{live.STUDENTS}",
    )
    add("--backend", choices=("auto", *MODULES), default="auto")
    add_option(parser)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    add("--tile", default="auto", help="tile side at the network's input; bounds the memory")
    add("--max-pixels", type=int, help="refuse larger inputs; default: 250 million pixels")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="overwrite existing files")
    existing.add_argument(
        "--skip-existing", action="store_true", help="leave them, as done: goes on with a folder"
    )
    add("--quality", type=int, help="of JPEG and WebP, 1 to 100; default: 95")
    add("--debug", action="store_true", help="show where in the program an error arose")
    add("--version", action="version", version=VERSION)
    add("-q", "--quiet", action="store_true", help="no progress bar")
    clips.add_arguments(parser)
    live.add_arguments(parser)
    return parser


def _run(options: argparse.Namespace) -> int:
    for name in clips.given(options):
        raise UserError(f"{name}: has a meaning for videos alone; leave it out")
    tile, limit = tile_side(options.tile), pixel_limit(options.max_pixels)
    planned = plan(options.input, options.output, IMAGES)
    quality = _quality(options.quality, planned)
    jobs, failed = pending(planned, options.skip_existing, IMAGES)
    if not jobs:
        return 1 if failed else 0

    from kd_lightning.deploy.parity import WrongBackend

    runner, scale, weights = open_runner(options)
    remove_leftovers(jobs)
    say(f"kd-enhance: {runner.name}, {len(jobs)} image(s)")
    total = failed + len(jobs)
    for name, target in _progress(jobs, options.quiet):
        shown = "standard input" if name == STREAM else name
        try:
            refuse_existing(target, options.force, OR_SKIP)
            notes = _one(
                name, shown, target, runner, scale, tile, limit, quality, not options.force
            )
        except WrongBackend:
            raise
        except Exception as error:  # each image's own: the others go on
            failed += 1
            reason = one_line(error)
            if isinstance(error, FloatingPointError):
                reason = f"{weights}: these weights give NaN or infinite values; take others"
            if isinstance(error, BrokenPipeError):
                silence_output()
            reason = reason if shown in reason else f"{shown}: {reason}"
            say(f"kd-enhance: skipped {reason}")
            if options.debug:
                show(error)
        else:
            for note in notes:
                say(f"kd-enhance: {shown}: {note}")
    if failed:
        say(f"kd-enhance: {failed} of {total} images skipped")
    return 1 if failed else 0


def _one(
    name: str,
    shown: str,
    target: Path | None,
    runner: "Runner",
    scale: int,
    tile: int | None,
    max_pixels: int,
    quality: int,
    new: bool,
) -> list[str]:
    """Restore one image; returns what of its metadata was left out."""
    from kd_lightning.deploy.enhance import enhance_bands
    from kd_lightning.imageio.images import read_image
    from kd_lightning.imageio.writing import check_format, write_image

    source = io.BytesIO(sys.stdin.buffer.read()) if name == STREAM else Path(name)
    image = read_image(source, shown, max_pixels, "cut it into parts, or raise --max-pixels")
    height, width = image.pixels.shape[:2]
    size = height * scale, width * scale
    notes = check_format(target.suffix.lower() if target else ".png", image, size, shown)
    bands = enhance_bands(runner, image.pixels, scale, tile)
    write_image(target or sys.stdout.buffer, size, bands, image, new, quality)
    if target is None:
        sys.stdout.flush()
    return notes


def _quality(value: int | None, jobs: list[Job]) -> int:
    """What --quality says. UserError outside of 1 to 100, or where no output has a quality."""
    from kd_lightning.imageio.writing import LOSSY, QUALITY

    if value is None:
        return QUALITY
    if not 1 <= value <= 100:
        raise UserError(f"--quality {value}: give 1 to 100")
    if not any(target and target.suffix.lower() in LOSSY for _, target in jobs):
        raise UserError(f"--quality: has a meaning for {', '.join(LOSSY)} alone; leave it out")
    return value


def _progress(jobs: list[Job], quiet: bool) -> Iterable[Job]:
    if quiet or len(jobs) == 1 or not sys.stderr.isatty():
        return jobs
    from rich.console import Console
    from rich.progress import track

    return track(jobs, "enhancing", console=Console(stderr=True))


if __name__ == "__main__":
    sys.exit(main())

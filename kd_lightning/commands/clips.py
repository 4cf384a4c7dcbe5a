"""kd-enhance on videos: in.mp4 -o out.mp4, folders and globs of clips, streams."""

import argparse
import glob
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd_lightning.commands.failures import one_line, say, show
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
from kd_lightning.errors import UserError
from kd_lightning.imageio.suffixes import READABLE as IMAGES
from kd_lightning.stages import in_stage
from kd_lightning.video.codecs import CODECS
from kd_lightning.video.suffixes import CONTAINERS, READABLE

if TYPE_CHECKING:  # heavy imports wait until the arguments are understood
    from kd_lightning.deploy.backends import Runner
    from kd_lightning.video.enhancing import Split
    from kd_lightning.video.pipeline import Report
    from kd_lightning.video.reader import Reader

VIDEOS = Kind("videos", READABLE, tuple(CONTAINERS), ".mp4")
INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of videos."""
    group = parser.add_argument_group("videos", f"inputs that end in {', '.join(READABLE)}")
    add = group.add_argument
    add("--codec", choices=tuple(CODECS), help="default: h264, or what the container takes")
    add("--crf", type=int, help="quality, less is better; default: the codec's, which looks right")
    add("--format", metavar="CONTAINER", help="FFmpeg's name (nut, mp4, ...), for -o -")
    add(
        "--on-error",
        choices=("stop", "skip"),
        help="damaged data ends the output (default), or is left out",
    )
    add(
        "--preview",
        nargs="?",
        const="moving",
        metavar="SPLIT",
        help="before | after, divided at this share of the width (0 to 1); default: moving",
    )


def given(options: argparse.Namespace) -> list[str]:
    """Which of the options of videos were given."""
    names = ("codec", "crf", "format", "on_error", "preview")
    values = {f"--{name.replace('_', '-')}": getattr(options, name) for name in names}
    return [name for name, value in values.items() if value is not None]


def are_clips(options: argparse.Namespace) -> bool:
    """Whether the inputs, or else the output, are videos. Files that are named or match a glob say
    so before what folders hold; a folder that holds both is one of images.

    Raises:
        UserError: the files are of both kinds.
    """
    files, held = _names(options.input)
    videos, images = _of_kind(files, READABLE), _of_kind(files, IMAGES)
    if videos and images:
        raise UserError(
            f"{videos[0]} is a video and {images[0]} an image; give them in two commands"
        )
    if not (videos or images):
        videos, images = _of_kind(held, READABLE), _of_kind(held, IMAGES)
    if videos or images:
        return not images
    return bool(options.format) or (options.output or "").lower().endswith(tuple(CONTAINERS))


def _names(inputs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Files that are named or match a glob, and the names of those in folders."""
    files, held = [], []
    for item in inputs:
        path = Path(item)
        if path.is_dir():
            held += [entry.name for entry in path.iterdir() if not entry.name.startswith(".")]
        elif glob.has_magic(item) and not path.is_file():
            files += sorted(p for p in glob.glob(item, recursive=True) if Path(p).is_file())
        else:
            files.append(item)
    return files, held


def _of_kind(names: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    return [name for name in names if name.lower().endswith(tuple(suffixes))]


def run(options: argparse.Namespace) -> int:
    """Exit status: 0 all done, 1 a video failed, or parts of it; 130 interrupted."""
    split, tile = _split(options.preview), tile_side(options.tile)
    pixel_limit(options.max_pixels)
    if options.quality is not None:
        raise UserError("--quality: has a meaning for images alone; videos take --crf")
    planned = plan(options.input, options.output, VIDEOS)
    jobs, failed = pending(planned, options.skip_existing, VIDEOS)
    if not jobs:
        return 1 if failed else 0

    from kd_lightning.deploy.parity import WrongBackend
    from kd_lightning.video.writer import Encoding, choose

    encoding = Encoding(options.codec, options.crf, options.format)
    for _, target in jobs:
        choose(target or sys.stdout.buffer, encoding, str(target or "-o -"))
    runner, scale, _ = open_runner(options)
    remove_leftovers(jobs)
    say(f"kd-enhance: {runner.name}, {len(jobs)} video(s)")
    total = failed + len(jobs)
    stop = threading.Event()
    for job in jobs:
        shown = "standard input" if job[0] == STREAM else job[0]
        try:
            refuse_existing(job[1], options.force, OR_SKIP)
            problems = _one(job, shown, runner, scale, (split, tile), encoding, options, stop)
        except WrongBackend:
            raise
        except Exception as error:  # each video's own: the others go on
            failed += 1
            if isinstance(error, BrokenPipeError):
                silence_output()
            reason = one_line(error)
            say(f"kd-enhance: skipped {reason if shown in reason else f'{shown}: {reason}'}")
            if options.debug:
                show(error)
        else:
            failed += bool(problems)
            for problem in problems:
                say(f"kd-enhance: {shown}: {problem}")
        if stop.is_set():
            if job[1] and job[1].is_file():
                say(
                    f"kd-enhance: {job[1]} ends where it was interrupted; remove it before you go "
                    "on with --skip-existing, which takes it for finished"
                )
            return INTERRUPTED
    if failed and total > 1:
        say(f"kd-enhance: {failed} of {total} videos skipped or incomplete")
    return 1 if failed else 0


def _one(
    job: Job,
    shown: str,
    runner: "Runner",
    scale: int,
    how: "tuple[Split | None, int | None]",
    encoding: Any,
    options: argparse.Namespace,
    stop: threading.Event,
) -> list[str]:
    """Restore one video, with a split and a tile or without; returns what of it was damaged."""
    from kd_lightning.video.enhancing import enhanced, prepare
    from kd_lightning.video.pipeline import process
    from kd_lightning.video.reader import Reader
    from kd_lightning.video.writer import Writer

    (name, target), (split, tile) = job, how
    source: Any = sys.stdin.buffer if name == STREAM else name
    with in_stage(lambda: Reader(source, shown, on_error=options.on_error or "stop")) as reader:
        _refuse_large(reader, pixel_limit(options.max_pixels), shown)
        place = str(target or "standard output")
        writer = Writer(target or sys.stdout.buffer, encoding, reader, place, not options.force)
        try:
            with (
                writer,
                _progress(shown, reader.info.seconds, options.quiet) as on_frame,
                _finishing(stop),
            ):
                report = process(
                    reader,
                    lambda frames: enhanced(runner, frames, scale, split, tile),
                    writer,
                    on_frame,
                    stop,
                    lambda frame: prepare(runner, frame, scale, split, tile),
                )
        except UserError:  # of a file that is kept under another name, too
            for line in (*writer.notes, *reader.notes, *reader.problems, *writer.problems):
                say(f"kd-enhance: {shown}: {line}")
            raise
        if target is None:
            sys.stdout.flush()
        left_out = [f"{what}: left out" for what in reader.left_out]
        for note in (*writer.notes, *reader.notes, *left_out):
            say(f"kd-enhance: {shown}: {note}")
        waited = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.waited.items())
        say(
            f"kd-enhance: {place}: {report.frames} frames, {report.frames / report.seconds:.1f} a "
            f"second; waited: {waited}"
        )
        return [*reader.problems, *writer.problems]


def _refuse_large(reader: "Reader", limit: int, shown: str) -> None:
    pixels = reader.info.height * reader.info.width
    if pixels > limit:
        raise UserError(f"{shown}: frames of {pixels} pixels; --max-pixels allows {limit}")


def _split(value: str | None) -> "Split | None":
    if value is None:
        return None
    if value == "moving":
        return "moving"
    try:
        share = float(value)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise UserError(f"--preview {value}: give moving, or a share of the width from 0 to 1")
    return share


@contextmanager
def _finishing(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C in this context sets `stop`, the second interrupts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        say("kd-enhance: finishing the file; Ctrl-C again gives it up")

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _progress(shown: str, seconds: float | None, quiet: bool) -> Any:
    """A context whose value is told of each frame, and shows it."""
    if quiet or not sys.stderr.isatty():
        return nullcontext(lambda report: None)
    return _bar(shown, seconds)


@contextmanager
def _bar(shown: str, seconds: float | None) -> "Iterator[Callable[[Report], None]]":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    speed = TextColumn("{task.fields[speed]:.1f} frames/s, at {task.completed:.1f} s")
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        speed,
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(Path(shown).name, total=seconds, speed=0.0)

        def on_frame(report: "Report") -> None:
            speed = report.frames / report.seconds if report.seconds else 0.0
            progress.update(task, completed=report.position, speed=speed)

        yield on_frame

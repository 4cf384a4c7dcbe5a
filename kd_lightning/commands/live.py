"""kd-enhance on a live stream: --camera, --show, --virtual-camera, --pipe."""

import argparse
import json
import sys
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeGuard

from kd_lightning.commands import clips
from kd_lightning.commands.failures import say
from kd_lightning.commands.jobs import refuse_existing
from kd_lightning.errors import UserError
from kd_lightning.models.pretrained import find_weights

if TYPE_CHECKING:
    from kd_lightning.api import Enhancer
    from kd_lightning.video.live import Sink

# The largest first. Where an engine multiplies 8-bit integers the first and the last are the best
# and the cheapest; elsewhere those between them are faster. Other scales than 2 have these alone.
INTERPOLATED = "call_fast_x2,call_tiny_x2"
STUDENTS = f"call_midi_x2,{INTERPOLATED},call_luma_x2"
SAME_SIZE = "call_fast_x1,call_tiny_x1"  # for --scale 1
STDOUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that make a live stream of it."""
    group = parser.add_argument_group(
        "live", "a camera, or one input (a file at its own pace, a URL, - for a pipe), to one place"
    )
    add = group.add_argument
    add("--camera", metavar="NUMBER", help="number, name or device of a camera")
    add("--show", action="store_true", help="in a window; Esc ends")
    add("--virtual-camera", action="store_true", help="as a camera for other programs")
    add("--pipe", metavar="FILE", help="raw RGB frames; - is standard output")
    add("--stats", metavar="FILE", help="JSON lines, one a second; - is standard output")
    add("--budget-ms", type=float, help="what a frame may take; default: the frame time")


def is_live(options: argparse.Namespace) -> bool:
    """Whether the options ask for a live stream."""
    alone = options.stats or options.budget_ms is not None  # which `run` then refuses
    return bool(options.camera or _places(options) or alone)


def run(options: argparse.Namespace) -> int:
    """Exit status: 0, also where the user ends the stream; errors are raised."""
    _check(options)
    from kd_lightning.models.lookup import import_modules
    from kd_lightning.video.camera import open_camera, open_stream
    from kd_lightning.video.ladder import Ladder, ways
    from kd_lightning.video.live import Statistics, stream

    import_modules(options.imports)
    names = (options.weights or _default_weights(options.scale)).split(",")
    total = Statistics()
    with ExitStack() as stack:
        opened = open_camera(options.camera) if options.camera else open_stream(options.input[0])
        source = stack.enter_context(opened)
        students, on_middle = _students(names, options)
        scales = sorted({student.scale for student in students.values()})
        if len(scales) > 1:
            raise UserError(f"--weights {options.weights}: of several scales, {scales}; give one")
        (scale,), (height, width) = scales, source.size
        stats = _Stats(options.stats, stack)
        source.tell = stats.changed
        sink: Sink = stack.enter_context(_sink(options, height * scale, width * scale, source.rate))
        budget = options.budget_ms / 1000 if options.budget_ms else 1 / source.rate
        ladder = Ladder(ways(students, on_middle), source.size, budget, stats.changed)
        cost = f"{1000 * ladder.rung.cost:.0f} of {1000 * budget:.0f} ms a frame"
        try:
            say(
                f"kd-enhance: {width}x{height} at {source.rate:.3g} frames/s, x{scale}, with "
                f"{ladder.rung.name}: {cost}"
            )
            stream(source, ladder, sink, stats.write, total)
        except KeyboardInterrupt:
            pass  # how a live stream usually ends
        finally:
            stats.write({"total": total.as_dict()})
            say(f"kd-enhance: {total.sentence()}")
            for line in (*source.notes, *source.problems):
                say(f"kd-enhance: {line}")
    return 0


def _places(options: argparse.Namespace) -> list[str]:
    places = {
        "--show": options.show,
        "--virtual-camera": options.virtual_camera,
        "--pipe": options.pipe,
    }
    return [name for name, wanted in places.items() if wanted]


def _default_weights(scale: int | None) -> str:
    if scale == 1:
        return SAME_SIZE
    return STUDENTS if scale in (None, 2) else INTERPOLATED


def _check(options: argparse.Namespace) -> None:
    places = _places(options)
    if len(places) != 1:
        given = " and ".join(places) or "no place for the frames"
        raise UserError(f"{given}: give one of --show, --virtual-camera, --pipe FILE")
    if bool(options.camera) == bool(options.input) or len(options.input) > 1:
        raise UserError("a live stream has one source: --camera NUMBER, or one input")
    meaningless = {
        "-o": options.output,
        "--tile": options.tile != "auto",
        "--max-pixels": options.max_pixels,
        "--quality": options.quality,
        "--skip-existing": options.skip_existing,
    }
    for name in (*(name for name, given in meaningless.items() if given), *clips.given(options)):
        raise UserError(f"{name}: has no meaning for a live stream; leave it out")
    if options.pipe == options.stats == STDOUT:
        raise UserError("--pipe - and --stats -: standard output takes one; give --stats a file")
    taken = {Path(name).resolve() for name in options.input}
    for name, target in (("--pipe", options.pipe), ("--stats", options.stats)):
        if not _becomes_file(target):
            continue
        path = Path(target)
        if path.resolve() in taken:
            raise UserError(f"{name} {target}: is taken already; give it a file of its own")
        taken.add(path.resolve())
        if path.exists():
            refuse_existing(path, options.force)
    if options.budget_ms is not None and not options.budget_ms > 0:
        raise UserError(f"--budget-ms {options.budget_ms:g}: give milliseconds above 0")


def _becomes_file(target: str | None) -> TypeGuard[str]:
    """Named pipes and devices are there to be written to."""
    if not target or target == STDOUT:
        return False
    return Path(target).is_file() or not Path(target).exists()


def _students(
    names: list[str], options: argparse.Namespace
) -> tuple[dict[str, "Enhancer"], "Enhancer"]:
    """Name -> student, and the last of them once more."""
    from kd_lightning.api import Enhancer

    def student(name: str) -> Enhancer:
        return Enhancer(
            find_weights(name),
            backend=options.backend,
            device=options.device,
            precision=options.precision,
            scale=options.scale,
        )

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        students = {Path(name).stem: student(name) for name in names}
        again = student(names[-1])
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        say(f"kd-enhance: warning: {message}")
    return students, again


def _sink(options: argparse.Namespace, height: int, width: int, rate: float) -> Any:
    from kd_lightning.video.sinks import Pipe, VirtualCamera, Window

    if options.show:
        return Window("kd-enhance")
    if options.virtual_camera:
        camera = VirtualCamera(height, width, rate)
        say(f"kd-enhance: other programs find it as {camera.device}")
        return camera
    say(f"kd-enhance: raw frames: -f rawvideo -pixel_format rgb24 -video_size {width}x{height}")
    return Pipe(options.pipe)


class _Stats:
    """JSON lines into a file, if one is wanted; changes of the policy, or of the stream's size, are
    said as well."""

    def __init__(self, target: str | None, stack: ExitStack) -> None:
        self._file: TextIO | None = None
        self._start = time.monotonic()
        if target == STDOUT:
            self._file = sys.stdout
        elif target:
            try:
                self._file = open(target, "w")  # noqa: SIM115, closed by `stack`
            except OSError as error:
                raise UserError(f"--stats {target}: {error.strerror}") from None
            stack.enter_context(self._file)

    def write(self, values: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()

    def changed(self, line: str) -> None:
        say(f"kd-enhance: {line}")
        self.write({"seconds": round(time.monotonic() - self._start, 2), "change": line})

"""Video files end to end: frames a second with decoding and encoding, beside the student alone.

    python -m kd_lightning.benchmark.video CLIP [--students NAME ...] [--backends NAME ...]

The clip is shrunk to half of each output size, for students of the same size to all of it, and
coded with H.264 (CRF 20); it is then read, enhanced and written as H.264, as kd-enhance does.
Students are names of the package or files (.xml of kd-export, for int8), each on every backend that
is installed. Peers in the same run: FFmpeg's own scalers, through PyAV's filter graph and the same
encoder. Each row is added at once to those of earlier runs on the same machine, or replaces that of
its name: long tables are made in parts.
The student alone and the whole way are timed in turns, and the best of two of each counts; "lost"
is the share of the student's frames a second that all else costs; "waited" are the seconds that
reading, the student and writing waited for each other, "others" (in the JSON) the CPU cores that
other programs kept busy meanwhile: a row with more than a few hundredths is to be measured again.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain, cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from kd_lightning.benchmark import exit_status
from kd_lightning.benchmark.machine import describe, others_seconds
from kd_lightning.deploy.backends import Runner, backends, open_weights
from kd_lightning.deploy.enhance import enhance_frames
from kd_lightning.errors import UserError
from kd_lightning.files import write_json
from kd_lightning.imports import add_option
from kd_lightning.models.lookup import import_modules
from kd_lightning.models.pretrained import find_weights, shipped_students
from kd_lightning.video.codecs import CODECS
from kd_lightning.video.enhancing import enhanced, prepare
from kd_lightning.video.formats import pyav
from kd_lightning.video.frame import Frame
from kd_lightning.video.pipeline import Report, process
from kd_lightning.video.reader import Reader
from kd_lightning.video.writer import Encoding, Writer

OUTPUT = Path("experiments/video")
SIZES = {"360p": (360, 640), "540p": (540, 960), "720p": (720, 1280), "1080p": (1080, 1920)}
SECONDS = 1.5  # of each measurement, about
FRAMES = 60, 5  # in a measurement, at most and at least
ROUNDS = 2  # the best counts: whatever else the machine does only slows
RATE = Fraction(1, 30)
SCALERS = {
    "FFmpeg bicubic": ("scale", "{0}:{1}:flags=bicubic", None),
    "FFmpeg lanczos + unsharp": ("scale", "{0}:{1}:flags=lanczos", ("unsharp", "5:5:0.8")),
}
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 a wrong argument."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--students", nargs="*", default=shipped_students())
    add_option(parser)
    parser.add_argument("--backends", nargs="*", default=[b.name for b in backends()])
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    import_modules(options.imports)
    torch.set_grad_enabled(False)
    machine = describe()
    with TemporaryDirectory() as scratch:
        for size in options.sizes:
            small = {n: shrunk(options.clip, size, n, Path(scratch)) for n in (1, 2)}
            for row in chain(
                peers(small[2], size), rows(small, options.students, options.backends)
            ):
                print(row, flush=True)
                add(options.output, options.clip.name, machine, {"output": size, **row})


def rows(small: dict[int, Path], names: list[str], wanted: list[str]) -> Iterator[Row]:
    """Of each student, on the clip for its scale, on each backend that runs it here."""
    for name in names:
        weights = find_weights(name)
        for backend in wanted:
            try:
                runner = open_weights(weights, backend, "cpu")
            except UserError as error:
                print(error, flush=True)
                continue
            way = runner.name.removesuffix(f" {weights.stem}")
            yield {"name": f"{weights.stem}, {way}", **student(small[runner.scale], runner)}


def shrunk(clip: Path, size: str, scale: int, folder: Path) -> Path:
    """The clip at `size` over `scale`, to and fro, as long as the longest measurement."""
    height, width = (side // scale for side in SIZES[size])
    with Reader(clip) as reader:
        images = [
            np.asarray(
                Image.fromarray(frame.pixels).resize((width, height), Image.Resampling.BICUBIC)
            )
            for frame in islice(reader, 30)
        ]
    target = folder / f"{size}_x{scale}.mp4"
    with Writer(target, Encoding("h264", 20)) as writer:
        there_and_back = cycle(chain(images, images[-2:0:-1]))
        for number, image in enumerate(islice(there_and_back, FRAMES[0])):
            writer.write(Frame(image, number, RATE))
    return target


def student(small: Path, runner: Runner) -> Row:
    """Frames a second of the student alone and of the whole way, in turns; the best of each."""
    with Reader(small) as reader:
        frames = list(reader)
    for frame in frames:
        prepare(runner, frame)
    list(enhanced(runner, frames[:1]))
    alone(runner, frames[:3])
    about = max(alone(runner, frames[:3]) for _ in range(ROUNDS))
    count = max(FRAMES[1], min(FRAMES[0], round(SECONDS * about)))
    single, reports = [], []
    busy = Others()
    for _ in range(ROUNDS):
        single.append(alone(runner, frames[:count]))
        reports.append(file_to_file(small, runner, count))
    others = busy.cores()
    best = max(reports, key=lambda report: report.frames / report.seconds)
    fps = best.frames / best.seconds
    return {
        "frames": count,
        "alone": max(single),
        "fps": fps,
        "lost": 1 - fps / max(single),
        "waited": best.waited,
        "others": others,
        "planes": runner.planes is not None,
        "luma": runner.luma is not None,
    }


def file_to_file(small: Path, runner: Runner, count: int) -> Report:
    with Reader(small) as reader, Writer(small.with_name("out.mp4"), Encoding(), reader) as writer:
        return process(
            Few(reader, count),
            lambda frames: enhanced(runner, frames),
            writer,
            prepare=lambda frame: prepare(runner, frame),
        )


class Others:
    """How busy other programs keep the machine, from now on."""

    def __init__(self) -> None:
        self._start, self._before = time.perf_counter(), others_seconds()

    def cores(self) -> float:
        """CPU cores, on average."""
        seconds = time.perf_counter() - self._start
        return max(0.0, others_seconds() - self._before) / seconds


class Few:
    """The first frames of a source."""

    def __init__(self, source: Reader, count: int) -> None:
        self._source, self._count = source, count

    def items(self) -> Iterator[Any]:
        return islice(self._source.items(), self._count)


def alone(runner: Runner, frames: list[Frame]) -> float:
    """Frames a second from RGB arrays to RGB arrays; of a runner that restores luma alone, from
    planes to planes."""
    images = [] if runner.luma else [frame.pixels for frame in frames]
    start = time.perf_counter()
    made = enhanced(runner, frames) if runner.luma else enhance_frames(runner, images)
    count = sum(1 for _ in made)
    return count / (time.perf_counter() - start)


def peers(small: Path, size: str) -> Iterator[Row]:
    for name in SCALERS:
        yield {"name": name, **peer(small, size, name)}


def peer(small: Path, size: str, name: str) -> Row:
    """Frames a second of one of SCALERS, from file to file."""
    av = pyav()
    height, width = SIZES[size]
    scaler, arguments, sharpen = SCALERS[name]
    codec = CODECS["h264"]
    with av.open(str(small)) as source, av.open(str(small.with_name("peer.mp4")), "w") as target:
        stream = source.streams.video[0]
        graph = av.filter.Graph()
        filters = [
            graph.add_buffer(template=stream, time_base=stream.time_base),
            graph.add(scaler, arguments.format(width, height)),
            *([graph.add(*sharpen)] if sharpen else []),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*filters).configure()
        out = target.add_stream(codec.encoder, rate=30, options={**codec.options, "crf": "18"})
        out.width, out.height, out.pix_fmt = width, height, "yuv420p"
        out.codec_context.time_base = stream.time_base
        start, count, busy = time.perf_counter(), 0, Others()
        for frame in source.decode(stream):
            graph.push(frame)
            target.mux(out.encode(graph.pull()))
            count += 1
        target.mux(out.encode(None))
        fps = count / (time.perf_counter() - start)
        return {"frames": count, "fps": fps, "others": busy.cores()}


def add(folder: Path, clip: str, machine: Row, row: Row) -> None:
    """A row into end_to_end.json, in place of an earlier one of its name, and a table of all."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "end_to_end.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    same = known.get("clip") == clip and known["machine"]["processor"] == machine["processor"]
    earlier = known["rows"] if same else []
    merged = {(row["output"], row["name"]): row for row in [*earlier, row]}
    order = sorted(merged.values(), key=lambda row: (list(SIZES).index(row["output"]), row["name"]))
    result = {"clip": clip, "machine": machine, "rows": order}
    write_json(file, result, indent=1)
    (folder / "end_to_end.md").write_text(table(order))


def table(rows: list[Row]) -> str:
    heads = (
        *("output", "", "alone, frames/s", "file to file", "lost"),
        *("read, student, write waited, s", "busy elsewhere, cores"),
    )
    lines = [f"| {' | '.join(heads)} |", "|" + len(heads) * "---|"]
    for row in rows:
        single = f"{row['alone']:.1f}" if "alone" in row else ""
        lost = f"{100 * row['lost']:.0f} %" if "lost" in row else ""
        waited = ", ".join(f"{seconds:.1f}" for seconds in row.get("waited", {}).values())
        others = f"{row['others']:.1f}" if "others" in row else ""
        cells = row["output"], row["name"], single, f"{row['fps']:.1f}", lost, waited, others
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

"""Video files end to end: frames a second with decoding and encoding, beside the student alone.

    python -m kd_lightning.benchmark.video CLIP [--students NAME ...] [--backends NAME ...]

The clip is shrunk to half of each output size and coded with H.264 (CRF 20); it is then read,
enhanced and written as H.264, as kd-enhance does. Peers in the same run: FFmpeg's own scalers,
through PyAV's filter graph and the same encoder. Rows are added to those of earlier runs on the
same machine. "lost" is the share of the student's frames a second that all else costs.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain, cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from kd_lightning.benchmark.machine import describe
from kd_lightning.deploy.backends import Runner, open_weights
from kd_lightning.deploy.enhance import enhance_frames
from kd_lightning.models.pretrained import shipped
from kd_lightning.video.codecs import CODECS
from kd_lightning.video.enhancing import enhanced
from kd_lightning.video.formats import pyav
from kd_lightning.video.frame import Frame
from kd_lightning.video.pipeline import process
from kd_lightning.video.reader import Reader
from kd_lightning.video.writer import Encoding, Writer

OUTPUT = Path("experiments/video")
SIZES = {"360p": (360, 640), "540p": (540, 960), "720p": (720, 1280), "1080p": (1080, 1920)}
SECONDS = 3.0  # of each measurement, about
FRAMES = 60, 8  # in a measurement, at most and at least
RATE = Fraction(1, 30)
SCALERS = {
    "FFmpeg bicubic": ("scale", "{0}:{1}:flags=bicubic", None),
    "FFmpeg lanczos + unsharp": ("scale", "{0}:{1}:flags=lanczos", ("unsharp", "5:5:0.8")),
}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--students", nargs="*", default=list(shipped()))
    parser.add_argument("--backends", nargs="*", default=["auto"])
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    rows: list[Row] = []
    with TemporaryDirectory() as scratch:
        for size in options.sizes:
            small = shrunk(options.clip, size, Path(scratch))
            rows += [{"output": size, "name": name, **peer(small, size, name)} for name in SCALERS]
            for name in options.students:
                for backend in options.backends:
                    runner = open_weights(shipped()[name], backend, "cpu")
                    row = {"output": size, "name": f"{name}, {runner.name}"}
                    rows.append({**row, **student(small, runner)})
                    print(rows[-1], flush=True)
    write(options.output, options.clip.name, rows)


def shrunk(clip: Path, size: str, folder: Path) -> Path:
    """The clip at half of `size`, to and fro, as long as the longest measurement."""
    height, width = (side // 2 for side in SIZES[size])
    with Reader(clip) as reader:
        images = [
            np.asarray(
                Image.fromarray(frame.pixels).resize((width, height), Image.Resampling.BICUBIC)
            )
            for frame in islice(reader, 30)
        ]
    target = folder / f"{size}.mp4"
    with Writer(target, Encoding("h264", 20)) as writer:
        there_and_back = cycle(chain(images, images[-2:0:-1]))
        for number, image in enumerate(islice(there_and_back, FRAMES[0])):
            writer.write(Frame(image, number, RATE))
    return target


def student(small: Path, runner: Runner) -> Row:
    """Frames a second of the student alone, before and after, and of the whole way between."""
    with Reader(small) as reader:
        images = [frame.pixels for frame in reader]
    for _ in enhance_frames(runner, images[:3]):
        pass
    if runner.planes:
        runner.planes(images[0], "bt601", False)
    count = max(FRAMES[1], min(FRAMES[0], round(SECONDS * alone(runner, images[:3]))))
    before = alone(runner, images[:count])
    with Reader(small) as reader, Writer(small.with_name("out.mp4"), Encoding(), reader) as writer:
        report = process(Few(reader, count), lambda frames: enhanced(runner, frames), writer)
    fps = report.frames / report.seconds
    after = alone(runner, images[:count])
    single = (before + after) / 2
    return {
        "frames": count,
        "alone": single,
        "fps": fps,
        "lost": 1 - fps / single,
        "waited": report.waited,
        "planes": runner.planes is not None,
    }


class Few:
    """The first frames of a source."""

    def __init__(self, source: Reader, count: int) -> None:
        self._source, self._count = source, count

    def items(self) -> Iterator[Any]:
        return islice(self._source.items(), self._count)


def alone(runner: Runner, images: list[np.ndarray]) -> float:
    """Frames a second from RGB arrays to RGB arrays."""
    start = time.perf_counter()
    count = sum(1 for _ in enhance_frames(runner, images))
    return count / (time.perf_counter() - start)


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
        start, count = time.perf_counter(), 0
        for frame in source.decode(stream):
            graph.push(frame)
            target.mux(out.encode(graph.pull()))
            count += 1
        target.mux(out.encode(None))
        return {"frames": count, "fps": count / (time.perf_counter() - start)}


def write(folder: Path, clip: str, rows: list[Row]) -> None:
    """Rows into end_to_end.json, in place of earlier ones of the same names, and a table of all."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "end_to_end.json"
    machine = describe()
    known = json.loads(file.read_text()) if file.exists() else {}
    earlier = known.get("rows", []) if known.get("clip") == clip else []
    key: Callable[[Row], tuple[str, str]] = lambda row: (row["output"], row["name"])  # noqa: E731
    merged = {key(row): row for row in [*earlier, *rows]}
    order = sorted(merged.values(), key=lambda row: (list(SIZES).index(row["output"]), row["name"]))
    result = {"clip": clip, "machine": machine, "rows": order}
    file.write_text(json.dumps(result, indent=1) + "\n")
    (folder / "end_to_end.md").write_text(table(order))
    print(table(order))


def table(rows: list[Row]) -> str:
    lines = ["| output | | alone, frames/s | file to file | lost |", "|---|---|---|---|---|"]
    for row in rows:
        single = f"{row['alone']:.1f}" if "alone" in row else ""
        lost = f"{100 * row['lost']:.0f} %" if "lost" in row else ""
        lines.append(f"| {row['output']} | {row['name']} | {single} | {row['fps']:.1f} | {lost} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

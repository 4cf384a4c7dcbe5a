"""A live stream of 640x360 at 30 frames/s through `student_tiny` in int8: drops and latency.

python experiments/live.py prepare CLIP FOLDER       into FOLDER: a minute of CLIP, and the student
python experiments/live.py measure FOLDER            writes experiments/video/live.json
python experiments/live.py measure FOLDER --show     writes experiments/video/live_window.json

Both with --student NAME, for another one: experiments/video/live_NAME.json; and `measure` with
--budget-ms 50, for a policy that acts later than at the frame time: live_50ms.json.

CLIP is played to and fro as H.264, its middle cropped to 640x360. `measure` streams that into
a pipe that nobody reads (--show: a window), then for ten seconds with a student that is ten times
too slow.
"""

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kd_lightning import Enhancer
from kd_lightning.benchmark.__main__ import int8_exports, sample_photos
from kd_lightning.benchmark.machine import describe, others_seconds
from kd_lightning.models.pretrained import find_weights
from kd_lightning.video.camera import open_stream
from kd_lightning.video.frame import Frame
from kd_lightning.video.ladder import Ladder, Way, ways
from kd_lightning.video.live import Captured, Statistics, stream
from kd_lightning.video.reader import Reader
from kd_lightning.video.sinks import Pipe, Window
from kd_lightning.video.writer import Encoding, Writer
from kd_lightning.yuv import Yuv

STUDENT, RATE, SECONDS, SLOW_SECONDS = "student_tiny", 30, 60, 10
WIDTH, HEIGHT = 640, 360
TIMES_TOO_SLOW = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare")
    preparing.add_argument("clip", type=Path)
    preparing.add_argument("folder", type=Path)
    preparing.add_argument("--student", default=STUDENT)
    measuring = commands.add_parser("measure")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("--show", action="store_true")
    measuring.add_argument("--student", default=STUDENT)
    measuring.add_argument("--budget-ms", type=float)
    options = parser.parse_args()
    if options.command == "prepare":
        prepare(options.clip, options.folder, options.student)
    else:
        measure(options.folder, options.show, options.student, options.budget_ms)


def prepare(clip: Path, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        photos = sample_photos(Path(scratch))
        assert photos, "needs the extra samples"
        int8_exports({name: find_weights(name)}, photos, folder)
    with Reader(clip) as reader:
        frames = list(reader)
    there_and_back = itertools.cycle([*frames, *frames[-2:0:-1]])
    with Writer(folder / "clip.mp4", Encoding("h264", 23)) as writer:
        for number, frame in enumerate(itertools.islice(there_and_back, SECONDS * RATE)):
            assert isinstance(frame.image, Yuv)
            image = Yuv(*map(middle, frame.image, (1, 2, 2)))
            writer.write(Frame(image, number, Fraction(1, RATE), 1, frame.color))


def middle(plane: Any, part: int) -> Any:
    """The middle of a plane that is `part` times smaller than the frame."""
    height, width = HEIGHT // part, WIDTH // part
    top, left = (plane.shape[0] - height) // 4 * 2, (plane.shape[1] - width) // 4 * 2
    return plane[top : top + height, left : left + width]


def measure(folder: Path, show: bool, name: str, budget_ms: float | None) -> None:
    file = folder / f"{name}.xml"
    student = Enhancer(file)
    choices = ways({name: student}, Enhancer(file))
    clip = folder / "clip.mp4"
    result: dict[str, Any] = {
        "source": f"{WIDTH}x{HEIGHT}, {RATE} frames/s, H.264",
        "student": f"{name} int8 ({student.runner.name})",
        "sink": "window" if show else "pipe",
    }
    budget = 1 / RATE if budget_ms is None else budget_ms / 1000
    with Window("live") if show else Pipe(os.devnull) as sink:
        changes: list[tuple[float, str]] = []
        ladder = Ladder(
            choices,
            (HEIGHT, WIDTH),
            budget,
            lambda line: changes.append((round(time.monotonic() - start, 2), line)),
        )
        result["benchmark_ms"] = {rung.name: round(1000 * rung.cost, 2) for rung in ladder.rungs}
        start = time.monotonic()
        others = others_seconds()
        with open_stream(str(clip)) as source:
            total = stream(source, ladder, sink)
        others = (others_seconds() - others) / (time.monotonic() - start)
        result["run"] = {"seconds": SECONDS, **total.as_dict(), "changes": changes}
        result["run"]["cores_of_other_programs"] = round(others, 2)
        if budget_ms is None:
            result["too_slow"] = too_slow(choices, clip, sink)
    result["machine"] = describe()
    which = ("_window" if show else "") + (f"_{name}" if name != STUDENT else "")
    which += f"_{budget_ms:g}ms" if budget_ms is not None else ""
    target = Path(__file__).parent / "video" / f"live{which}.json"
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def too_slow(choices: list[Way], clip: Path, sink: Any) -> dict[str, Any]:
    """The first choice becomes ten times too slow when the stream starts."""
    slow = False

    def restore(frame: Frame) -> Frame | None:
        end = time.monotonic() + TIMES_TOO_SLOW / RATE
        restored = choices[0].restore(frame)
        while slow and time.monotonic() < end:
            restored = choices[0].restore(frame)
        return restored

    changes: list[tuple[float, str]] = []
    start = 0.0
    before, after = Statistics(), Statistics()

    class Watched:
        """Tells apart what was shown before the first change and from a second after it on."""

        def show(self, frame: Frame) -> bool:
            shown: bool = sink.show(frame)
            now = time.monotonic()
            latency = now - moments[frame.pts]
            if not changes:
                before.latency.add(latency)
            elif now - start > changes[0][0] + 1:
                after.latency.add(latency)
            return shown

    moments: dict[int, float] = {}

    def watched(source: Any) -> Iterator[Captured]:
        for moment, frame in itertools.islice(source, SLOW_SECONDS * RATE):
            moments[frame.pts] = moment
            yield moment, frame

    ladder = Ladder(
        [Way(f"{choices[0].name}, slow", restore), *choices],
        (HEIGHT, WIDTH),
        1 / RATE,
        lambda line: changes.append((round(time.monotonic() - start, 2), line)),
    )
    slow, start = True, time.monotonic()
    with open_stream(str(clip)) as source:
        total = stream(watched(source), ladder, Watched())
    return {
        "times_too_slow": TIMES_TOO_SLOW,
        "seconds": SLOW_SECONDS,
        **total.as_dict(),
        "changes": changes,
        "latency_ms_before": before.latency.milliseconds(),
        "latency_ms_after": after.latency.milliseconds(),
    }


if __name__ == "__main__":
    main()

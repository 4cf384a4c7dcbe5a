"""python -m kd_lightning.benchmark.calls: students on frames of clips, by codec and bitrate."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_lightning.benchmark import exit_status, machine
from kd_lightning.benchmark.__main__ import known_sets, pairs, tell
from kd_lightning.benchmark.calls import report
from kd_lightning.benchmark.calls.clips import Clip
from kd_lightning.benchmark.calls.measure import (
    FIRST,
    STEP,
    Method,
    Point,
    baseline,
    measure,
    points,
    read_clips,
)
from kd_lightning.benchmark.calls.photos import measure_photos
from kd_lightning.benchmark.quality import pair, to_tensor
from kd_lightning.deploy.backends import open_weights
from kd_lightning.deploy.enhance import enhance
from kd_lightning.errors import UserError
from kd_lightning.files import write_json
from kd_lightning.imageio import comparison
from kd_lightning.imports import add_option
from kd_lightning.models.lookup import import_modules
from kd_lightning.models.pretrained import shipped

CLIPS = ("Zhling", "webcam_help")
PUBLISHED = Path("experiments/call")
CLEAN = ("student_tiny", "student_fast")  # trained on clean bicubic LR images
DETAIL = "h264 crf 33"  # the point of the image with a zoomed detail
FACES = {"Zhling_1280x720": (395, 615)}  # (top, left) of the detail, in pixels


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 a wrong argument."""
    parser = argparse.ArgumentParser("python -m kd_lightning.benchmark.calls", description=__doc__)
    add = parser.add_argument
    add("--clips", type=Path, required=True, help="folder of the clips")
    usual = f"beginning of a clip's file name; default: {' and '.join(CLIPS)}"
    add("--clip", action="append", default=[], help=usual)
    add("--scale", type=int, action="append", default=[], choices=(1, 2))
    add("--x2", action="append", default=[], metavar="NAME=FILE", help="another network, x2")
    add("--x1", action="append", default=[], metavar="NAME=FILE", help="another, of the same size")
    add("--set", action="append", default=[], metavar="NAME=FOLDER", help="photographs, same size")
    add_option(parser)
    add("-o", "--output", type=Path, help=f"folder of the results; of the usual clips {PUBLISHED}")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    if options.clip and options.output is None:
        raise UserError(f"--clip: name a folder for its results, -o FOLDER; {PUBLISHED} has others")
    import_modules(options.imports)
    output = options.output or PUBLISHED
    clips = read_clips(options.clips, options.clip or CLIPS)
    extra = {1: pairs(options.x1, "--x1"), 2: pairs(options.x2, "--x2")}
    result: dict[str, Any] = {"machine": machine.describe(), "clips": {}, "scales": {}}
    for name, clip in clips.items():
        height, width = clip.frames[0].shape[:2]
        scored = len(range(FIRST, len(clip.frames), STEP))
        result["clips"][name] = {"size": f"{width}x{height}", "scored": scored}
    output.mkdir(parents=True, exist_ok=True)
    for scale in options.scale or [2, 1]:
        methods = networks(scale, extra[scale])
        found = {}
        for name, clip in clips.items():
            tell(f"{name}, scale {scale}: {', '.join(methods)}")
            found[name] = measure(clip, scale, methods, points())
        result["scales"][str(scale)] = found
        detail(next(iter(clips.values())), scale, methods, output / f"detail_x{scale}.png")
        if scale == 1:
            sets = pairs(options.set, "--set") or known_sets(options.clips.parent)
            result["photos"] = {n: measure_photos(f, methods) for n, f in sets.items()}
    write_json(output / "benchmark.json", result, indent=1)
    (output / "benchmark.md").write_text(report.markdown(result))
    report.plot(result, output / "bitrate.png")
    print(report.markdown(result))


def networks(scale: int, extra: dict[str, Path]) -> dict[str, Method]:
    """The clean-trained students, those for calls that ship at this scale, and `extra`."""
    files = shipped("*.safetensors")
    chosen = {n: f for n, f in files.items() if n in CLEAN or n.endswith(f"_x{scale}")}
    return {name: restored(path, scale) for name, path in {**chosen, **extra}.items()}


def restored(path: Path, scale: int) -> Method:
    """What kd-enhance makes of a frame with these weights."""
    runner = open_weights(path, device="cpu")

    def method(frame: np.ndarray) -> Tensor:
        return to_tensor(enhance(runner, frame, scale))

    return method


@torch.inference_mode()
def detail(clip: Clip, scale: int, methods: dict[str, Method], target: Path) -> None:
    """The methods' outputs for a scored frame beside each other, with a zoomed detail."""
    small, large = zip(*(pair(frame, scale) for frame in clip.frames), strict=True)
    point: Point = next(p for p in points() if p.name == DETAIL)
    frames, _ = point.code(small, clip.rate)
    truth, base = to_tensor(large[FIRST])[0], baseline(scale)(frames[FIRST])[0]
    columns = {name: method(frames[FIRST])[0] for name, method in methods.items()}
    name = "decoded" if scale == 1 else "bicubic"
    images = {name: base, **columns, "original": truth}
    grid = comparison.comparison(images, truth, base, FACES.get(clip.name))
    comparison.save(grid, target)


if __name__ == "__main__":
    sys.exit(main())

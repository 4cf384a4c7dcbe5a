"""Score networks by CRF on clips that the synthetic camera takes of the validation photographs.

python experiments/call/held_out.py [--scale 2] [--soft 1.8] [--recorded 22] NAME=FILE ... prints
gains over the baseline (interpolation, or the decoded frame at scale 1), and writes them to
held_out_x*.json here. --soft enlarges the photographs first, so that they are as soft as a webcam's
frames; --recorded then codes them once, as a camera's own H.264 would, before they are the truth.
NAMEs that differ in "_seed<n>" only are one row: mean and standard deviation. This is what recipes
are chosen by; the test clips are not.
"""

import argparse
import json
import re
import statistics
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kd_lightning import quality
from kd_lightning.benchmark.__main__ import pairs
from kd_lightning.benchmark.calls.__main__ import restored
from kd_lightning.benchmark.calls.measure import CRFS, METRICS, Method, baseline, points
from kd_lightning.benchmark.quality import pair, pictures, read_pair, to_tensor
from kd_lightning.data.degradations import version_rng
from kd_lightning.data.degradations.camera import film
from kd_lightning.data.degradations.h264 import H264

FRAMES = 8  # of each clip; the last one, the photograph, is scored
HEIGHT, WIDTH = 640, 896  # pixels, of the middle of the photograph
DIGITS = {"psnr_y": 3, "ssim_rgb": 5}
Gains = dict[str, dict[str, list[float]]]  # network -> metric -> gain at each CRF


@torch.inference_mode()
def measure(
    folder: Path, methods: dict[str, Method], scale: int, soft: float, recorded: float | None
) -> Gains:
    """Means over the photographs, enlarged by `soft`, coded at a CRF of `recorded`."""
    codings = [p for p in points() if p.name in {f"h264 crf {crf}" for crf in CRFS}]
    gains: dict[str, dict[str, np.ndarray]] = {
        name: {metric: np.zeros(len(CRFS)) for metric in METRICS} for name in methods
    }
    files = pictures(folder)
    for file in files:
        hr = middle(read_pair(file, 2)[1], soft)
        if recorded is not None:
            camera = H264(1, crf=(recorded, recorded), bitrate_share=0.0, presets={"veryfast": 1})
            hr = np.ascontiguousarray(camera(hr, version_rng(2, file.stem, 0)))
        clip = film(hr, FRAMES, scale, version_rng(1, file.stem, 0))
        small, truth = [pair(frame, scale)[0] for frame in clip], to_tensor(hr)
        for column, coding in enumerate(codings):
            frame = coding.code(small, 30.0)[0][-1]
            before = quality.scores(baseline(scale)(frame), truth, scale, METRICS)
            for name, method in methods.items():
                after = quality.scores(method(frame), truth, scale, METRICS)
                for metric in METRICS:
                    gains[name][metric][column] += float(after[metric] - before[metric])
    return {
        name: {metric: list(values / len(files)) for metric, values in rows.items()}
        for name, rows in gains.items()
    }


def middle(photo: np.ndarray, soft: float) -> np.ndarray:
    height, width = round(HEIGHT / soft), round(WIDTH / soft)
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    part = np.ascontiguousarray(photo[top : top + height, left : left + width])
    return np.array(Image.fromarray(part).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def table(gains: Gains, metric: str) -> str:
    """Markdown; networks that differ in their seed only are one row."""
    groups: dict[str, list[list[float]]] = {}
    for name, rows in gains.items():
        groups.setdefault(re.sub(r"_seed\d+$", "", name), []).append(rows[metric])
    label, digits = quality.METRICS[metric].label, DIGITS[metric]
    lines = [f"| {label}, gain | seeds | " + " | ".join(f"CRF {crf}" for crf in CRFS) + " |"]
    lines.append("|---" * (2 + len(CRFS)) + "|")
    for name, rows in groups.items():
        cells = []
        for values in zip(*rows, strict=True):
            spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):+.{digits}f}{spread}")
        lines.append(f"| {name} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--scale", type=int, choices=(1, 2), default=2)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos/valid_HR"))
    parser.add_argument("--soft", type=float, default=1.0, help="pixels for a pixel of the photo")
    parser.add_argument("--recorded", type=float, help="CRF of the camera's H.264, 0 to 51")
    options = parser.parse_args()
    files = pairs(options.networks, "")
    methods = {name: restored(path, options.scale) for name, path in files.items()}
    gains = measure(options.photos, methods, options.scale, options.soft, options.recorded)
    kind = "_soft" * (options.soft > 1) + "_recorded" * (options.recorded is not None)
    target = Path(__file__).parent / f"held_out_x{options.scale}{kind}.json"
    target.write_text(json.dumps(gains, indent=1) + "\n")
    print(*(table(gains, metric) for metric in METRICS), sep="\n")


if __name__ == "__main__":
    main()

"""Does a student of calls gain from its own previous output? Twins, trained alike.

python experiments/call/recurrent.py [--data ../shared/data] [--steps 3000] [--seeds 2]

`student_tiny` at scale 2 from the weights of call_tiny_x2, on four frames in a row of clips that
the synthetic camera takes of photographs (train_HR, BSDS), coded by libx264 (veryfast, zerolatency,
CRF 16 to 40). Three ways to fill twelve more channels of its first layer (9 % more to compute),
which start at zero:

- one frame: the interpolated frame again, so that all have the same parameters;
- previous output: what the network gave for the frame before, in place;
- moved output: that, moved by the codec's motion vectors (nearest pixel where a block has none).

Scored on clips of the validation photographs, the last of eight frames, PSNR-Y and RGB-SSIM over
bicubic, by how the camera moves. Writes recurrent.json, and recurrent.md.
"""

import argparse
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from kd_lightning import quality
from kd_lightning.benchmark.calls.measure import CRFS, METRICS
from kd_lightning.benchmark.machine import describe
from kd_lightning.benchmark.quality import pictures
from kd_lightning.data.degradations import version_rng
from kd_lightning.data.degradations.camera import film
from kd_lightning.data.degradations.codec import pyav
from kd_lightning.data.degradations.resizing import shrink
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import upscale
from kd_lightning.models.pretrained import find_weights
from kd_lightning.yuv import matrix_of_size, read_planes, rgb_to_yuv, write_planes, yuv_to_rgb

WAYS = ("one frame", "previous output", "moved output")
SCALE, UNROLLED, FRAMES, TESTED = 2, 4, 6, 8
PIECE, CROP, BATCH = 256, 96, 8  # HR pixels, HR pixels, clips
EXPORT_MOTION = 1 << 28  # FFmpeg's AV_CODEC_FLAG2_EXPORT_MVS
HERE = Path(__file__).parent
Clip = tuple[np.ndarray, np.ndarray, np.ndarray]  # HR (T,H,W,3), decoded (T,h,w,3), flow (T,h,w,2)


def coded(frames: list[np.ndarray], crf: float) -> tuple[np.ndarray, np.ndarray]:
    """Decoded frames, and for each of their pixels where the codec took it from: (T,h,w,2) int16,
    quarter pixels right and down."""
    av = pyav()
    height, width = frames[0].shape[:2]
    writer, reader = av.CodecContext.create("libx264", "w"), av.CodecContext.create("h264", "r")
    reader.flags2 |= EXPORT_MOTION
    writer.width, writer.height, writer.pix_fmt = width, height, "yuv420p"
    writer.time_base, writer.thread_count, reader.thread_count = Fraction(1, 30), 1, 1
    writer.options = {"preset": "veryfast", "tune": "zerolatency", "crf": f"{crf:.1f}"}
    images, flows = [], []
    matrix = matrix_of_size(height)
    for number, frame in enumerate([*frames, None]):
        image = None
        if frame is not None:
            image = av.VideoFrame(width, height, "yuv420p")
            write_planes(rgb_to_yuv(frame, matrix), image)
            image.pts = number
        for packet in writer.encode(image):
            for found in reader.decode(packet):
                images.append(yuv_to_rgb(read_planes(found), matrix))
                flows.append(flow_of(found.side_data.get("MOTION_VECTORS"), height, width))
    assert len(images) == len(frames)
    return np.stack(images), np.stack(flows)


def flow_of(vectors: Any, height: int, width: int) -> np.ndarray:
    flow = np.zeros((height, width, 2), np.int16)
    for v in [] if vectors is None else vectors.to_ndarray():
        top, left = max(0, v["dst_y"] - v["h"] // 2), max(0, v["dst_x"] - v["w"] // 2)
        flow[top : top + v["h"], left : left + v["w"]] = (
            4 * v["motion_x"] // v["motion_scale"],
            4 * v["motion_y"] // v["motion_scale"],
        )
    return flow


def clip_of(photo: np.ndarray, count: int, crf: float, rng: np.random.Generator) -> Clip:
    hr = film(photo, count, SCALE, rng)
    decoded, flow = coded([shrink(frame, SCALE) for frame in hr], crf)
    return np.stack(hr), decoded, flow


def training_clips(data: Path) -> list[Clip]:
    """Pieces of the training photographs, as clips."""
    clips = []
    for folder, pieces in (("photos/train_HR", 16), ("bsds/train_HR", 2)):
        for file in pictures(data / folder):
            photo, rng = np.asarray(Image.open(file).convert("RGB")), version_rng(3, file.stem, 0)
            for _ in range(pieces):
                y, x = (int(rng.integers(side - PIECE + 1)) for side in photo.shape[:2])
                piece = np.ascontiguousarray(photo[y : y + PIECE, x : x + PIECE])
                clips.append(clip_of(piece, FRAMES, float(rng.uniform(16, 40)), rng))
    return clips


class Recurrent(nn.Module):
    """`student_tiny` whose first layer also sees a second image (B,3,H,W)."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.network: Any = load_artifact(find_weights("call_tiny_x2"))[0]
        first = self.network.body[0]
        wider = nn.Conv2d(2 * first.in_channels, first.out_channels, 3, padding=1)
        with torch.no_grad():
            wider.weight.zero_()
            wider.weight[:, : first.in_channels] = first.weight
            wider.bias.copy_(first.bias)
        self.network.body[0] = wider

    def forward(self, lr: Tensor, previous: Tensor | None, flow: Tensor) -> Tensor:
        """LR frame (B,3,h,w) in [0, 1], the output before or None, and `coded`'s (B,h,w,2)."""
        image = upscale(lr, SCALE).clamp(0, 1)
        other = image
        if previous is not None and self.way == "previous output":
            other = previous
        if previous is not None and self.way == "moved output":
            other = moved(previous, flow)
        small = self.network.unshuffle
        both = torch.cat((small(image), small(other)), dim=1)
        return image + self.network.shuffle(self.network.body(both))


def moved(image: Tensor, flow: Tensor) -> Tensor:
    """(B,3,H,W), each pixel from where `coded`'s quarter LR pixels (B,h,w,2) say."""
    height, width = image.shape[-2:]
    shift = flow.float().permute(0, 3, 1, 2) * SCALE / 4
    shift = F.interpolate(shift, scale_factor=SCALE, mode="nearest").permute(0, 2, 3, 1)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    at = torch.stack((columns, rows), dim=-1) + shift
    at = 2 * at / torch.tensor([width - 1, height - 1]) - 1
    return F.grid_sample(image, at, mode="bicubic", padding_mode="border", align_corners=True)


def crops(clips: list[Clip], rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches: HR (B,T,3,H,W) and LR in [0, 1], and the flow."""
    small = CROP // SCALE
    while True:
        picked: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        for number in rng.integers(len(clips), size=BATCH):
            hr, lr, flow = clips[number]
            start = int(rng.integers(len(hr) - UNROLLED + 1))
            y, x = (int(rng.integers(side - small + 1)) for side in lr.shape[1:3])
            times = slice(start, start + UNROLLED)
            at = (slice(y, y + small), slice(x, x + small))
            large = tuple(slice(SCALE * s.start, SCALE * s.stop) for s in at)
            for kept, part in zip(
                picked, (hr[times, *large], lr[times, *at], flow[times, *at]), strict=True
            ):
                kept.append(part)
        images = [torch.from_numpy(np.stack(p)).permute(0, 1, 4, 2, 3) / 255 for p in picked[:2]]
        yield images[0], images[1], torch.from_numpy(np.stack(picked[2]))


def trained(way: str, clips: list[Clip], steps: int, seed: int) -> Recurrent:
    torch.manual_seed(seed)
    model = Recurrent(way).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    batches = crops(clips, np.random.default_rng(seed))
    for _ in range(steps):
        hr, lr, flow = next(batches)
        output, loss = None, torch.zeros(())
        for time in range(UNROLLED):
            with torch.autocast("cpu", torch.bfloat16):
                output = model(lr[:, time], output, flow[:, time]).float()
            if time:  # the first has nothing before it
                loss = loss + F.l1_loss(output, hr[:, time]) / (UNROLLED - 1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.inference_mode()
def scored(models: dict[str, Recurrent], data: Path) -> dict[str, Any]:
    """Name -> "moving" or "at rest" -> metric -> mean gain at each CRF."""
    sums: dict[str, Any] = {}
    counts = {"moving": 0, "at rest": 0}
    for file in pictures(data / "photos/valid_HR"):
        photo = np.asarray(Image.open(file).convert("RGB"))[:640, :896]
        moving = film(photo, TESTED, SCALE, version_rng(5, file.stem, 0))
        for kind, views in (("moving", moving), ("at rest", [photo] * TESTED)):
            counts[kind] += 1
            small, truth = [shrink(view, SCALE) for view in views], as_images(photo[None])
            for column, crf in enumerate(CRFS):
                decoded, flow = coded(small, crf)
                lr, flows = as_images(decoded), torch.from_numpy(flow)
                before = score(upscale(lr[-1:], SCALE), truth)
                for name, model in models.items():
                    output = None
                    for time in range(TESTED):
                        output = model(lr[time : time + 1], output, flows[time : time + 1])
                    after = score(output, truth)
                    rows = sums.setdefault(name, {k: zeros() for k in counts})[kind]
                    for metric in METRICS:
                        rows[metric][column] += after[metric] - before[metric]
    return {
        name: {
            kind: {metric: [value / counts[kind] for value in row] for metric, row in rows.items()}
            for kind, rows in kinds.items()
        }
        for name, kinds in sums.items()
    } | {"clips": counts}


def zeros() -> dict[str, list[float]]:
    return {metric: [0.0] * len(CRFS) for metric in METRICS}


def as_images(frames: np.ndarray) -> Tensor:
    """(T,H,W,3) uint8 to (T,3,H,W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2) / 255


def score(image: Any, truth: Tensor) -> dict[str, float]:
    found = quality.scores(image.clamp(0, 1), truth, SCALE, METRICS)
    return {metric: float(value) for metric, value in found.items()}


def table(gains: dict[str, Any], seeds: int) -> str:
    lines = ["| way | camera | " + " | ".join(f"CRF {crf}" for crf in CRFS) + " |"]
    lines.append("|---" * (2 + len(CRFS)) + "|")
    for way in WAYS:
        for kind in gains[f"{way}_seed0"]:
            rows = [gains[f"{way}_seed{seed}"][kind] for seed in range(seeds)]
            cells = [
                f"{np.mean([r['psnr_y'][n] for r in rows]):+.2f}, "
                f"{np.mean([r['ssim_rgb'][n] for r in rows]):+.4f}"
                for n in range(len(CRFS))
            ]
            lines.append(f"| {way} | {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    clips = training_clips(options.data)
    print(f"{len(clips)} clips", flush=True)
    models = {}
    for seed in range(options.seeds):
        for way in WAYS:
            models[f"{way}_seed{seed}"] = trained(way, clips, options.steps, seed)
            print(f"trained: {way}, seed {seed}", flush=True)
    gains = scored(models, options.data)
    result = {"steps": options.steps, "gains": gains, "machine": describe()}
    (HERE / "recurrent.json").write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "recurrent.md").write_text(table(gains, options.seeds))
    print(table(gains, options.seeds))


if __name__ == "__main__":
    main()

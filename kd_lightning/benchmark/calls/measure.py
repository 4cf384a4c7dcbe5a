"""Frames of clips coded and decoded, restored by each method, and scored against the original."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_lightning import quality
from kd_lightning.benchmark.calls.clips import Clip, read_clip
from kd_lightning.benchmark.quality import pair, to_tensor
from kd_lightning.data.degradations.codec import RATE, code
from kd_lightning.errors import UserError
from kd_lightning.models.interpolate import upscale
from kd_lightning.video.suffixes import READABLE

FIRST, STEP = 3, 8  # every 8th frame from the 4th is scored; the one before it for the flicker
STRENGTHS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5)  # of the unsharp mask
CRFS = (18, 23, 28, 33, 38)
BITS_PER_PIXEL = (0.2, 0.1, 0.05)  # of the codecs that are controlled by bitrate

METRICS = {name: quality.METRICS[name] for name in ("psnr_y", "ssim_rgb")}

Method = Callable[[np.ndarray], Tensor]  # (h,w,3) uint8 -> (1,3,H,W) in [0, 1]
Row = dict[str, float]


@dataclass(frozen=True)
class Point:
    """One way to code a clip, by name; `encoder` "" leaves it as it is.

    `options` are the encoder's, in FFmpeg's words; with `bits` per pixel and frame, its bitrate
    follows from the clip's size and rate.
    """

    name: str
    encoder: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    bits: float | None = None

    def code(self, frames: Sequence[np.ndarray], rate: float) -> tuple[list[np.ndarray], float]:
        """The decoded frames, and the kbit/s that they took."""
        options = dict(self.options)
        if self.bits is not None:
            height, width = frames[0].shape[:2]
            bitrate = str(int(self.bits * height * width * RATE))
            options |= {"b": bitrate, "maxrate": bitrate, "bufsize": bitrate}
        coded = code(frames, self.encoder, options)
        kbps = 8e-3 * coded.size * rate / len(frames)
        return [coded.image(n) for n in range(len(frames))], kbps


def points() -> list[Point]:
    """Uncoded; libx264 veryfast zerolatency by CRF; VP8 and VP9 in real time by bitrate."""
    x264 = {"preset": "veryfast", "tune": "zerolatency"}
    h264 = [Point(f"h264 crf {crf}", "libx264", x264 | {"crf": str(crf)}) for crf in CRFS]
    real_time = {"deadline": "realtime", "lag-in-frames": "0"}
    others = [
        Point(f"{name} {bits} bits a pixel", encoder, real_time | {"cpu-used": speed}, bits)
        for name, encoder, speed in (("vp8", "libvpx", "-6"), ("vp9", "libvpx-vp9", "6"))
        for bits in BITS_PER_PIXEL
    ]
    return [Point("uncoded"), *h264, *others]


def read_clips(folder: Path, names: Sequence[str]) -> dict[str, Clip]:
    """The clips of `folder` whose file names begin with `names`, by name.

    Raises:
        UserError: one is missing, or there is no video decoder.
    """
    clips = {}
    for name in names:
        named = (p for p in folder.glob("*") if p.name.startswith(name))
        files = sorted(p for p in named if p.suffix.lower() in READABLE)
        if not files:
            raise UserError(
                f"{folder}: no clip named {name}*; give --clips the folder with it, or --clip the "
                "beginning of a file's name there"
            )
        clips[name] = read_clip(files[0])
    return clips


def baseline(scale: int) -> Method:
    """The frame interpolated (in float), or at scale 1 the decoded frame itself."""
    return lambda frame: upscale(to_tensor(frame), scale)


def unsharp(image: Tensor, strength: float) -> Tensor:
    """`image` (1,3,H,W) plus `strength` times its difference from a Gaussian of sigma 1."""
    from kornia.filters import gaussian_blur2d  # seconds to import

    return image + strength * (image - gaussian_blur2d(image, (7, 7), (1.0, 1.0)))


@torch.inference_mode()
def measure(
    clip: Clip, scale: int, methods: Mapping[str, Method], at: Sequence[Point]
) -> dict[str, dict[str, Any]]:
    """Point name -> {"kbps": of the coded clip, "rows": method name -> scores}.

    The clip is shrunk by `scale` with Pillow's bicubic, coded, decoded and restored. The first
    row is the baseline; "unsharp mask" has the strength that is best for this clip at this point.
    """
    small, large = zip(*(pair(frame, scale) for frame in clip.frames), strict=True)
    scored = range(FIRST, len(large), STEP)
    if not scored:
        raise UserError(f"{clip.name}: {len(large)} frames; the call benchmark needs {FIRST + 1}")
    found = {}
    for point in at:
        frames, kbps = list(small), None
        if point.encoder:
            frames, kbps = point.code(small, clip.rate)
        rows = {
            name: _mean(_score(method, frames, large, scale, i) for i in scored)
            for name, method in {"baseline": baseline(scale), **methods}.items()
        }
        rows["unsharp mask"] = _best_unsharp(frames, large, scale, scored)
        found[point.name] = {"kbps": kbps, "rows": rows}
    return found


def _score(
    method: Method, frames: Sequence[np.ndarray], large: Sequence[np.ndarray], scale: int, i: int
) -> Row:
    before, now = (quality.to_8bit(method(frames[j])) for j in (i - 1, i))
    truth_before, truth = (to_tensor(large[j]) for j in (i - 1, i))
    scores = {k: float(v) for k, v in quality.scores(now, truth, scale, METRICS).items()}
    change, true_change = now - before, truth - truth_before
    return {
        **scores,
        "flicker": 255 * float(change.abs().mean() - true_change.abs().mean()),
        "temporal_error": 255 * float((change - true_change).abs().mean()),
    }


def _best_unsharp(
    frames: Sequence[np.ndarray], large: Sequence[np.ndarray], scale: int, scored: range
) -> Row:
    """The scores of the unsharp mask at the strength of the highest mean PSNR-Y."""
    start = baseline(scale)
    images = [(start(frames[i]), to_tensor(large[i])) for i in scored]

    def luma_psnr(strength: float) -> float:
        outputs = ((quality.to_8bit(unsharp(image, strength)), hr) for image, hr in images)
        return sum(float(quality.METRICS["psnr_y"].function(sr, hr, scale)) for sr, hr in outputs)

    best = max(STRENGTHS, key=luma_psnr)
    rows = (_score(lambda f: unsharp(start(f), best), frames, large, scale, i) for i in scored)
    return {**_mean(rows), "strength": best}


def _mean(rows: Iterator[Row]) -> Row:
    every = list(rows)
    return {name: sum(row[name] for row in every) / len(every) for name in every[0]}

"""Frames of a video through a student, and beside what it started from."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal

import torch

from kd_lightning.deploy.backends import Runner
from kd_lightning.deploy.enhance import enhance, enhance_frames
from kd_lightning.models.interpolate import upscale
from kd_lightning.video.frame import Frame, Pixels
from kd_lightning.yuv import Yuv

Split = float | Literal["moving"]
SWEEP = 8.0  # seconds in which a moving split goes from left to right and back
LINE = 2  # pixels of the line between before and after


def enhanced(
    runner: Runner,
    frames: Iterable[Frame],
    scale: int | None = None,
    split: Split | None = None,
    tile: int | None = None,
) -> Iterator[Frame]:
    """Each frame restored: RGB, uint8 (h*scale, w*scale, 3), or 4:2:0 planes of its colours where
    the runner gives them faster. Colours' meaning, and chroma where luma alone is restored, stay.

    Args:
        scale: output pixels per input pixel; None for the network's own.
        split: for a preview, the share of the width, from the left, that shows the interpolated
            frame and not the restored one; "moving" lets it go to and fro.
        tile: side of a tile in the network's input, which bounds the memory; None for the runner's.

    Raises:
        UserError: a scale that the network cannot do, or, where no planes are asked of the runner,
            frames of different sizes.
    """
    scale = runner.scale if scale is None else scale
    whole = _whole(runner, scale, split, tile)
    if whole and (runner.planes or runner.luma) and not runner.stream:
        for frame in frames:
            yield frame.with_image(_restored(runner, frame))
        return
    under_way = deque[tuple[Frame, Pixels]]()

    def images() -> Iterator[Pixels]:
        for frame in frames:
            under_way.append((frame, frame.pixels))
            yield under_way[-1][1]

    for after in enhance_frames(runner, images(), scale, tile):
        frame, pixels = under_way.popleft()
        if split is not None:
            yield frame.with_image(beside(interpolated(pixels, scale), after, _share(split, frame)))
        else:
            yield frame.with_image(after.copy() if runner.stream and not tile else after)


def prepare(
    runner: Runner,
    frame: Frame,
    scale: int | None = None,
    split: Split | None = None,
    tile: int | None = None,
) -> None:
    """Convert `frame` to RGB, which it keeps beside its planes, if `enhanced` will read that: for
    another thread to do ahead."""
    if not (_whole(runner, scale, split, tile) and _luma_alone(runner, frame)):
        _ = frame.pixels


def _whole(runner: Runner, scale: int | None, split: Split | None, tile: int | None) -> bool:
    """Whether frames are what the runner makes of them: at its own scale, at once, all of them."""
    return split is None and tile is None and scale in (None, runner.scale)


def _restored(runner: Runner, frame: Frame) -> Pixels | Yuv:
    image, color = frame.image, frame.color
    if _luma_alone(runner, frame):
        assert runner.luma and isinstance(image, Yuv)
        return runner.luma(image, color.matrix, color.full_range)
    if runner.planes and _has_half_chroma(frame):
        return runner.planes(frame.pixels, color.matrix, color.full_range)
    return enhance(runner, frame.pixels)  # a file without loss keeps all of its colours


def _luma_alone(runner: Runner, frame: Frame) -> bool:
    able = runner.scale > 1 or not any(side % 2 for side in frame.size)
    return bool(runner.luma) and not runner.stream and able and _has_half_chroma(frame)


def _has_half_chroma(frame: Frame) -> bool:
    image = frame.image
    return isinstance(image, Yuv) and image.u.shape == tuple((side + 1) // 2 for side in frame.size)


def interpolated(pixels: Pixels, scale: int) -> Pixels:
    """The frame (h, w, 3) without a student: (h*scale, w*scale, 3), bicubic."""
    image: Pixels = upscale(torch.tensor(pixels).permute(2, 0, 1)[None], scale)[0].numpy()
    return image.transpose(1, 2, 0)


def beside(before: Pixels, after: Pixels, share: float) -> Pixels:
    """`after`, whose left part, `share` of the width, is `before`; a white line between them."""
    column = round(share * after.shape[1])
    image: Pixels = after.copy()
    image[:, :column] = before[:, :column]
    image[:, max(0, column - LINE // 2) : column + LINE // 2] = 255
    return image


def _share(split: Split, frame: Frame) -> float:
    if split != "moving":
        return split
    return 0.5 - 0.5 * math.cos(2 * math.pi * frame.seconds / SWEEP)

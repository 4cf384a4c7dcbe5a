"""Comparison images: methods beside each other, with a zoomed detail."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

DETAIL = 64  # pixels, side of the detail in the HR image
ZOOM = 4  # display pixels per HR pixel of the detail
LABEL = 22  # pixels, height of the caption


def comparison(
    images: Mapping[str, Tensor],
    hr: Tensor,
    bicubic: Tensor,
    window: tuple[int, int] | None = None,
) -> Image.Image:
    """One column for each image: the whole image above, the detail enlarged below.

    The detail is where interpolation loses most: the window of DETAIL pixels with the largest
    mean |hr - bicubic|.

    Args:
        images: caption -> (3,h,w) float image in [0, 1]; smaller ones (the LR) are enlarged by
            pixel repetition.
        hr, bicubic: (3,H,W) in [0, 1].
        window: (top, left) of another detail, in HR pixels.
    """
    top, left = window or detail_window(hr, bicubic)
    side = DETAIL * ZOOM
    height, width = hr.shape[-2:]
    overview = (side, max(1, round(height * side / width)))
    canvas = Image.new("RGB", (len(images) * side, LABEL + overview[1] + side), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(14)
    for column, (caption, image) in enumerate(images.items()):
        whole = to_pil(repeat_pixels(image, height // image.shape[-2]))
        box = (left, top, left + DETAIL, top + DETAIL)
        detail = whole.crop(box).resize((side, side), Image.Resampling.NEAREST)
        small = whole.resize(overview, Image.Resampling.BICUBIC)
        marks = [round(edge * side / width) for edge in box]
        ImageDraw.Draw(small).rectangle(marks, outline="red", width=2)
        draw.text((column * side + 4, 2), caption, fill="black", font=font)
        canvas.paste(small, (column * side, LABEL))
        canvas.paste(detail, (column * side, LABEL + overview[1]))
    return canvas


def triplet_columns(batch: Mapping[str, Tensor], sr: Tensor) -> dict[str, Tensor]:
    """The columns lr | bicubic | student | teacher | hr of a batch's first image."""
    columns = {"lr": batch["lr"], "bicubic": batch["bicubic"], "student": sr}
    columns |= {name: batch[name] for name in ("teacher", "hr") if name in batch}
    return {name: image[0] for name, image in columns.items()}


def detail_window(hr: Tensor, bicubic: Tensor) -> tuple[int, int]:
    """(top, left) of the DETAIL x DETAIL window with the largest mean error of interpolation."""
    error = (hr - bicubic).abs().mean(dim=0)[None, None]
    side = min(DETAIL, *hr.shape[-2:])
    means = torch.nn.functional.avg_pool2d(error, side, stride=8)[0, 0]
    index = int(means.argmax())
    return index // means.shape[1] * 8, index % means.shape[1] * 8


def repeat_pixels(image: Tensor, factor: int) -> Tensor:
    """(3,h,w) enlarged to (3,h*factor,w*factor) without interpolation."""
    return image.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def to_pil(image: Tensor) -> Image.Image:
    """(3,H,W) float in [0, 1] as an 8-bit image."""
    array = (image.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(array.transpose(1, 2, 0)))


def save(image: Image.Image, path: Path) -> Path:
    """Write a PNG, making its folder; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path

"""What a student in 8 bits computes, without an error of floating point."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from kd_lightning.deploy.plain_body import plain_body
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import upscale


@torch.inference_mode()
def exact(path: Path, frame: np.ndarray) -> np.ndarray:
    """(h*scale,w*scale,3) uint8 of (h,w,3) uint8 by the weights in `path`, a student on the LR
    image whose layers all have steps, in float64: whole numbers are summed without error, and each
    sum is scaled and rounded once."""
    body = plain_body(load_artifact(path)[0], path)
    maps = torch.from_numpy(frame).permute(2, 0, 1)[None].double() / 255
    image = upscale(maps, body.info.scale).clamp(0, 1)
    for layer in body.layers:
        assert layer.step is not None
        weight = layer.whole.double() * layer.step.double()[:, None, None, None]
        maps = F.conv2d(maps, weight, layer.bias.double(), padding=1)
        if layer.top is not None:
            level = (layer.top / 255).double()
            maps = (maps / level).round().clamp(0, 255) * level
    output = (image + F.pixel_shuffle(maps, body.factor))[0].clamp(0, 1) * 255
    return output.round().byte().permute(1, 2, 0).numpy()

"""A network on the LR image with the interpolated image as a skip, in a form of the same output
from which engines make the large image in 8 bits only: see `Network.upscale_skip`.

It computes in 8-bit levels, 0 to 255, which bfloat16 and 8-bit integers hold exactly.
"""

from copy import deepcopy
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.deploy.rewrites import FromBlocks, blocks_order
from kd_lightning.deploy.uint8 import Interpolation
from kd_lightning.models.int8 import Int8Conv, Uint8ReLU
from kd_lightning.models.interpolate import KERNEL_RADIUS
from kd_lightning.models.network import Network, fuse, model_info

LEVELS = 255.0
SKIP = "skip"  # name of the interpolation's kernel in exported graphs
APART = 1e4  # levels, which neither addend of the output reaches
# With these a body in levels is the body in [0, 1] with its biases and ranges times 255.
HOMOGENEOUS = (nn.Conv2d, Int8Conv, nn.ReLU, nn.PReLU, Uint8ReLU)


class OnLr(nn.Module):
    """(B,3,h,w) float in [0, 1] to (B,3,h*scale,w*scale), as `network` computes it."""

    skip: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        order = blocks_order(network.scale)
        self.body = deepcopy(cast(nn.Sequential, fuse(network).body))
        last = cast(nn.Conv2d, self.body[-1])
        last.weight = nn.Parameter(last.weight.detach()[order])
        if last.bias is not None:
            last.bias = nn.Parameter(last.bias.detach()[order])
        for layer in self.body:
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                layer.bias = nn.Parameter(layer.bias.detach() * LEVELS)
            elif isinstance(layer, Uint8ReLU):
                layer.top *= LEVELS
        self.interpolation = Interpolation(network.scale, order)
        self.register_buffer(SKIP, self.interpolation.kernel * LEVELS)
        self.shuffle = FromBlocks(network.scale)

    def forward(self, x: Tensor) -> Tensor:
        levels = x * LEVELS
        image = F.conv2d(levels, self.skip, padding=KERNEL_RADIUS)
        detail = self.body(levels)
        # Engines join a clamp to the convolution before it, which then writes what it has summed
        # in float32; without one they add in the convolution, which is slower, or in bfloat16.
        image, detail = image.clamp(-APART, APART), detail.clamp(-APART, APART)
        rows, columns = self.interpolation.at_borders(levels)
        blocks = (image * rows * columns).clamp(0, LEVELS) + detail
        return self.shuffle(blocks) / LEVELS

    @staticmethod
    def fits(network: Network) -> bool:
        body = getattr(network, "body", None)
        if not model_info(network).upscale_skip or not isinstance(body, nn.Sequential):
            return False
        body = fuse(network).body
        layers = list(cast(nn.Sequential, body))
        return (
            all(type(layer) in HOMOGENEOUS for layer in layers)
            and len(set(layers)) == len(layers)
            and isinstance(layers[-1], nn.Conv2d)
            and not any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)
        )


def balanced(kernel: np.ndarray) -> np.ndarray:
    """(C,3,k,k) float32 weights as numbers that bfloat16 holds, with the same sum for each output
    channel: flat areas stay exact. What rounding added is taken from weights of finer steps."""
    wanted = torch.from_numpy(kernel.copy()).flatten(1)
    found = wanted.bfloat16().double()
    for taps, exact in zip(found, wanted.double(), strict=True):
        steps = torch.where(taps == 0, torch.inf, 2.0 ** (taps.abs().log2().floor() - 7))
        for _ in range(len(taps)):
            excess = taps.sum() - exact.sum()
            able = steps <= excess.abs() * 1.0001
            if not able.any():
                break
            place = int(torch.where(able, steps, 0).argmax())
            taps[place] = (taps[place] - excess).bfloat16()
            steps[place] = torch.inf
    return found.float().view(kernel.shape).numpy()

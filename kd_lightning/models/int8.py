"""Layers that train with the rounding of 8-bit engines, so that these lose nothing afterwards.

Weights are rounded to 255 levels for each output channel, activations to 256 levels of one range,
forwards; backwards the rounding is left out (Jacob et al. 2018, "Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference"). In an exported graph they are
QuantizeLinear and DequantizeLinear, which engines turn into integer convolutions.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

LEVELS = 127  # of a weight, to each side of zero
FADE = 0.999  # what a step leaves of a range that no activation fills
LEAST = 1e-20  # of a range that counts as seen: its steps have reciprocals
UNSEEN = 2.0**-20  # step of the activations before there is a range


class Uint8ReLU(nn.Module):
    """ReLU rounded to 256 levels from 0 to the largest activation that training has seen lately."""

    top: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("top", torch.zeros(()))  # 0: nothing seen yet, nothing is rounded

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            largest = x.detach().amax().clamp(min=0)
            self.top.copy_(torch.maximum(self.top * FADE, largest))
        if torch.jit.is_tracing():
            x = x.float().relu()
            return round_activations(x, self.top) if self.top else x
        return cast(Tensor, _Rounding.apply(x, self.top))


class _Rounding(torch.autograd.Function):
    """`round_activations` of `x.relu()`: the same numbers in fewer passes, in the dtype of `x`,
    which the next layer reads, and without asking a GPU for `top`, which would wait for it. Where
    nothing was seen, or hardly anything, the steps are too small to notice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, top: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        seen = top > LEAST
        step = torch.where(seen, top.float() / 255, UNSEEN)
        highest = torch.where(seen, 255.0, torch.inf)
        levels = x.to(torch.float32, copy=True).mul_(1 / step).round_().relu_()
        return levels.clamp_(max=highest).mul_(step).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grads[0], x, 0), None


class Int8Conv(nn.Conv2d):
    """A convolution whose weights are rounded, see `rounded`."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, rounded(self.weight), self.bias)


def round_activations(x: Tensor, top: Tensor) -> Tensor:
    """`x`, not negative, at the nearest of 256 levels from 0 to `top`, a scalar above 0."""
    zero = torch.zeros((), dtype=torch.int32, device=x.device)
    return torch.fake_quantize_per_tensor_affine(x, top / 255, zero, 0, 255)


def steps(weight: Tensor) -> Tensor:
    """(out): of each output channel of (out,in,k,k) weights, the difference of two levels."""
    return weight.detach().abs().amax(dim=(1, 2, 3)).clamp(min=1e-12) / LEVELS


def whole(weight: Tensor, step: Tensor) -> Tensor:
    """(out,in,k,k) `rounded` weights in their (out) steps: whole numbers, float32."""
    return (weight / step[:, None, None, None]).round()


def rounded(weight: Tensor) -> Tensor:
    """(out,in,k,k) weights at levels of their own for each output channel, the largest of which is
    its largest weight. Rounding again changes nothing."""
    zeros = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(
        weight.float(), steps(weight), zeros, 0, -128, 127
    )


def rounded_zero_sum(weight: Tensor, groups: int) -> Tensor:
    """As `rounded`, for a kernel that sums to zero over each of `groups` groups of input channels
    and must do so afterwards: those are rounded the other way that come nearest to it."""
    step = steps(weight)[:, None, None, None]
    exact = (weight.detach() / step).reshape(len(weight), groups, -1)
    levels = exact.round()
    excess = levels.sum(dim=2, keepdim=True)
    rank = (exact - levels).argsort(dim=2).argsort(dim=2)  # those first that were rounded up most
    levels -= (rank < excess).float() - (rank >= exact.shape[2] + excess).float()
    return weight + (levels.view_as(weight) * step - weight).detach()

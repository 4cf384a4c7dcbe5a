"""L1 and SSIM against several targets, and their gradient, in one pass over tiles that stay in a
processor's cache.

The same numbers as `kd_lightning.quality.ssim` and its derivative by autograd, for about a sixth
of the time on a CPU: nothing is differentiated that needs no gradient, and what the targets share
is computed once.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from kd_lightning.quality import C1, C2, WINDOW, ssim_band

TILE = 64  # SSIM windows of a tile to each side
PIXELS = 50_000  # values of a map of a tile: with twenty maps it fits in the caches


def weighted_losses(
    sr: Tensor, targets: Sequence[Tensor], l1: Sequence[float], ssim: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """`sum of l1[t] * L1(sr, targets[t]) + ssim[t] * (1 - SSIM(sr, targets[t]))`, differentiable
    with respect to `sr` alone, and each L1 and 1 - SSIM without a gradient, (T,2): means over the
    batch, float32 (float64 for float64 input). SSIM is neither computed nor reported (NaN) where
    its weight is 0.

    Args:
        sr: (B,C,H,W).
        targets: each of the same shape; H and W at least 11 where SSIM counts.
        l1, ssim: weights, one for each target.
    """
    if any(target.shape != sr.shape for target in targets):
        shapes = ", ".join(str(tuple(target.shape)) for target in targets)
        raise ValueError(f"losses of images of different shapes {tuple(sr.shape)}, {shapes}")
    if any(ssim) and min(sr.shape[-2:]) < WINDOW:
        raise ValueError(f"image of {tuple(sr.shape[-2:])} is smaller than SSIM's window")
    loss, terms = _WeightedLosses.apply(sr, tuple(targets), tuple(l1), tuple(ssim))
    return loss, terms


class _WeightedLosses(torch.autograd.Function):
    """Computes the gradient with the value: a loss is always differentiated."""

    @staticmethod
    def forward(
        ctx: Any,
        sr: Tensor,
        targets: tuple[Tensor, ...],
        l1: Sequence[float],
        ssim: Sequence[float],
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(sr.device.type, enabled=False):
            dtype = torch.promote_types(sr.dtype, torch.float32)
            x, ys = sr.to(dtype).contiguous(), [target.to(dtype) for target in targets]
            gradient = torch.zeros_like(x)
            terms = x.new_full((len(ys), 2), torch.nan)
            terms[:, 0] = torch.stack(
                [_l1(x, y, weight, gradient) for y, weight in zip(ys, l1, strict=True)]
            )
            loss = (terms[:, 0] * terms.new_tensor(l1)).sum()
            if chosen := [number for number, weight in enumerate(ssim) if weight]:
                weights = [ssim[number] for number in chosen]
                terms[chosen, 1] = 1 - _ssim(x, [ys[n] for n in chosen], weights, gradient)
                loss = loss + (terms[chosen, 1] * terms.new_tensor(weights)).sum()
        ctx.save_for_backward(gradient)
        ctx.dtype = sr.dtype
        ctx.mark_non_differentiable(terms)
        return loss, terms

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        # In float16 it is too small to hold before it is multiplied by the scale of the loss.
        return (gradient * grad).to(ctx.dtype), None, None, None


def _l1(x: Tensor, y: Tensor, weight: float, gradient: Tensor) -> Tensor:
    """The mean of |x - y|; adds `weight` times its derivative to `gradient`."""
    total = x.new_zeros(())
    count = _samples(x[0].numel(), x)
    for xs, ys, gs in zip(x.split(count), y.split(count), gradient.split(count), strict=True):
        difference = xs - ys
        total += torch.linalg.vector_norm(difference, 1)
        if weight:
            gs.add_(difference.sign_(), alpha=weight / x.numel())
    return total / x.numel()


def _ssim(
    x: Tensor, targets: Sequence[Tensor], weights: Sequence[float], gradient: Tensor
) -> Tensor:
    """Mean SSIM of x with each of the targets; adds that of `weights` times 1 - SSIM to
    `gradient`."""
    totals = x.new_zeros(len(targets))
    rows, columns = (size - WINDOW + 1 for size in x.shape[-2:])
    windows = x.shape[0] * x.shape[1] * rows * columns
    for top, bottom in _tiles(rows, x):
        for left, right in _tiles(columns, x):
            place = (..., slice(top, bottom + WINDOW - 1), slice(left, right + WINDOW - 1))
            count = _samples(x.shape[1] * (bottom - top) * (right - left), x)
            for begin in range(0, len(x), count):
                some = slice(begin, begin + count)
                sums, tile = _ssim_tile(x[some][place], [y[some][place] for y in targets], weights)
                totals += sums
                gradient[some][place].sub_(tile, alpha=1 / windows)
    return totals / windows


def _ssim_tile(
    x: Tensor, targets: Sequence[Tensor], weights: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Sums of SSIM over the valid windows of (N,C,h,w), one for each target, and the derivative of
    their sum by `weights` with respect to x."""
    maps = x.new_empty(3 * len(targets) + 1, *x.shape)
    maps[0] = x
    for y, (own, product, square) in zip(targets, maps[1:].split(3), strict=True):
        own.copy_(y)
        torch.mul(maps[0], own, out=product)
        torch.mul(maps[0], maps[0], out=square).addcmul_(own, own)
    mean_x, *blurred = _blur(maps)
    square_x = mean_x * mean_x
    # Derivatives with respect to mean_x, to the blurred squares, and to each blurred product.
    slopes = torch.zeros(len(targets) + 2, *mean_x.shape, dtype=x.dtype, device=x.device)
    sums = []
    for number, weight in enumerate(weights):
        mean_y, product, square = blurred[3 * number : 3 * number + 3]
        means = mean_x * mean_y
        b1 = torch.addcmul(square_x, mean_y, mean_y)
        b2 = square.sub_(b1).add_(C2)
        b1 += C1
        a2 = product.sub_(means).mul_(2).add_(C2)
        a1 = means.mul_(2).add_(C1)
        # SSIM is a1 * a2 / (b1 * b2).
        inverse = torch.mul(b1, b2).reciprocal_()
        a1 *= inverse
        value = a1 * a2
        sums.append(value.sum())
        slopes[number + 2].add_(a1, alpha=2 * weight)  # by the product
        a2.mul_(inverse).sub_(a1)
        slopes[0].addcmul_(a2, mean_y, value=2 * weight)
        by_square = torch.div(value, b2)
        slopes[1].sub_(by_square, alpha=weight)
        by_square.sub_(value.div_(b1))
        slopes[0].addcmul_(by_square, mean_x, value=2 * weight)
    spread = _spread(slopes)
    derivative = spread[0].addcmul_(spread[1], maps[0], value=2)
    for number in range(len(targets)):
        derivative.addcmul_(spread[number + 2], maps[3 * number + 1])
    return torch.stack(sums), derivative


def _blur(maps: Tensor) -> Tensor:
    """Valid Gaussian filtering of the last two dimensions of (K,N,C,h,w)."""
    *many, height, width = maps.shape
    down = ssim_band(height - WINDOW + 1, maps.dtype, maps.device).T
    right = ssim_band(width - WINDOW + 1, maps.dtype, maps.device)
    flat = maps.view(-1, height, width)
    flat = torch.bmm(down.expand(len(flat), -1, -1), flat)
    return (flat.view(-1, width) @ right).view(*many, height - WINDOW + 1, width - WINDOW + 1)


def _spread(maps: Tensor) -> Tensor:
    """The transpose of `_blur`."""
    *many, height, width = maps.shape
    down = ssim_band(height, maps.dtype, maps.device)
    right = ssim_band(width, maps.dtype, maps.device).T
    flat = (maps.view(-1, width) @ right).view(-1, height, right.shape[1])
    flat = torch.bmm(down.expand(len(flat), -1, -1), flat)
    return flat.view(*many, *flat.shape[-2:])


def _tiles(length: int, x: Tensor) -> Iterator[tuple[int, int]]:
    """Even parts of `length` of at most TILE; on a GPU, which has work for all at once, one."""
    count = -(-length // TILE) if x.device.type == "cpu" else 1
    for number in range(count):
        yield length * number // count, length * (number + 1) // count


def _samples(values: int, x: Tensor) -> int:
    """How many samples of so many values are worked on at once."""
    return max(1, PIXELS // values) if x.device.type == "cpu" else len(x)

"""Attention in windows, plain and shifted (Liu et al., "Swin Transformer", 2021), for SwinIR.

Three things make it faster than the reference, at equal results:

* Inside a residual group the tokens stay in window order: one permutation leads from the plain
  windows to the shifted ones and back, in place of roll, partition, reverse and roll. LayerNorm,
  attention and MLP then see contiguous rows.
* Attention is ``scaled_dot_product_attention`` on strided views of the qkv product.
* Only windows on the border of a shifted layer need a mask. They are put last, so that all others
  share one bias, and nothing of the size (windows x tokens x tokens) is ever built.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Windows(NamedTuple):
    """How the tokens of one input size are dealt to windows.

    ``to_plain``, ``to_shifted``: int64 (tokens), image order -> window order, with the inverse of
    each; ``counts``: shifted windows of each border kind (inner, right, bottom, corner), which
    lie in this order; ``regions``: int64 (4, window**2), the part of the image that each token of
    such a window comes from (tokens attend within their own part only).
    """

    to_plain: Tensor
    from_plain: Tensor
    to_shifted: Tensor
    from_shifted: Tensor
    counts: tuple[int, int, int, int]
    regions: Tensor


def deal_windows(batch: int, height: int, width: int, window: int, device: torch.device) -> Windows:
    """Lay ``batch`` images of height x width tokens (multiples of ``window``) out in windows."""
    rows, columns = height // window, width // window
    shift = window // 2
    image = torch.arange(height * width, device=device).view(height, width)
    starts = torch.arange(batch, device=device) * (height * width)

    def partition(tokens: Tensor) -> Tensor:
        grid = tokens.view(tokens.shape[0] // window, window, tokens.shape[1] // window, window)
        windows = grid.transpose(1, 2).reshape(-1, 1, window * window)
        return (windows + starts[:, None]).flatten()  # window, image, token

    rolled = image.roll((-shift, -shift), (0, 1))
    bottom, right = height - window, width - window
    parts = (
        rolled[:bottom, :right],
        rolled[:bottom, right:],
        rolled[bottom:, :right],
        rolled[bottom:, right:],
    )
    to_plain = partition(image)
    to_shifted = torch.cat([partition(part) for part in parts])
    counts = ((rows - 1) * (columns - 1), rows - 1, columns - 1, 1)
    wrapped = (torch.arange(window, device=device) >= window - shift).long()
    down = wrapped[:, None].expand(window, window).flatten()
    across = wrapped[None, :].expand(window, window).flatten()
    regions = torch.stack((torch.zeros_like(down), across, down, 2 * down + across))
    return Windows(
        to_plain,
        inverse(to_plain),
        to_shifted,
        inverse(to_shifted),
        (counts[0] * batch, counts[1] * batch, counts[2] * batch, counts[3] * batch),
        regions,
    )


def inverse(order: Tensor) -> Tensor:
    """The permutation that undoes ``order``."""
    return torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))


def relative_positions(window: int) -> Tensor:
    """int64 (window**2, window**2): the row of the bias table for each pair of tokens."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    down = y[:, None] - y[None, :] + window - 1
    across = x[:, None] - x[None, :] + window - 1
    return down * (2 * window - 1) + across


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias per relative position."""

    relative_position_index: Tensor

    def __init__(self, dim: int, window_size: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window_size - 1) ** 2, num_heads)
        )
        index = relative_positions(window_size)
        self.register_buffer("relative_position_index", index, persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, counts: Sequence[int], regions: Tensor | None) -> Tensor:
        """x: (windows, tokens, dim), the first ``counts[0]`` of them of kind 0, and so on.

        ``regions``: int64 (kinds, tokens), or None where every token of a window may attend to
        every other.
        """
        windows, tokens, dim = x.shape
        qkv = self.qkv(x).view(windows, tokens, 3, self.num_heads, dim // self.num_heads)
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.view(tokens, tokens, self.num_heads).permute(2, 0, 1).to(qkv.dtype)
        bias = bias.contiguous()
        outputs = []
        for kind, part in enumerate(qkv.split(list(counts))):
            if part.shape[0] == 0:
                continue
            mask = bias
            if regions is not None and kind > 0:
                apart = regions[kind, :, None] != regions[kind, None, :]
                mask = bias.masked_fill(apart, -math.inf)
            outputs.append(attend(part, mask).flatten(2))
        return self.proj(outputs[0] if len(outputs) == 1 else torch.cat(outputs))


def attend(qkv: Tensor, mask: Tensor) -> Tensor:
    """softmax(q k' / sqrt(d) + mask) v: (windows, tokens, 3, heads, d) -> (windows, tokens, heads,
    d); ``mask``: (heads, tokens, tokens)."""
    if qkv.device.type == "cpu" and qkv.dtype == torch.bfloat16:
        return attend_in_chunks(qkv, mask)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[None]).transpose(1, 2)


def attend_in_chunks(qkv: Tensor, mask: Tensor, products: int = 192) -> Tensor:
    """``attend`` as plain matrix products, ``products`` of them at a time.

    On a CPU in bf16 this takes 0.6 of the time of scaled_dot_product_attention, which for windows
    this small does not reach the bf16 instructions; at this size a chunk stays in the cache.
    """
    outputs = []
    for part in qkv.split(max(1, products // qkv.shape[3])):
        q, k, v = part.permute(2, 0, 3, 1, 4).unbind(0)
        scores = torch.matmul(q * qkv.shape[4] ** -0.5, k.transpose(-1, -2)) + mask
        outputs.append(torch.matmul(scores.softmax(-1), v).transpose(1, 2))
    return torch.cat(outputs)


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), on tokens in window order."""

    def __init__(
        self, dim: int, window: int, heads: int, mlp_ratio: float, qkv_bias: bool, shifted: bool
    ) -> None:
        super().__init__()
        self.window = window
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """x: (tokens, dim), in plain window order, or in shifted order where ``shifted``."""
        normed = self.norm1(x).view(-1, self.window**2, x.shape[1])
        if self.shifted:
            mixed = self.attn(normed, windows.counts, windows.regions)
        else:
            mixed = self.attn(normed, (normed.shape[0],), None)
        x = x + mixed.view_as(x)
        return x + self.mlp(self.norm2(x))


class SwinGroup(nn.Module):
    """The transformer blocks of a residual group, plain and shifted windows in turn."""

    def __init__(
        self, dim: int, depth: int, window: int, heads: int, mlp_ratio: float, qkv_bias: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(dim, window, heads, mlp_ratio, qkv_bias, shifted=i % 2 == 1)
            for i in range(depth)
        )

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """x: (tokens, dim) in image order, in and out."""
        to_shifted = windows.from_plain[windows.to_shifted]
        to_plain = windows.from_shifted[windows.to_plain]
        for i, block in enumerate(self.blocks):
            if i == 0:
                x = permute_rows(x, windows.to_plain, windows.from_plain)
            elif i % 2 == 1:
                x = permute_rows(x, to_shifted, to_plain)
            else:
                x = permute_rows(x, to_plain, to_shifted)
            x = block(x, windows)
        if len(self.blocks) % 2 == 1:
            return permute_rows(x, windows.from_plain, windows.to_plain)
        return permute_rows(x, windows.from_shifted, windows.to_shifted)


class PermuteRows(torch.autograd.Function):
    """x[order]; the gradient is a permutation too, which autograd could not know."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, undo: Tensor) -> Tensor:
        ctx.save_for_backward(undo)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (undo,) = ctx.saved_tensors
        return gradients[0].index_select(0, undo), None, None


def permute_rows(x: Tensor, order: Tensor, undo: Tensor) -> Tensor:
    """Rows of x in ``order``, whose inverse permutation is ``undo``."""
    if torch.is_grad_enabled() and x.requires_grad:
        return PermuteRows.apply(x, order, undo)
    return x.index_select(0, order)

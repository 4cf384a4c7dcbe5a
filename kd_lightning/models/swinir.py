"""SwinIR (Liang et al., "SwinIR: Image Restoration Using Swin Transformer", 2021), in plain torch.

Parameter names are the official release's, so its ``.pth`` files load strictly; the two buffers
that it also stores (``attn_mask``, ``relative_position_index``) follow from the window size and
are dropped on loading.

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
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DERIVED_BUFFERS = ("attn_mask", "relative_position_index")


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
        bias = bias.view(1, tokens, tokens, self.num_heads).permute(0, 3, 1, 2).to(qkv.dtype)
        bias = bias.contiguous()
        outputs = []
        start = 0
        for kind, count in enumerate(counts):
            if count == 0:
                continue
            q, k, v = qkv[start : start + count].permute(2, 0, 3, 1, 4).unbind(0)
            mask = bias
            if regions is not None and kind > 0:
                apart = regions[kind, :, None] != regions[kind, None, :]
                mask = bias.masked_fill(apart, -math.inf)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            outputs.append(mixed.transpose(1, 2).reshape(count, tokens, dim))
            start += count
        return self.proj(outputs[0] if len(outputs) == 1 else torch.cat(outputs))


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


class ResidualGroup(nn.Module):
    """RSTB: transformer blocks and a convolution around a residual (the paper's figure 2a)."""

    def __init__(
        self,
        dim: int,
        depth: int,
        window: int,
        heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        resi_connection: str,
    ) -> None:
        super().__init__()
        self.residual_group = SwinGroup(dim, depth, window, heads, mlp_ratio, qkv_bias)
        self.conv = residual_convolution(dim, resi_connection)

    def forward(self, x: Tensor, size: tuple[int, int, int], windows: Windows) -> Tensor:
        mixed = as_image(self.residual_group(x, windows), size)
        return x + as_tokens(self.conv(mixed))


class PatchNorm(nn.Module):
    """Holds the norm under its official name; with patches of one pixel nothing is embedded."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


def residual_convolution(dim: int, kind: str) -> nn.Module:
    """'1conv': one 3x3; '3conv': a bottleneck of 3x3, 1x1, 3x3."""
    if kind == "1conv":
        return nn.Conv2d(dim, dim, 3, padding=1)
    if kind == "3conv":
        return nn.Sequential(
            nn.Conv2d(dim, dim // 4, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(dim // 4, dim // 4, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(dim // 4, dim, 3, padding=1),
        )
    raise ValueError(f"resi_connection must be '1conv' or '3conv', not {kind!r}")


def as_image(tokens: Tensor, size: tuple[int, int, int]) -> Tensor:
    """(batch*height*width, dim) -> (batch, dim, height, width) in channels_last, without a copy."""
    return tokens.view(*size, tokens.shape[1]).permute(0, 3, 1, 2)


def as_tokens(image: Tensor) -> Tensor:
    """The inverse of as_image; copies only where ``image`` is not in channels_last."""
    return image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])


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


def pixel_shuffles(scale: int, features: int) -> nn.Sequential:
    """Convolutions and pixel shuffles, one pair per factor 2, or one for 3."""
    layers: list[nn.Module] = []
    steps = [3] if scale == 3 else [2] * round(math.log2(scale))
    if math.prod(steps) != scale:
        raise ValueError(f"pixelshuffle upsamples by 3 or a power of 2, not by {scale}")
    for step in steps:
        layers += [nn.Conv2d(features, step * step * features, 3, padding=1), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


class SwinIR(nn.Module):
    """Image restoration by shifted-window attention.

    The arguments are the official ones, without those that no released model uses (dropout,
    absolute position embedding, patches of more than one pixel) and without ``img_size``, which
    changed nothing but the size of a stored mask. Stochastic depth is left out.

    ``upsampler``: 'pixelshuffle' (classical), 'pixelshuffledirect' (lightweight), 'nearest+conv'
    (real-world; scale 2 or 4), '' (same size: denoising, JPEG artefacts; scale 1).

    ``forward``: float (B, in_chans, h, w) in [0, 1], any h, w >= 1 -> (B, in_chans, h*scale,
    w*scale), not clamped. The input is mirrored up to a multiple of the window, as the official
    test code does, and the output cropped.
    """

    takes_lr = True
    radius = 32  # LR pixels of context that a tile gets; attention sees further, faintly

    def __init__(
        self,
        *,
        upscale: int = 2,
        in_chans: int = 3,
        embed_dim: int = 60,
        depths: Sequence[int] = (6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6),
        window_size: int = 8,
        mlp_ratio: float = 2.0,
        qkv_bias: bool = True,
        img_range: float = 1.0,
        upsampler: str = "pixelshuffledirect",
        resi_connection: str = "1conv",
    ) -> None:
        super().__init__()
        self.scale = upscale
        self.stride = window_size
        self.img_range = img_range
        self.upsampler = upsampler
        mean = (0.4488, 0.4371, 0.4040) if in_chans == 3 else (0.0,) * in_chans
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)

        self.conv_first = nn.Conv2d(in_chans, embed_dim, 3, padding=1)
        self.patch_embed = PatchNorm(embed_dim)
        self.layers = nn.ModuleList(
            ResidualGroup(
                embed_dim, depth, window_size, heads, mlp_ratio, qkv_bias, resi_connection
            )
            for depth, heads in zip(depths, num_heads, strict=True)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.conv_after_body = residual_convolution(embed_dim, resi_connection)
        self._build_tail(embed_dim, in_chans)
        self.apply(initialise)
        self.register_load_state_dict_pre_hook(drop_derived_buffers)

    def _build_tail(self, embed_dim: int, in_chans: int, features: int = 64) -> None:
        scale, upsampler = self.scale, self.upsampler
        if upsampler in ("pixelshuffle", "nearest+conv"):
            self.conv_before_upsample = nn.Sequential(
                nn.Conv2d(embed_dim, features, 3, padding=1), nn.LeakyReLU()
            )
            self.conv_last = nn.Conv2d(features, in_chans, 3, padding=1)
        if upsampler == "pixelshuffle":
            self.upsample = pixel_shuffles(scale, features)
        elif upsampler == "pixelshuffledirect":
            self.upsample = nn.Sequential(
                nn.Conv2d(embed_dim, scale * scale * in_chans, 3, padding=1),
                nn.PixelShuffle(scale),
            )
        elif upsampler == "nearest+conv":
            if scale not in (2, 4):
                raise ValueError(f"nearest+conv upsamples by 2 or 4, not by {scale}")
            self.conv_up1 = nn.Conv2d(features, features, 3, padding=1)
            if scale == 4:
                self.conv_up2 = nn.Conv2d(features, features, 3, padding=1)
            self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        elif upsampler == "":
            if scale != 1:
                raise ValueError(f"upsampler '' keeps the size, so upscale is 1, not {scale}")
            self.conv_last = nn.Conv2d(embed_dim, in_chans, 3, padding=1)
        else:
            raise ValueError(f"unknown upsampler {upsampler!r}")

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = mirror_to_multiple(x, self.stride)
        x = ((x - self.mean) * self.img_range).contiguous(memory_format=torch.channels_last)
        shallow = self.conv_first(x)
        deep = self.conv_after_body(self._features(shallow)) + shallow
        out = self._tail(x, deep) / self.img_range + self.mean
        return out[..., : height * self.scale, : width * self.scale]

    def _features(self, shallow: Tensor) -> Tensor:
        batch, _, height, width = shallow.shape
        size = (batch, height, width)
        windows = deal_windows(batch, height, width, self.stride, shallow.device)
        tokens = self.patch_embed(as_tokens(shallow))
        for layer in self.layers:
            tokens = layer(tokens, size, windows)
        return as_image(self.norm(tokens), size)

    def _tail(self, x: Tensor, deep: Tensor) -> Tensor:
        if self.upsampler == "":
            return x + self.conv_last(deep)
        if self.upsampler == "pixelshuffledirect":
            return self.upsample(deep)
        deep = self.conv_before_upsample(deep)
        if self.upsampler == "pixelshuffle":
            return self.conv_last(self.upsample(deep))
        ups = [self.conv_up1] if self.scale == 2 else [self.conv_up1, self.conv_up2]
        for conv in ups:
            deep = F.leaky_relu(conv(F.interpolate(deep, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(deep), 0.2))


def mirror_to_multiple(x: Tensor, multiple: int, minimum: int = 1) -> Tensor:
    """Continue x (..., h, w) to the right and below, by mirroring, to sizes that ``multiple``
    divides and that are not below ``minimum``, a multiple itself.

    Equals F.pad(mode="reflect"), and goes on mirroring where the image is smaller than the padding.
    """
    for dim in (-2, -1):
        size = x.shape[dim]
        padded = max(-(-size // multiple) * multiple, minimum)
        if padded == size:
            continue
        period = max(2 * (size - 1), 1)
        position = torch.arange(padded, device=x.device) % period
        x = x.index_select(dim, torch.minimum(position, period - position).clamp(max=size - 1))
    return x


def initialise(module: nn.Module) -> None:
    """The official initialisation: truncated normal linear weights (0.02), zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def drop_derived_buffers(
    module: nn.Module, state: dict[str, Any], prefix: str, *_: Mapping[str, Any]
) -> None:
    """Official state dicts store two buffers that are derived from the window size."""
    for name in [name for name in state if name.rpartition(".")[2] in DERIVED_BUFFERS]:
        del state[name]

"""SwinIR (Liang et al., "SwinIR: Image Restoration Using Swin Transformer", 2021), in plain torch.

Parameter names are the official release's, so its ``.pth`` files load strictly; the two buffers
that it also stores (``attn_mask``, ``relative_position_index``) follow from the window size and
are dropped on loading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lightning.models.network import Network
from kd_lightning.models.swin import SwinGroup, Windows, deal_windows

DERIVED_BUFFERS = ("attn_mask", "relative_position_index")


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


def pixel_shuffles(scale: int, features: int) -> nn.Sequential:
    """Convolutions and pixel shuffles, one pair per factor 2, or one for 3."""
    layers: list[nn.Module] = []
    steps = [3] if scale == 3 else [2] * round(math.log2(scale))
    if math.prod(steps) != scale:
        raise ValueError(f"pixelshuffle upsamples by 3 or a power of 2, not by {scale}")
    for step in steps:
        layers += [nn.Conv2d(features, step * step * features, 3, padding=1), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


class SwinIR(Network):
    """Image restoration by shifted-window attention.

    The arguments are the official ones, without those that no released model uses (dropout,
    absolute position embedding, patches of more than one pixel) and without ``img_size``, which
    changed nothing but the size of a stored mask. Stochastic depth is left out.

    ``upsampler``: 'pixelshuffle' (classical), 'pixelshuffledirect' (lightweight), 'nearest+conv'
    (real-world; scale 2 or 4), '' (same size: denoising, JPEG artefacts; scale 1).

    Under autocast the residuals, the first and the last convolutions keep the precision of the
    input: features that carry the image, rounded to bf16, would be off by up to half of an 8-bit
    level.

    ``forward``: float (B, in_chans, h, w) in [0, 1], any h, w >= 1 -> (B, in_chans, h*scale,
    w*scale), not clamped. The input is mirrored up to a multiple of the window, as the official
    test code does, and the output cropped.
    """

    takes_lr = True
    any_size = False  # its windows are counted in Python
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
        self.multiple_of = window_size
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
        if upsampler == "pixelshuffledirect":
            start_as_interpolation(self.conv_first, self.conv_after_body, self.upsample)
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
        x = mirror_to_multiple(x, self.multiple_of)
        x = ((x - self.mean) * self.img_range).contiguous(memory_format=torch.channels_last)
        with in_full_precision(x.device):
            shallow = self.conv_first(x)
        deep = self.conv_after_body(self._features(shallow)) + shallow
        with in_full_precision(x.device):
            out = self._tail(x, deep) / self.img_range + self.mean
        return out[..., : height * self.scale, : width * self.scale]

    def _features(self, shallow: Tensor) -> Tensor:
        batch, _, height, width = shallow.shape
        size = (batch, height, width)
        windows = deal_windows(batch, height, width, self.multiple_of, shallow.device)
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


def in_full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Suspends autocast where it is on; where it is off, an export shows no trace of this."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


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


@torch.no_grad()
def start_as_interpolation(
    first: nn.Conv2d, after_body: nn.Module, upsample: nn.Sequential
) -> None:
    """Fresh weights with which the first output is the quadratically interpolated image.

    The lightweight tail has no skip from the image, so that with the official initialisation a
    training spends its first thousands of steps on learning to copy it. Here the features start
    with the image itself, and the body contributes nothing yet.
    """
    conv, shuffle = upsample
    assert isinstance(conv, nn.Conv2d) and isinstance(shuffle, nn.PixelShuffle)
    scale, channels = shuffle.upscale_factor, first.in_channels
    last = list(after_body.modules())[-1]
    for parameter in (*last.parameters(), *conv.parameters(), first.weight[:channels], first.bias):
        if parameter is not None:
            nn.init.zeros_(parameter)
    t = (torch.arange(scale) + 0.5) / scale - 0.5  # a sub-pixel's place, in pixels
    taps = torch.stack((t * (t - 1) / 2, 1 - t * t, t * (t + 1) / 2), dim=1)
    kernels = (taps[:, None, :, None] * taps[None, :, None, :]).flatten(0, 1)
    for channel in range(channels):
        first.weight[channel, channel, 1, 1] = 1
        conv.weight[channel * scale**2 : (channel + 1) * scale**2, channel] = kernels


def drop_derived_buffers(
    module: nn.Module, state: dict[str, Any], prefix: str, *_: Mapping[str, Any]
) -> None:
    """Official state dicts store two buffers that are derived from the window size."""
    for name in [name for name in state if name.rpartition(".")[2] in DERIVED_BUFFERS]:
        del state[name]

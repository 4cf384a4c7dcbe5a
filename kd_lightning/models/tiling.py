"""Run a network over an image of any size in bounded memory.

A convolutional network sees no further than its receptive-field radius, so a tile that carries a
halo of that radius reproduces the untiled result exactly, up to kernel round-off. A window
transformer such as SwinIR shifts its windows with the tile's origin and sees far; its tiles
overlap further and are cross-faded, which makes the seams small, not zero.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def tiled(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    tile: int,
    halo: int,
    blend: int = 0,
    scale: int = 1,
    multiple: int = 1,
) -> Tensor:
    """Apply `network` to overlapping tiles of `image` and join the results.

    Args:
        network: maps (B,C,h,w) to (B,C',h*scale,w*scale).
        image: (B,C,H,W).
        tile: pixels of the image in a tile's core, each side; rounded up to `multiple`.
        halo: pixels of context around the core whose outputs are dropped.
        blend: pixels over which neighbouring tiles cross-fade linearly; 0 for a hard cut.
        scale: output pixels per input pixel.
        multiple: tiles start on multiples of this (the network's stride or window).

    Returns:
        (B,C',H*scale,W*scale), dtype of the network's output.
    """
    height, width = image.shape[-2:]
    tile = _round_up(tile, multiple)
    if height <= tile + halo and width <= tile + halo:
        return network(image)
    margin = _round_up(halo + blend, multiple)
    out: Tensor | None = None
    for top, bottom in _cores(height, tile):
        strip: Tensor | None = None
        first, last = max(0, top - margin), min(height, bottom + margin)
        for left, right in _cores(width, tile):
            begin, end = max(0, left - margin), min(width, right + margin)
            sr = network(image[..., first:last, begin:end])
            keep = _weights(begin, end, left, right, width, blend, scale, sr)
            if strip is None:
                strip = sr.new_zeros((*sr.shape[:-1], width * scale))
            strip[..., begin * scale : end * scale] += torch.where(keep > 0, sr * keep, 0)
        assert strip is not None
        keep = _weights(first, last, top, bottom, height, blend, scale, strip)[:, None]
        if out is None:
            out = strip.new_zeros((*strip.shape[:-2], height * scale, width * scale))
        out[..., first * scale : last * scale, :] += torch.where(keep > 0, strip * keep, 0)
    assert out is not None
    return out


def _cores(length: int, tile: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, tile):
        yield start, min(length, start + tile)


def _weights(
    begin: int, end: int, left: int, right: int, length: int, blend: int, scale: int, like: Tensor
) -> Tensor:
    """Each output position's share of the tile [begin, end) with core [left, right): a ramp of
    width 2*blend centred on an inner core border, so that neighbours sum to one."""
    position = torch.arange(begin * scale, end * scale, dtype=torch.float32, device=like.device)
    position = (position + 0.5) / scale
    weights = torch.ones_like(position)
    if left > 0:
        weights *= _ramp(position - left, blend)
    if right < length:
        weights *= _ramp(right - position, blend)
    return weights.to(like.dtype)


def _ramp(inside: Tensor, blend: int) -> Tensor:
    """0 outside the core, 1 inside, linear over [-blend, blend] around its border."""
    if blend == 0:
        return (inside > 0).float()
    return ((inside + blend) / (2 * blend)).clamp(0, 1)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple

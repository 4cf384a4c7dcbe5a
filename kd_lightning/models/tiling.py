"""Run a network over an image of any size in bounded memory.

A convolutional network sees no further than its receptive-field radius, so a tile that carries a
halo of that radius reproduces the untiled result exactly, up to kernel round-off. A window
transformer such as SwinIR shifts its windows with the tile's origin and sees far; its tiles
overlap further and are cross-faded, which makes the seams small, not zero.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Network = Callable[[Tensor], Tensor]


def tiled(
    network: Network,
    image: Tensor,
    *,
    tile: int,
    halo: int,
    blend: int = 0,
    scale: int = 1,
    multiple: int = 1,
) -> Tensor:
    """Apply `network` to overlapping tiles of `image` and join the results.

    Besides the result it holds one tile, or with `blend` one row of tiles.

    Args:
        network: maps (B,C,h,w) to (B,C',h*scale,w*scale).
        image: (B,C,H,W), any dtype.
        tile: pixels of the image in a tile's core, each side; rounded up to `multiple`.
        halo: pixels of context around the core whose outputs are dropped.
        blend: pixels over which neighbouring tiles cross-fade linearly; 0 for a hard cut, which
            an integer dtype needs.
        scale: output pixels per input pixel.
        multiple: tiles start on multiples of this (the network's stride or window).

    Returns:
        (B,C',H*scale,W*scale), dtype of the network's output.

    Raises:
        ValueError: `tile`, `scale` or `multiple` is not positive, `halo` or `blend` negative, or
            a tile smaller than 2 * blend.
    """
    if min(tile, scale, multiple) < 1 or min(halo, blend) < 0 or tile < 2 * blend:
        raise ValueError(f"impossible tiles: {tile=} {halo=} {blend=} {scale=} {multiple=}")
    if not blend:
        return _stack(
            bands(network, image, tile=tile, halo=halo, scale=scale, multiple=multiple),
            image.shape[-2] * scale,
        )
    height, width = image.shape[-2:]
    tile = _round_up(tile, multiple)
    margin = _round_up(halo + blend, multiple)
    out: Tensor | None = None
    for core, span in spans(height, tile, margin):
        row: Tensor | None = None
        for across, reach in spans(width, tile, margin):
            sr = network(image[..., slice(*span), slice(*reach)])
            if row is None:
                row = sr.new_zeros((*sr.shape[:-1], width * scale))
            _cross_fade(row, sr, across, reach, width, blend, scale)
        assert row is not None
        if out is None:
            out = row.new_zeros((*row.shape[:-2], height * scale, width * scale))
        _cross_fade(out.mT, row.mT, core, span, height, blend, scale)
    assert out is not None
    return out


def bands(
    network: Network, image: Tensor, *, tile: int, halo: int, scale: int = 1, multiple: int = 1
) -> Iterator[Tensor]:
    """What `tiled` returns with blend=0, from top to bottom in bands of `tile` rows, so that a
    writer need not hold the whole result. Arguments as there."""
    height, width = image.shape[-2:]
    tile = _round_up(tile, multiple)
    margin = _round_up(halo, multiple)
    for (top, bottom), (first, last) in spans(height, tile, margin):
        inner = slice((top - first) * scale, (bottom - first) * scale)
        row: Tensor | None = None
        for (left, right), (begin, end) in spans(width, tile, margin):
            sr = network(image[..., first:last, begin:end])
            part = sr[..., inner, (left - begin) * scale : (right - begin) * scale]
            if right - left == width:  # as it is: copies of large frames take as long as students
                row = part
                break
            if row is None:
                row = _empty_like(sr, part.shape[-2], width * scale)
            row[..., left * scale : right * scale] = part
        assert row is not None
        yield row


def _stack(parts: Iterator[Tensor], height: int) -> Tensor:
    """Join bands without holding them all beside the result."""
    out: Tensor | None = None
    top = 0
    for part in parts:
        if out is None:
            out = _empty_like(part, height, part.shape[-1])
        out[..., top : top + part.shape[-2], :] = part
        top += part.shape[-2]
    assert out is not None
    return out


def _empty_like(sr: Tensor, height: int, width: int) -> Tensor:
    """Of another size, its pixels in the same order in memory."""
    pixels = sr.dim() == 4 and sr.is_contiguous(memory_format=torch.channels_last)
    return torch.empty(
        (*sr.shape[:-2], height, width),
        dtype=sr.dtype,
        device=sr.device,
        memory_format=torch.channels_last if pixels else torch.contiguous_format,
    )


Range = tuple[int, int]


def spans(length: int, tile: int, margin: int) -> Iterator[tuple[Range, Range]]:
    """Cores that cover [0, length), each with what the network reads for it."""
    start = 0
    while start < length:
        stop = start + tile
        if stop + margin >= length:  # the rest is read anyway
            stop = length
        yield (start, stop), (max(0, start - margin), min(length, stop + margin))
        start = stop


def _cross_fade(
    out: Tensor, sr: Tensor, core: Range, span: Range, length: int, blend: int, scale: int
) -> None:
    """Add `sr` to the last dimension of `out`, ramped over 2*blend around inner borders of the
    core, so that the weights of neighbours sum to one."""
    position = torch.arange(span[0] * scale, span[1] * scale, device=sr.device)
    position = (position.float() + 0.5) / scale
    weights = torch.ones_like(position)
    if core[0] > 0:
        weights *= _ramp(position - core[0], blend)
    if core[1] < length:
        weights *= _ramp(core[1] - position, blend)
    share = torch.where(weights > 0, sr * weights.to(sr.dtype), 0)
    out[..., span[0] * scale : span[1] * scale] += share


def _ramp(inside: Tensor, blend: int) -> Tensor:
    """0 outside the core, 1 inside, linear over [-blend, blend] around its border."""
    return ((inside + blend) / (2 * blend)).clamp(0, 1)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple

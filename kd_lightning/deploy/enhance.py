"""An image through a network, in bands of rows, so that memory does not grow with the image."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from kd_lightning.deploy.backends import Runner
from kd_lightning.errors import UserError
from kd_lightning.models.interpolate import KERNEL_RADIUS, upscale
from kd_lightning.models.students import LUMA
from kd_lightning.models.tiling import bands, tiled


def enhance(
    runner: Runner, pixels: np.ndarray, scale: int | None = None, tile: int | None = None
) -> np.ndarray:
    """What `enhance_bands` yields as one array, (H*scale, W*scale, C) of the dtype of `pixels`."""
    scale = runner.scale if scale is None else scale
    height, width, channels = pixels.shape
    out = np.empty((height * scale, width * scale, channels), pixels.dtype)
    top = 0
    for band in enhance_bands(runner, pixels, scale, tile):
        if len(band) == len(out):
            return band
        out[top : top + len(band)] = band
        top += len(band)
    return out


def enhance_bands(
    runner: Runner, pixels: np.ndarray, scale: int | None = None, tile: int | None = None
) -> Iterator[np.ndarray]:
    """Restore `pixels`, interpolated by `scale`; yields the result from top to bottom, so that a
    writer need not hold all of it.

    Args:
        pixels: (H,W,C) uint8 or uint16; C is 1 grey, 2 grey and alpha, 3 RGB or 4 RGB and alpha.
            Alpha is interpolated, not restored.
        scale: output pixels per input pixel; None for the network's own. A network that takes
            the interpolated image can do any scale, 1 (sharpen at the same size) included.
        tile: side of a tile in the network's input; None for the runner's.

    Yields:
        (rows, W*scale, C) of the dtype of `pixels`.

    Raises:
        UserError: `scale` is not one that the network can do.
        FloatingPointError: the network gives NaN or infinite values.
    """
    scale = runner.scale if scale is None else scale
    tiles = _tiles(runner, scale, tile)
    if min(pixels.strides) <= 0 or not pixels.flags.writeable:  # torch takes neither in silence
        pixels = pixels.copy()
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    for band in bands(lambda part: _restore(runner, part, scale), image, **tiles):
        yield band[0].permute(1, 2, 0).contiguous().numpy()


@torch.no_grad()
def enhance_tensor(
    runner: Runner, image: Tensor, scale: int | None = None, tile: int | None = None
) -> Tensor:
    """Restore a float image (B,3,H,W) in [0, 1]; other arguments as in `enhance_bands`.

    Returns:
        (B,3,H*scale,W*scale) in [0, 1], of the dtype and on the device of `image`.
    """
    scale = runner.scale if scale is None else scale

    def restore(part: Tensor) -> Tensor:
        part = part if runner.takes_lr else upscale(part, scale).clamp(0, 1)
        return runner(part).clamp(0, 1)

    out = tiled(restore, image.to(runner.device, torch.float32), **_tiles(runner, scale, tile))
    return out.to(image.device, image.dtype).contiguous()


def refuse_empty(shape: Sequence[int], name: str = "an image") -> None:
    """Raises UserError, with `name`, for an image of this shape where it has no pixels."""
    if 0 in shape:
        raise UserError(f"{name} of shape {tuple(shape)} has no pixels")


def untrained_scale(runner: Runner, scale: int) -> str | None:
    """What to tell who asks for a `scale` that the weights were not trained for; None where they
    were."""
    if scale == runner.scale:
        return None
    undo = f" of degradation {runner.degradation}" if runner.degradation else ""
    return (
        f"scale {scale}: these weights were trained for scale {runner.scale}{undo}, never for "
        f"{scale}; the output may be worse than the input. Take weights of scale {scale}"
    )


def _tiles(runner: Runner, scale: int, tile: int | None) -> dict[str, int]:
    """The geometry of tiles, in pixels of the image; UserError for an impossible `scale`."""
    if runner.takes_lr and scale != runner.scale:
        raise UserError(
            f"scale={scale}: these weights take the small image and only enlarge by "
            f"{runner.scale}; use --scale {runner.scale} or weights with process=full"
        )
    inner = 1 if runner.takes_lr else scale  # network input pixels per pixel of the image
    return {
        "tile": max(1, (tile or runner.tile) // inner),
        "halo": halo(runner, scale),
        "scale": scale,
        "multiple": runner.multiple_of // math.gcd(runner.multiple_of, inner),
    }


def halo(runner: Runner, scale: int) -> int:
    """Pixels of the image around a pixel that its result depends on, to each side."""
    inner = 1 if runner.takes_lr else scale  # network input pixels per pixel of the image
    return -(-runner.radius // inner) + (KERNEL_RADIUS if inner > 1 else 0)


def enhance_frames(
    runner: Runner,
    frames: Iterable[np.ndarray],
    scale: int | None = None,
    tile: int | None = None,
) -> Iterator[np.ndarray]:
    """Restore the frames of a video, one after the other.

    Args:
        frames: (h,w,3) uint8, RGB, of one size.
        scale, tile: as in `enhance_bands`.

    Yields:
        (h*scale,w*scale,3) uint8; it may be overwritten once the next is asked for.

    Raises:
        UserError: a frame is of another kind or size than that.
    """
    frames = _of_one_size(frames)
    if runner.stream and scale in (None, runner.scale) and not tile:
        yield from runner.stream(frames)
        return
    for frame in frames:
        yield enhance(runner, frame, scale, tile)


def _of_one_size(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    shape: tuple[int, ...] | None = None
    for number, frame in enumerate(frames):
        if not isinstance(frame, np.ndarray):
            raise UserError(f"frame {number}: {type(frame).__name__}; give np.asarray(frame)")
        shape = shape or frame.shape
        if frame.shape != shape or frame.shape[2:] != (3,) or frame.dtype != np.uint8:
            raise UserError(
                f"frame {number}: {frame.dtype} {frame.shape}; all frames must be uint8 RGB, "
                f"(height, width, 3), of the size of the first ({shape})"
            )
        refuse_empty(shape, f"frame {number}")
        yield frame


def _restore(runner: Runner, part: Tensor, scale: int) -> Tensor:
    """(1,C,h,w) uint8 or uint16 to (1,C,h*scale,w*scale) of that dtype. The interpolated image
    stays in float, as in training and test: rounding it to 8 bits costs 0.03 dB on Set5."""
    if runner.frame and scale == runner.scale and part.dtype == torch.uint8 and part.shape[1] == 3:
        return runner.frame(part.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    part = part.to(runner.device)  # integers travel to a GPU and back, a quarter of the bytes
    colours = part.shape[1] - (part.shape[1] % 2 == 0)
    levels = torch.iinfo(part.dtype).max
    colour = part[:, :colours].contiguous().float() / levels
    if not runner.takes_lr:
        colour = upscale(colour, scale).clamp_(0, 1)
    sr = runner(colour.expand(-1, 3, -1, -1))
    if not bool(torch.isfinite(sr.sum())):
        raise FloatingPointError("the network gives NaN or infinite values")
    if colours == 1:
        sr = (sr * sr.new_tensor(LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)
    out = sr.mul(levels).round_().clamp_(0, levels).to(part.dtype)
    if colours == part.shape[1]:
        return out.cpu()
    alpha = upscale(part[:, colours:].float(), scale).clamp_(0, levels).round_()
    return torch.cat((out, alpha.to(part.dtype)), dim=1).cpu()

"""Whether a backend or an export computes what the network computes in torch."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kd_lightning.deploy.backends.backend import Runner
from kd_lightning.errors import UserError
from kd_lightning.models.interpolate import super_resolve, upscale
from kd_lightning.models.network import Network, model_info
from kd_lightning.yuv import Matrix, Plane, Yuv, black_and_white, rgb_to_yuv, yuv_to_rgb

# Largest difference from the float32 torch network, in units of [0, 1], or of the largest output
# where that is more, that a backend may show. In a network that rounds its activations, a last bit
# may turn a rounding the other way.
TOLERANCE = {"fp32": 1e-5, "fp16": 4e-3, "bf16": 1.5e-2, "int8": 1.5e-2}
SIZES = ((64, 64), (96, 160), (61, 43))  # height, width of the check of an export; the last is odd
TILE = (13, 11)  # height, width of the LR image on which a runner is compared when it is opened


class WrongBackend(UserError):
    """No image can be trusted to this network in this backend: it does not compute what the network
    computes in torch, or that is no number."""


def tolerance_of(network: nn.Module, precision: str) -> float:
    """What TOLERANCE allows a network in a precision."""
    return TOLERANCE["int8" if model_info(network).int8 else precision]


@torch.inference_mode()
def compare(
    network: nn.Module, run: Callable[[Tensor], Tensor], tolerance: float, name: Path
) -> dict[str, float]:
    """Largest difference of `run` from the network over SIZES; UserError above `tolerance`."""
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for height, width in SIZES:
        x = torch.rand(1, 3, height, width, generator=generator)
        ours, theirs = network(x), run(x)
        if ours.shape != theirs.shape:
            raise UserError(f"{name}: {tuple(theirs.shape)} where torch gives {tuple(ours.shape)}")
        worst = float(np.maximum(worst, float((ours - theirs).abs().max())))  # NaN stays NaN
    if not worst <= tolerance:
        raise UserError(f"{name}: differs from torch by {worst:.2g}, allowed is {tolerance:.2g}")
    return {"largest difference": worst}


def checked(runner: Runner, network: Network, precision: str) -> Runner:
    """The same runner, which before its first answer compares itself with `network` on a small
    image, each of `run`, `frame` (and `stream`), `planes` and `luma` once; it raises WrongBackend
    where they differ by more than `tolerance_of`."""
    tolerance = tolerance_of(network, precision)

    @cache
    def run_is_right() -> None:
        with torch.inference_mode():
            x = _tile().permute(0, 3, 1, 2).float() / 255
            x = x if runner.takes_lr else upscale(x, runner.scale).clamp(0, 1)
            expected = network(x.to(_place(network))).cpu()
            allowed = tolerance * _size(network, expected)
            found = _attempt(network, runner, lambda: runner.run(x.to(runner.device)).cpu())
            _judge(network, runner, expected, found, allowed)

    @cache
    def frame_is_right() -> None:
        assert runner.frame
        frame = runner.frame
        with torch.inference_mode():
            lr = _tile().permute(0, 3, 1, 2).float() / 255
            exact = super_resolve(network, lr.to(_place(network))).cpu()
            expected = (exact.clamp(0, 1) * 255).round().permute(0, 2, 3, 1) / 255
            allowed = ceil(255 * tolerance * _size(network, exact)) / 255 + 1e-6
            found = _attempt(network, runner, lambda: frame(_tile()).float() / 255)
            _judge(network, runner, expected, found, allowed)

    def run(x: Tensor) -> Tensor:
        run_is_right()
        return runner.run(x)

    def frame(small: Tensor) -> Tensor:
        frame_is_right()
        assert runner.frame
        return runner.frame(small)

    def stream(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        frame_is_right()
        assert runner.stream
        yield from runner.stream(frames)

    @cache
    def planes_are_right() -> None:
        assert runner.planes and runner.frame
        small = _tile()[0].numpy()
        expected = rgb_to_yuv(runner.frame(_tile())[0].numpy(), "bt601")
        found = runner.planes(small, "bt601", False)
        for ours, theirs in zip(expected, found, strict=True):
            # What is rounded once instead of twice may lie a level beside.
            one, other = (torch.from_numpy(plane / 255) for plane in (ours, theirs))
            _judge(network, runner, one, other, 1 / 255 + 1e-6)

    def planes(small: Plane, matrix: Matrix, full_range: bool) -> Yuv:
        frame_is_right()
        planes_are_right()
        assert runner.planes
        return runner.planes(small, matrix, full_range)

    @cache
    def luma_is_right() -> None:
        assert runner.luma
        luma = runner.luma
        with torch.inference_mode():
            small = _planes(neutral=runner.takes_lr)
            rgb = torch.from_numpy(yuv_to_rgb(small, "bt601")).permute(2, 0, 1)[None].float() / 255
            exact = super_resolve(network, rgb.to(_place(network))).cpu()
            detail = (exact - upscale(rgb, runner.scale).clamp(0, 1))[0].mean(dim=0)
            black, span = black_and_white(full_range=False)
            start = upscale(torch.from_numpy(small.y)[None, None].float(), runner.scale)[0, 0]
            start = start.clamp(black, black + span)
            expected = (start + span * detail).clamp(0, 255).round() / 255
            allowed = ceil(255 * tolerance * _size(network, exact)) / 255 + 1e-6
            found = _attempt(
                network, runner, lambda: torch.from_numpy(luma(small, "bt601", False).y) / 255
            )
            _judge(network, runner, expected, found, allowed)

    def luma(planes: Yuv, matrix: Matrix, full_range: bool) -> Yuv:
        luma_is_right()
        assert runner.luma
        return runner.luma(planes, matrix, full_range)

    return replace(
        runner,
        run=run,
        frame=frame if runner.frame else None,
        stream=stream if runner.stream else None,
        planes=planes if runner.planes else None,
        luma=luma if runner.luma else None,
    )


def refusal(network: nn.Module, name: str, reason: object) -> WrongBackend:
    """What to raise where the backend `name` fails with a network."""
    text = " ".join(str(reason).split())[:160]
    return WrongBackend(
        f"{type(network).__name__} in {name}: {text}; use --backend torch --precision fp32 (if its "
        "graph depends on the image's size, let it state any_size = False)"
    )


def _attempt(network: nn.Module, runner: Runner, run: Callable[[], Tensor]) -> Tensor:
    try:
        return run()
    except Exception as error:  # the network may be anybody's
        raise refusal(network, runner.name, error) from error


def _judge(
    network: nn.Module, runner: Runner, expected: Tensor, found: Tensor, allowed: float
) -> None:
    if found.shape != expected.shape:
        reason = f"gives {tuple(found.shape)} where torch gives {tuple(expected.shape)}"
        raise refusal(network, runner.name, reason)
    apart = float((found - expected).abs().max())
    if not apart <= allowed:
        reason = f"differs from torch by {apart:.2g}, allowed is {allowed:.2g}"
        raise refusal(network, runner.name, reason)


def _size(network: nn.Module, expected: Tensor) -> float:
    """The largest value, at least 1."""
    if not expected.isfinite().all():
        name = type(network).__name__
        raise WrongBackend(f"{name}: these weights give NaN or infinite values; take others")
    return max(1.0, float(expected.abs().max()))


def _tile() -> Tensor:
    """(1,*TILE,3) uint8: noise, which shows any pixel or channel that is out of its place."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, *TILE, 3), generator=generator, dtype=torch.uint8)


def _planes(neutral: bool) -> Yuv:
    """Noise of an even size; `neutral` without colour, whose luma is not bent by clipped RGB."""
    even = _tile()[0, : TILE[0] // 2 * 2, : TILE[1] // 2 * 2].numpy()
    return rgb_to_yuv(even[..., :1].repeat(3, axis=2) if neutral else even, "bt601")


def _place(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))

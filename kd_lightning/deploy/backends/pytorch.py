"""A network by torch, on a CPU or a GPU: on float images, on 8-bit frames, on videos."""

import copy
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from kd_lightning.deploy.backends.cuda_stream import GpuStream
from kd_lightning.deploy.uint8 import Uint8Model
from kd_lightning.models.network import Network

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def torch_runner(
    network: Network, device: torch.device, precision: str
) -> Callable[[Tensor], Tensor]:
    """channels_last, with the convolutions in `precision`; additions of the input stay fp32."""
    network = _on(device, network)
    half = HALF.get(precision)

    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            return network(x).float()

    return run


def torch_frame_runner(
    network: Network, device: torch.device, precision: str
) -> Callable[[Tensor], Tensor]:
    """As `torch_runner`, from 8-bit frames to 8-bit frames: see `Runner.frame`."""
    whole = _eight_bit(network, device, precision)

    @torch.inference_mode()
    def run(frame: Tensor) -> Tensor:
        return whole(frame.to(device)).cpu()

    return run


def gpu_frames(
    network: Network, device: torch.device, precision: str, frames: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
    """`GpuStream` for the size of the first frame; not compiled where Triton is missing."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return
    height, width, _ = first.shape
    whole = _eight_bit(network, device, precision)
    stream = GpuStream(whole, height, width, compiled=find_spec("triton") is not None)
    yield from stream(chain([first], frames))


def _eight_bit(network: Network, device: torch.device, precision: str) -> Uint8Model:
    return Uint8Model(_on(device, network), HALF.get(precision)).to(device)


def _on(device: torch.device, network: Network) -> Network:
    """A copy there; the caller's stays as it is."""
    network = copy.deepcopy(network).to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

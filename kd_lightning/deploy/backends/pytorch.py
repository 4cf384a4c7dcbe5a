"""torch, on a CPU or a GPU: on float images, on 8-bit frames, on videos."""

import copy
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from kd_lightning.deploy.backends.backend import (
    ENGINE_TILE,
    TORCH_TILE,
    Backend,
    Runner,
    cpu_has_bf16,
    lazily,
    runner_fields,
)
from kd_lightning.deploy.backends.cuda_stream import GpuStream
from kd_lightning.deploy.rewrites import split_input
from kd_lightning.deploy.torch_int8 import IntegerModel
from kd_lightning.deploy.uint8 import Uint8Model
from kd_lightning.models.network import Network, model_info

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Torch(Backend):
    """Runs every network."""

    name = "torch"
    extra = ""
    module = "torch"

    def precisions(self, device: torch.device) -> tuple[str, ...]:
        if device.type == "cuda":
            return ("fp16", "bf16", "fp32")
        return ("bf16", "fp32") if cpu_has_bf16() else ("fp32", "bf16")

    def open(self, network: Network, device: torch.device, precision: str) -> Runner:
        info = model_info(network)
        if info.int8 and device.type == "cpu" and IntegerModel.fits(network):
            return integer_runner(network)
        if info.int8:  # its 8-bit levels are not all numbers of 16 bits
            precision = "fp32"
        network = split_input(network) if precision == "bf16" else network
        on_gpu = device.type == "cuda"
        return Runner(
            torch_runner(network, device, precision),
            f"torch {device.type} {precision}",
            device,
            **runner_fields(info),
            tile=TORCH_TILE * info.multiple_of,
            frame=lazily(lambda: torch_frame_runner(network, device, precision)),
            stream=partial(gpu_frames, network, device, precision) if on_gpu else None,
        )


BACKEND = Torch()


def integer_runner(network: Network) -> Runner:
    """Of a network in 8 bits on the CPU."""
    model = IntegerModel(network)
    return Runner(
        torch.inference_mode()(lambda x: model(x.contiguous(memory_format=torch.channels_last))),
        "torch cpu int8",
        torch.device("cpu"),
        **runner_fields(model_info(network)),
        tile=ENGINE_TILE,
        frame=torch.inference_mode()(model.frame),
    )


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
    whole = _uint8_model(network, device, precision)

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
    whole = _uint8_model(network, device, precision)
    stream = GpuStream(whole, height, width, compiled=find_spec("triton") is not None)
    yield from stream(chain([first], frames))


def _uint8_model(network: Network, device: torch.device, precision: str) -> Uint8Model:
    return Uint8Model(_on(device, network), HALF.get(precision)).to(device)


def _on(device: torch.device, network: Network) -> Network:
    """A copy there; the caller's stays as it is."""
    network = copy.deepcopy(network).to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

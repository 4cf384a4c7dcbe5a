"""A student's convolutions by ncnn, which multiplies less (Winograd) than OpenVINO and torch do.

For 64 channels in float32 that makes it the fastest of them, if tiles are so small that their maps
stay in the cache of a core, and each core has tiles of its own.
"""

import struct
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kd_lightning.deploy.backends.backend import (
    ENGINE_TILE,
    Backend,
    Runner,
    cpu_has_bf16,
    runner_fields,
)
from kd_lightning.deploy.uint8 import Uint8Model
from kd_lightning.errors import UserError
from kd_lightning.models.network import Network, fuse, model_info
from kd_lightning.models.tiling import spans

TILE = 40  # pixels without the halo; of 40 to 128 the fastest for 64 channels
WIDE = 64  # channels from which on it is faster than OpenVINO in fp32
FLOAT32 = struct.pack("<I", 0)  # marks weights that are stored as they are
ACTIVATIONS: Mapping[type[nn.Module], str] = {
    nn.ReLU: "ReLU",
    nn.PReLU: "PReLU",
    nn.SiLU: "Swish",
    nn.GELU: "GELU",
}


class Ncnn(Backend):
    """Runs networks with a `body` of 3x3 convolutions and activations, in fp32."""

    name = "ncnn"
    extra = "ncnn"
    module = "ncnn"

    def precisions(self, device: torch.device) -> tuple[str, ...]:
        return ("fp32",) if device.type == "cpu" else ()

    def supports(self, network: Network) -> bool:
        return _is_chain(getattr(fuse(network), "body", None))

    def suits(self, network: Network, precision: str) -> bool:
        fp32 = precision == "fp32" or (precision == "auto" and not cpu_has_bf16())
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        return fp32 and max(layer.out_channels for layer in convolutions) >= WIDE

    def open(self, network: Network, device: torch.device, precision: str) -> Runner:
        info = model_info(network)
        network = with_ncnn(network)
        inference = torch.inference_mode()
        return Runner(
            inference(network),
            "ncnn cpu fp32",
            torch.device("cpu"),
            **runner_fields(info),
            tile=ENGINE_TILE * info.multiple_of,
            frame=inference(Uint8Model(network)),
        )


BACKEND = Ncnn()


def with_ncnn(network: Network) -> Network:
    """A copy that computes the same, its `body` run by ncnn in float32 on the CPU.

    Raises:
        UserError: ncnn cannot run this body.
    """
    if not BACKEND.supports(network):
        raise UserError(
            "backend=ncnn runs networks with a `body` of 3x3 convolutions and activations, which "
            f"{type(network).__name__} has not; use torch"
        )
    network = fuse(network)
    network.body = NcnnBody(network.body)  # type: ignore[arg-type]
    return network


def _is_chain(body: Any) -> bool:
    """Whether `NcnnBody` can run it: convolutions of stride 1 and zero padding 1, and activations,
    those of ReLU after a convolution."""
    if not isinstance(body, nn.Sequential) or type(body[-1]) is not nn.Conv2d:
        return False
    for before, layer in zip([None, *body], body, strict=False):
        if type(layer) is nn.Conv2d:
            shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            known = shape == ((3, 3), (1, 1), (1, 1), (1, 1)) and layer.groups == 1
            known = known and layer.padding_mode == "zeros" and layer.bias is not None
        else:
            known = type(layer) in ACTIVATIONS and type(before) is nn.Conv2d
            known = known and getattr(layer, "approximate", "none") == "none"
        if not known or layer._forward_hooks or layer._forward_pre_hooks:
            return False
    return True


class NcnnBody(nn.Module):
    """(B,C,H,W) float32 through 3x3 convolutions and activations, in tiles on all cores.

    Args:
        body: see `_is_chain`.
    """

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        import ncnn

        convolutions = [layer for layer in body if isinstance(layer, nn.Conv2d)]
        self.halo = len(convolutions)
        self.fan_out = convolutions[-1].out_channels
        self.threads = ThreadPoolExecutor(torch.get_num_threads())
        self.net = ncnn.Net()
        self.net.opt.num_threads = 1
        for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(self.net.opt, f"use_{option}", False)
        graph, weights = _ncnn_model(body)
        with tempfile.TemporaryDirectory() as folder:
            param, model = Path(folder, "body.param"), Path(folder, "body.bin")
            param.write_text(graph)
            model.write_bytes(weights)
            self.net.load_param(str(param))
            self.net.load_model(str(model))

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([self._image(image) for image in x.numpy()]))

    def _image(self, image: np.ndarray) -> np.ndarray:
        _, height, width = image.shape
        out = np.empty((self.fan_out, height, width), np.float32)
        jobs = [
            (rows, columns)
            for rows in spans(height, TILE, self.halo)
            for columns in spans(width, TILE, self.halo)
        ]

        def tile(job: Any) -> None:
            ((top, bottom), (first, last)), ((left, right), (begin, end)) = job
            sr = self._run(np.ascontiguousarray(image[:, first:last, begin:end]))
            out[:, top:bottom, left:right] = sr[
                :, top - first : bottom - first, left - begin : right - begin
            ]

        list(self.threads.map(tile, jobs))
        return out

    def _run(self, tile: np.ndarray) -> np.ndarray:
        import ncnn

        extractor = self.net.create_extractor()
        extractor.input("input", ncnn.Mat(tile))
        _, out = extractor.extract("output")
        return np.array(out)


def _ncnn_model(body: nn.Sequential) -> tuple[str, bytes]:
    """Text of a .param file and bytes of its .bin file: a chain from "input" to "output"."""
    lines, weights = ["Input input 0 1 input"], b""
    source = "input"
    for number, layer in enumerate(body):
        following = body[number + 1] if number + 1 < len(body) else None
        target = "output" if following is None else f"map{number}"
        if isinstance(layer, nn.Conv2d):
            fused = isinstance(following, nn.ReLU)
            shape = f"0={layer.out_channels} 1=3 4=1 5=1 6={layer.weight.numel()} 9={int(fused)}"
            lines.append(f"Convolution layer{number} 1 1 {source} {target} {shape}")
            weights += FLOAT32 + _bytes(layer.weight) + _bytes(layer.bias)
        elif isinstance(layer, nn.PReLU):
            lines.append(f"PReLU layer{number} 1 1 {source} {target} 0={layer.num_parameters}")
            weights += _bytes(layer.weight)
        elif isinstance(layer, nn.ReLU):
            continue
        else:
            lines.append(f"{ACTIVATIONS[type(layer)]} layer{number} 1 1 {source} {target}")
        source = target
    return "\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines, ""]), weights


def _bytes(values: Tensor | None) -> bytes:
    assert values is not None
    return values.detach().numpy().astype("<f4").tobytes()

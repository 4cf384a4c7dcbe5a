"""One network, run by torch, ONNX Runtime, OpenVINO or ncnn.

Each backend is a `Runner`: float32 in, float32 out, with the attributes of the network that a
tiler and `super_resolve` read. All interpolate with kd_lightning.models.interpolate.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kd_lightning.deploy.backends.pytorch import gpu_frames, torch_frame_runner, torch_runner
from kd_lightning.deploy.rewrites import split_input
from kd_lightning.deploy.uint8 import Uint8Model
from kd_lightning.errors import UserError
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.network import Network
from kd_lightning.models.students import StudentCNN
from kd_lightning.models.swinir import SwinIR

BackendName = Literal["auto", "torch", "onnx", "openvino", "ncnn"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

# Side of a tile, at the size that the convolutions see. Engines are slowed by tiles of different
# shapes, torch more by maps that outgrow the caches.
ENGINE_TILE = 1280
TORCH_TILE = 512
# Largest difference from the float32 torch network, in units of [0, 1], that a backend may show.
TOLERANCE = {"fp32": 1e-5, "fp16": 4e-3, "bf16": 1.5e-2}


@dataclass(frozen=True)
class Runner:
    """A network ready to run: call it with (B,3,H,W) float32 in [0, 1] on `device`.

    Attributes:
        run: the computation; returns float32, unclamped.
        name: backend, device and precision, for people.
        scale, takes_lr, radius, multiple_of: as the network's.
        tile: side, in the network's input, at which large pictures run fast and activations stay
            within some hundred megabytes.
        frame: (1,h,w,3) uint8 on the CPU to (1,h*scale,w*scale,3) uint8, interpolation and
            rounding included; None where only `run` can.
        stream: many frames of one size, (h,w,3) uint8, faster than one `frame` after the other;
            what it yields lasts until the next is asked for. None where it would not be faster.
    """

    run: Callable[[Tensor], Tensor]
    name: str
    device: torch.device
    scale: int
    takes_lr: bool
    radius: int
    multiple_of: int
    tile: int = TORCH_TILE
    frame: Callable[[Tensor], Tensor] | None = None
    stream: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return self.run(x)


def open_weights(
    weights: str | Path,
    backend: BackendName = "auto",
    device: str = "auto",
    precision: Precision = "auto",
) -> Runner:
    """Load an artifact (.safetensors) or an export (.onnx, OpenVINO .xml) into a backend.

    "auto" takes CUDA through torch where there is a GPU, else the first installed of OpenVINO,
    torch and ONNX Runtime (a SwinIR runs in torch only; a StudentCNN in fp32 by ncnn if that is
    installed); bf16 where the CPU computes in it, fp16 on CUDA, else fp32.

    Raises:
        UserError: a file, backend, device or precision that cannot be had.
    """
    weights = Path(weights)
    if weights.suffix not in (".safetensors", ".onnx", ".xml"):
        raise UserError(f"{weights}: weights must be .safetensors, .onnx or .xml (see kd-export)")
    place = _device(device)
    if weights.suffix == ".safetensors":
        network, _ = load_artifact(weights)
        choices = _choices(network, place, precision)
        backend = _backend(weights, backend, place, choices)
        return from_network(network, backend, place, _precision(backend, precision, place))
    able = {".onnx": "onnx", ".xml": "openvino"}
    backend = _backend(weights, backend, place, [able[weights.suffix]])
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; write it with kd-export")
    precision = _precision(backend, precision, place)
    if backend == "onnx":
        return _from_onnx(weights)
    return _from_openvino(weights, precision)


def from_network(
    network: Network, backend: BackendName, device: torch.device, precision: Precision
) -> Runner:
    """A runner for a network in memory; no argument may be "auto"."""
    info = model_info(network)
    name = f"{backend} {device.type} {precision}"
    on_gpu = device.type == "cuda"
    if backend == "torch":
        network = split_input(network) if precision == "bf16" else network
        return Runner(
            torch_runner(network, device, precision),
            name,
            device,
            **info,
            tile=TORCH_TILE * network.multiple_of,
            frame=lazily(lambda: torch_frame_runner(network, device, precision)),
            stream=partial(gpu_frames, network, device, precision) if on_gpu else None,
        )
    from kd_lightning.deploy.onnx_graph import to_onnx

    if backend == "ncnn":
        return _by_ncnn(network, name, info)
    graph = to_onnx(network, split=precision == "bf16")
    if backend == "onnx":
        return Runner(
            onnx_runner(graph), name, device, **info, tile=ENGINE_TILE * network.multiple_of
        )
    return _openvino(graph, name, precision, info)


def _by_ncnn(network: Network, name: str, info: dict[str, Any]) -> Runner:
    from kd_lightning.deploy.backends.ncnn import with_ncnn

    network = with_ncnn(network)
    inference = torch.inference_mode()
    return Runner(
        inference(network),
        name,
        torch.device("cpu"),
        **info,
        tile=ENGINE_TILE * network.multiple_of,
        frame=inference(Uint8Model(network)),
    )


def model_info(network: Network) -> dict[str, Any]:
    """What a tiler and `super_resolve` must know of a network, as JSON can hold it."""
    return {
        "scale": network.scale,
        "takes_lr": network.takes_lr,
        "radius": network.radius,
        "multiple_of": network.multiple_of,
    }


def onnx_runner(model: bytes | str) -> Callable[[Tensor], Tensor]:
    """ONNX Runtime on the CPU, fp32."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (name,) = (node.name for node in session.get_inputs())

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: x.contiguous().numpy()})[0])

    return run


def lazily(build: Callable[[], Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
    """A function that is built when it is first called: compiling takes a second."""
    built = functools.cache(build)
    return lambda x: built()(x)


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def _from_onnx(path: Path) -> Runner:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        header = session.get_modelmeta().custom_metadata_map
        info = _checked_info(header["model_info"])
    except Exception as error:
        raise _foreign(path, error) from None
    tile = ENGINE_TILE * info["multiple_of"]
    return Runner(onnx_runner(str(path)), "onnx cpu fp32", torch.device("cpu"), **info, tile=tile)


def _from_openvino(path: Path, precision: str) -> Runner:
    import openvino

    try:
        model = openvino.Core().read_model(path)
        info = _checked_info(model.get_rt_info(["kd_lightning", "model_info"]).astype(str))
    except Exception as error:
        raise _foreign(path, error) from None
    for operation in model.get_ordered_ops():
        if operation.get_type_name() != "Constant" or not operation.get_element_type().is_real():
            continue
        if not np.isfinite(operation.get_data(dtype=np.float32)).all():
            name = operation.get_friendly_name()
            raise UserError(f"{path}: {name} holds NaN or infinite values; export it again")
    return _openvino(model, f"openvino cpu {precision} {path.stem}", precision, info)


def _checked_info(text: str) -> dict[str, Any]:
    """What `model_info` gave, read back from a file; ValueError where it cannot be that."""
    info = json.loads(text)
    kinds = {"scale": int, "takes_lr": bool, "radius": int, "multiple_of": int}
    if not isinstance(info, dict) or {key: type(value) for key, value in info.items()} != kinds:
        raise ValueError("its header does not describe the network")
    if not (1 <= info["scale"] <= 16 and 0 <= info["radius"] < 4096 > info["multiple_of"] >= 1):
        raise ValueError(f"its header describes no network: {info}")
    return info


def _openvino(model: Any, name: str, precision: str, info: dict[str, Any]) -> Runner:
    from kd_lightning.deploy.backends import openvino as openvino_graph

    graph = openvino_graph.read_graph(model)
    scale, takes_lr = info["scale"], info["takes_lr"]
    return Runner(
        lazily(lambda: openvino_graph.float_runner(graph, precision)),
        name,
        torch.device("cpu"),
        **info,
        tile=ENGINE_TILE * info["multiple_of"],
        frame=lazily(lambda: openvino_graph.frame_runner(graph, precision, scale, takes_lr)),
    )


def _foreign(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:120]
    return UserError(f"{path}: not an export of kd-export ({reason}); export it again")


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise UserError(f"device={device}: choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: torch sees no CUDA device here; use device=cpu")
    return torch.device(device)


def automatic(network: Network, device: torch.device) -> tuple[str, str]:
    """The backend and precision that "auto" takes for a network."""
    backend = next(name for name in _choices(network, device, "auto") if installed(name))
    return backend, _precision(backend, "auto", device)


def _choices(network: Network, device: torch.device, precision: str) -> list[str]:
    """The backends that run a network, the fastest first."""
    if device.type == "cuda" or isinstance(network, SwinIR):  # its graph fits one size only
        return ["torch"]
    fp32 = precision == "fp32" or (precision == "auto" and not cpu_has_bf16())
    if fp32 and isinstance(network, StudentCNN):
        return ["ncnn", "openvino", "torch", "onnx"]
    return ["openvino", "torch", "onnx", "ncnn"]


def _backend(weights: Path, backend: str, device: torch.device, choices: list[str]) -> Any:
    if backend == "auto":
        backend = next((name for name in choices if installed(name)), choices[0])
    if backend not in choices:
        raise UserError(f"backend={backend} cannot run {weights.name} on {device.type}")
    if not installed(backend):
        raise UserError(
            f"backend={backend} is not installed: pip install 'kd_lightning[{backend}]'"
        )
    return backend


def installed(backend: str) -> bool:
    """Whether its package is there."""
    module = "onnxruntime" if backend == "onnx" else backend
    return find_spec(module) is not None


def _precision(backend: str, precision: str, device: torch.device) -> Any:
    able = {
        "torch": ["fp32", "bf16"],
        "onnx": ["fp32"],
        "openvino": ["fp32", "bf16"],
        "ncnn": ["fp32"],
    }[backend]
    if device.type == "cuda":
        able = ["fp32", "bf16", "fp16"]
    if precision == "auto":
        if device.type == "cuda":
            return "fp16"
        return "bf16" if "bf16" in able and cpu_has_bf16() else "fp32"
    if precision not in able:
        choices = ", ".join(able)
        raise UserError(f"precision={precision}: {backend} on {device.type} does {choices}")
    return precision

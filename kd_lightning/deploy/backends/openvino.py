"""OpenVINO on the CPU, and its .xml files."""

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_lightning.deploy.backends.backend import (
    ENGINE_TILE,
    Backend,
    Runner,
    cpu_has_bf16,
    in_turn,
    lazily,
    not_an_export,
    read_header,
    runner_fields,
)
from kd_lightning.deploy.int8 import quantized
from kd_lightning.deploy.onnx_graph import to_onnx
from kd_lightning.deploy.openvino_graph import float_runner, frame_runner, read_graph
from kd_lightning.deploy.openvino_luma import luma_runner
from kd_lightning.deploy.openvino_planes import planes_runner
from kd_lightning.errors import UserError
from kd_lightning.files import as_json
from kd_lightning.models.network import Network, model_info

PLACE = ["kd_lightning"]  # of the header in a graph's rt_info


class OpenVino(Backend):
    """Runs networks whose graph takes any size, in fp32 and bf16."""

    name = "openvino"
    extra = "openvino"
    module = "openvino"
    exports: Mapping[str, tuple[str, ...]] = {".xml": ("fp32", "fp16", "int8")}

    def precisions(self, device: torch.device) -> tuple[str, ...]:
        if device.type != "cpu":
            return ()
        return ("bf16", "fp32") if cpu_has_bf16() else ("fp32", "bf16")

    def supports(self, network: Network) -> bool:
        return model_info(network).any_size

    def open(self, network: Network, device: torch.device, precision: str) -> Runner:
        graph = read_graph(to_onnx(network, split=precision == "bf16"))
        fields = runner_fields(model_info(network))
        return _runner(graph, f"openvino cpu {precision}", precision, fields)

    def open_file(self, path: Path, precision: str) -> Runner:
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise UserError(f"{path}: {weights.name}, which holds its weights, is not beside it")
        try:
            graph = read_graph(path)
            keys = graph.get_rt_info(PLACE).value if graph.has_rt_info(PLACE) else ()
            header = {key: graph.get_rt_info([*PLACE, key]).astype(str) for key in keys}
        except Exception as error:
            raise not_an_export(path, error) from None
        _require_finite(path, graph)
        name = f"openvino cpu {precision} {path.stem}"
        return _runner(graph, name, precision, read_header(path, header))

    def write(
        self,
        network: Network,
        header: Mapping[str, Any],
        path: Path,
        precision: str,
        calibration: list[Tensor],
    ) -> None:
        import openvino

        graph = read_graph(to_onnx(network, split=precision != "int8"))
        if precision == "int8" and not model_info(network).int8:  # else it is in 8 bits already
            graph = quantized(graph, calibration)
        for key, value in header.items():
            graph.set_rt_info(as_json(value), [*PLACE, key])
        openvino.save_model(graph, path, compress_to_fp16=precision == "fp16")


BACKEND = OpenVino()


def _require_finite(path: Path, graph: Any) -> None:
    for operation in graph.get_ordered_ops():
        if operation.get_type_name() != "Constant" or not operation.get_element_type().is_real():
            continue
        if not np.isfinite(operation.get_data(dtype=np.float32)).all():
            name = operation.get_friendly_name()
            raise UserError(f"{path}: {name} holds NaN or infinite values; export it again")


def _runner(graph: Any, name: str, precision: str, stated: dict[str, Any]) -> Runner:
    """One lock from the choice of a graph to the copy of its output: a request gives each caller
    the same memory, the forms of a frame share the network's graph, and OpenVINO has all cores
    busy with one image anyway."""
    lock, scale, takes_lr = Lock(), stated["scale"], stated["takes_lr"]
    planes = planes_runner(graph, precision, scale, takes_lr)
    luma = luma_runner(graph, precision, scale)
    return Runner(
        in_turn(lock, lazily(lambda: float_runner(graph, precision))),
        name,
        torch.device("cpu"),
        **stated,
        tile=ENGINE_TILE * stated["multiple_of"],
        frame=in_turn(lock, lazily(lambda: frame_runner(graph, precision, scale, takes_lr))),
        planes=planes and in_turn(lock, planes),
        luma=luma and in_turn(lock, luma),
    )

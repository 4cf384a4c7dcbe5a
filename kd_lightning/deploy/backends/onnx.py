"""ONNX Runtime on the CPU, and .onnx files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd_lightning.deploy.backends.backend import (
    ENGINE_TILE,
    Backend,
    Runner,
    not_an_export,
    read_header,
    runner_fields,
)
from kd_lightning.deploy.onnx_graph import to_onnx
from kd_lightning.errors import UserError
from kd_lightning.files import as_json
from kd_lightning.models.network import Network, model_info

NAME = "onnx cpu fp32"
CPU = torch.device("cpu")


class Onnx(Backend):
    """Runs networks whose graph takes any size, in fp32."""

    name = "onnx"
    extra = "onnx"
    module = "onnxruntime"
    exports: Mapping[str, tuple[str, ...]] = {".onnx": ("fp32",)}

    def precisions(self, device: torch.device) -> tuple[str, ...]:
        return ("fp32",) if device.type == "cpu" else ()

    def supports(self, network: Network) -> bool:
        return model_info(network).any_size

    def open(self, network: Network, device: torch.device, precision: str) -> Runner:
        info = model_info(network)
        run = onnx_runner(to_onnx(network))
        return Runner(run, NAME, CPU, **runner_fields(info), tile=ENGINE_TILE * info.multiple_of)

    def open_file(self, path: Path, precision: str) -> Runner:
        import onnxruntime

        try:
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            header = session.get_modelmeta().custom_metadata_map
        except Exception as error:
            raise not_an_export(path, error) from None
        stated = read_header(path, header)
        tile = ENGINE_TILE * stated["multiple_of"]
        return Runner(onnx_runner(str(path)), NAME, CPU, **stated, tile=tile)

    def write(
        self,
        network: Network,
        header: Mapping[str, Any],
        path: Path,
        precision: str,
        calibration: list[Tensor],
    ) -> None:
        try:
            import onnx
        except ImportError:
            raise UserError("ONNX export needs: pip install 'kd_lightning[onnx]'") from None
        model = onnx.load_model_from_string(to_onnx(network))
        onnx.helper.set_model_props(model, {k: as_json(v) for k, v in header.items()})
        onnx.checker.check_model(model, full_check=True)
        onnx.save_model(model, path)


BACKEND = Onnx()


def onnx_runner(model: bytes | str) -> Callable[[Tensor], Tensor]:
    """(B,3,H,W) float32 through a serialised model or a file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (name,) = (node.name for node in session.get_inputs())

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: x.contiguous().numpy()})[0])

    return run

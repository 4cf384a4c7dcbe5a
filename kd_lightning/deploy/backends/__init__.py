"""What runs a network: torch, ONNX Runtime, OpenVINO, ncnn. One module each, listed here.

To add one, write a module whose `BACKEND` is a `backend.Backend`, and name it in MODULES: the
command lines, kd-export, the benchmark and the messages of errors read this list.
Importing this package is cheap; what it offers is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kd_lightning.deploy.backends.backend import Backend as Backend
    from kd_lightning.deploy.backends.backend import Precision as Precision
    from kd_lightning.deploy.backends.backend import Runner as Runner
    from kd_lightning.deploy.backends.backend import cpu_has_bf16 as cpu_has_bf16
    from kd_lightning.deploy.backends.select import automatic as automatic
    from kd_lightning.deploy.backends.select import backends as backends
    from kd_lightning.deploy.backends.select import from_network as from_network
    from kd_lightning.deploy.backends.select import open_weights as open_weights

# Name on the command line -> module. "auto" takes the first that runs a network and suits it.
MODULES = {
    "ncnn": "kd_lightning.deploy.backends.ncnn",
    "openvino": "kd_lightning.deploy.backends.openvino",
    "torch": "kd_lightning.deploy.backends.pytorch",
    "onnx": "kd_lightning.deploy.backends.onnx",
}


def __getattr__(name: str) -> Any:
    for module in ("backend", "select"):
        found = vars(import_module(f"{__name__}.{module}"))
        if name in found:
            return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

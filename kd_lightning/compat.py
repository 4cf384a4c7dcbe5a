"""What old or mismatched packages of the optional extras need before they import.

``torchvision`` (wanted by basicsr and spandrel, never by the core): beside a CPU build of torch,
a CUDA wheel of it fails to import, and ``torchmetrics`` and ``lightning`` import it where they
find it. ``basicsr`` 1.4.2 imports a module that torchvision dropped in 0.17.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from kd_lightning.errors import UserError

_definitions: list[Any] = []  # torch unregisters operators when their library object goes away


def patch_torchvision() -> None:
    """Let ``import torchvision`` work where its compiled operators do not fit the torch build.

    Only declares the two operators that its Python code refers to on import; calling one of them
    still raises. Does nothing where torchvision is absent, imported already, or fits.
    """
    if "torchvision" in sys.modules or _definitions:
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    import torch

    try:
        for library in Path(spec.origin).parent.glob("_C*.so"):
            torch.ops.load_library(str(library))
    except OSError:
        operators = torch.library.Library("torchvision", "DEF")
        operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        operators.define(
            "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        )
        _definitions.append(operators)


def import_basicsr() -> types.ModuleType:
    """The ``basicsr`` package, importable with today's torchvision.

    Raises:
        UserError: the extra ``basicsr`` is not installed, or misses a system library.
    """
    name = "torchvision.transforms.functional_tensor"
    patch_torchvision()
    try:
        if name not in sys.modules:
            from torchvision.transforms.functional import rgb_to_grayscale

            dropped = types.ModuleType(name)
            vars(dropped)["rgb_to_grayscale"] = rgb_to_grayscale
            sys.modules[name] = dropped
        import basicsr
    except ImportError as error:
        raise UserError(
            f"basicsr cannot be imported ({error}): install the extra, pip install "
            "'kd_lightning[basicsr]' -c constraints.txt"
        ) from error
    return basicsr

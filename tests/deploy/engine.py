"""What OpenVINO makes of a graph."""

from typing import Any


def integer_convolutions(graph: Any) -> int:
    """How many convolutions it computes in 8-bit integers."""
    import openvino

    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = [[node[key].astype(str) for key in ("layerType", "runtimePrecision")] for node in nodes]
    return sum(kind == "Convolution" and "8" in precision for kind, precision in kinds)

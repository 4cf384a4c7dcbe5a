"""Reading what an OpenVINO graph computes: nodes, and the numbers that they hold."""

from typing import Any

import numpy as np


def inputs_of(node: Any, kind: str = "") -> list[Any]:
    """Of a node of that kind, if one is asked for; none of another's."""
    if kind and node.get_type_name() != kind:
        return []
    return [node.input_value(place).get_node() for place in range(node.get_input_size())]


def values_of(node: Any) -> Any:
    """What a node holds that depends on no input, float32; None of others."""
    import openvino

    while node.get_type_name() in ("Convert", "Reshape"):  # its shape may depend on the input's
        node = node.input_value(0).get_node()
    if node.get_type_name() == "Constant":
        return node.get_data().astype(np.float32)
    if "Parameter" in made_of(node).values():
        return None
    compiled = openvino.Core().compile_model(openvino.Model([node.output(0)], []), "CPU")
    return compiled({})[0].astype(np.float32)


def made_of(node: Any) -> dict[str, str]:
    """Name and kind of `node` and of all that it is computed from."""
    found: dict[str, str] = {}
    ahead = [node]
    while ahead:
        node = ahead.pop()
        if node.get_friendly_name() not in found:
            found[node.get_friendly_name()] = node.get_type_name()
            ahead += inputs_of(node)
    return found

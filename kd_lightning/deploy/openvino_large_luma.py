"""A network that enlarges by 2 and restores luma alone, on the planes of a video, by OpenVINO.

It reads the LR image's luma and adds the same detail to red, green and blue (`student.grey`): luma
goes through its layers and is interpolated in one graph, chroma is interpolated in another.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from kd_lightning.deploy.on_lr import APART, LEVELS, SKIP, balanced
from kd_lightning.deploy.openvino_graph import inference, to_levels
from kd_lightning.deploy.openvino_nodes import inputs_of, made_of, values_of
from kd_lightning.deploy.openvino_planes import SIDE
from kd_lightning.deploy.rewrites import blocks_order
from kd_lightning.deploy.uint8 import Interpolation
from kd_lightning.models.interpolate import KERNEL_RADIUS
from kd_lightning.models.students import LUMA
from kd_lightning.yuv import Floats, Matrix, Yuv, black_and_white

PLAIN = {"strides": [1, 1], "dilations": [1, 1], "pads_begin": [1, 1], "pads_end": [1, 1]}
SIMILAR = 0.02  # of a kernel's largest weight, by which 8 bits may move its colours apart


def enlarging(network: Any, precision: str) -> Callable[[Yuv, Matrix, bool], Yuv] | None:
    """4:2:0 planes, matrix and range to planes of twice the size, by the graph of an `OnLr`; None
    if it changes chroma."""
    if not _restores_luma_alone(network):
        return None

    @lru_cache(1)  # a second one would double the memory for feature maps
    def stages(height: int, width: int, full_range: bool) -> list[Any]:
        rows, columns = -(-height // SIDE), -(-width // SIDE)
        luma = _large_luma(network.clone(), height, width, precision, full_range)
        return [inference(luma, precision), inference(_large_chroma(rows, columns), "fp32")]

    def run(planes: Yuv, matrix: Matrix, full_range: bool) -> Yuv:
        height, width = planes.y.shape
        restore, enlarge = stages(height, width, full_range)
        y = restore(np.ascontiguousarray(planes.y)[None, None])[0, 0].copy()
        u, v = enlarge(np.stack(planes[1:])[:, None])[:, 0, :height, :width].copy()
        return Yuv(y, u, v)

    return run


def _restores_luma_alone(graph: Any) -> bool:
    """Whether the first layer reads luma and the last one writes a grey."""
    ends = _ends(graph)
    if ends is None:
        return False
    kernel, *wide = (values_of(node) for node in (ends.first_weights, ends.weights, ends.bias))
    if kernel is None or any(values is None for values in wide):
        return False
    of_grey = kernel.sum(axis=1, keepdims=True) * np.array(LUMA).reshape(1, 3, 1, 1)
    apart, largest = (np.abs(k).max(axis=(1, 2, 3)) for k in (kernel - of_grey, kernel))
    rows = (values.reshape(SIDE**2, 3, -1) for values in wide)
    return bool(np.all(apart <= SIMILAR * largest) and all(np.all(r == r[:, :1]) for r in rows))


class _Ends(NamedTuple):
    """Nodes of a body's ends: its first convolution and the weights of that; of its last one what
    it reads, the weights and the bias."""

    first: Any
    first_weights: Any
    last_input: Any
    weights: Any
    bias: Any


def _ends(graph: Any) -> _Ends | None:
    """None for a graph of another form, as one that was quantized after its training has."""
    (result,) = graph.get_results()
    targets = to_levels(graph).output(0).get_target_inputs()
    readers = [target.get_node() for target in targets]
    convolutions = [node for node in readers if node.get_type_name() == "Convolution"]
    firsts = [node for node in convolutions if SKIP not in made_of(inputs_of(node)[1])]
    node = result.input_value(0).get_node()
    for kind in ("Divide", "DepthToSpace"):
        node = next(iter(inputs_of(node, kind)), None)
        if node is None:
            return None
    details = [addend for addend in inputs_of(node, "Add") if SKIP not in made_of(addend)]
    while details and details[0].get_type_name() in ("Minimum", "Maximum", "Clamp"):
        details = [n for n in inputs_of(details[0]) if n.get_type_name() != "Constant"]
    biased = inputs_of(details[0], "Add") if len(details) == 1 else []
    last = inputs_of(biased[0], "Convolution") if biased else []
    if len(firsts) != 1 or not last or not _is_plain(biased[0]):
        return None
    return _Ends(firsts[0], inputs_of(firsts[0])[1], last[0], last[1], biased[1])


def _is_plain(convolution: Any) -> bool:
    """Whether it is 3x3 with a border of one zero, as `_convolved` makes it."""
    stated = convolution.get_attributes()
    plain = all(list(stated[key]) == value for key, value in PLAIN.items())
    return plain and list(convolution.input(1).get_shape())[2:] == [3, 3]


def _large_luma(graph: Any, height: int, width: int, precision: str, full_range: bool) -> Any:
    """Luma (1,1,h,w) to that of twice the size, uint8. `graph` is taken apart: its first layer
    reads luma as a grey image, rounded to the 8-bit levels that engines multiply exactly, and its
    last one computes one colour of the three."""
    import openvino
    from openvino import opset13 as op

    black, span = black_and_white(full_range)
    y = op.parameter([1, 1, height, width], openvino.Type.u8)
    luma = op.subtract(op.convert(y, "f32"), np.float32(black))
    grey = op.concat([op.multiply(luma, np.float32(LEVELS / span))] * 3, 1)
    whole = op.fake_quantize(grey, *(np.float32(end) for end in (0, LEVELS, 0, LEVELS)), 256)
    ends = _ends(graph)
    assert ends
    ends.first.input(0).replace_source_output(whole.output(0))
    detail = _convolved(ends.last_input.output(0), _one_colour(ends.weights), 1)
    biases = values_of(ends.bias).reshape(1, -1, 1, 1)[:, ::3]
    detail = op.clamp(op.add(detail, biases), -APART, APART)
    interpolation = Interpolation(SIDE, blocks_order(SIDE))
    kernel = (LEVELS * interpolation.kernel[::3, :1]).numpy()
    kernel = balanced(kernel) if precision == "bf16" else kernel
    image = op.clamp(_convolved(luma, kernel, KERNEL_RADIUS), -APART, APART)  # see `OnLr`
    for factors in interpolation.at_borders(torch.zeros(1, 3, height, width)):
        image = op.multiply(image, factors[:, ::3].numpy())
    image = op.clamp(image, 0.0, span)  # as `Network.upscale_skip` says
    added = op.multiply(detail, np.float32(span / LEVELS))
    levels = op.add(op.add(image, added), np.float32(black + 0.5))
    rounded = op.convert(op.clamp(levels, 0.0, LEVELS), "u8")
    return openvino.Model([op.depth_to_space(rounded, "blocks_first", SIDE)], [y])


def _one_colour(weights: Any) -> Any:
    """The weights of each pixel's red; in 8 bits, where they were, for engines to see."""
    from openvino import opset13 as op

    kernel = values_of(weights)[::3]
    if weights.get_type_name() == "Constant":
        return kernel
    top = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True)
    return op.fake_quantize(kernel, -top, top, -top, top, 255)


def _convolved(image: Any, kernel: Any, pad: int) -> Any:
    from openvino import opset13 as op

    return op.convolution(image, kernel, [1, 1], [pad] * 2, [pad] * 2, [1, 1])


def _large_chroma(height: int, width: int) -> Any:
    """Planes (2,1,h,w) uint8 of chroma, sited left, to (2,1,2h,2w): Keys' kernel (a = -0.5) at the
    places of the larger image's samples, [1/4 before and after] along columns, [1/8 before, 3/8
    after] along rows."""
    import openvino
    from openvino import opset13 as op

    rows, columns = _keys(np.array([-0.25, 0.25])), _keys(np.array([-0.125, 0.375]))
    kernel = np.einsum("ri,cj->rcij", rows, columns).reshape(SIDE**2, 1, 5, 5)
    planes = op.parameter([2, 1, height, width], openvino.Type.u8)
    edge = [0, 0, KERNEL_RADIUS, KERNEL_RADIUS]
    around = op.pad(op.convert(planes, "f32"), edge, edge, "edge")
    blocks = op.convolution(around, kernel.astype(np.float32), [1, 1], [0, 0], [0, 0], [1, 1])
    levels = op.clamp(op.add(blocks, np.float32(0.5)), 0.0, LEVELS)
    large = op.depth_to_space(op.convert(levels, "u8"), "blocks_first", SIDE)
    return openvino.Model([large], [planes])


def _keys(places: Floats) -> Floats:
    """(n,5): weights of the five samples around each of n places, which lie about the third."""
    distance = np.abs(np.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1) - places[:, None])
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))

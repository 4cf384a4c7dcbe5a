"""A network that restores luma alone, on the planes of a video, by OpenVINO.

Its detail is the same in red, green and blue (`student.grey`): luma gains it and chroma nothing, so
4:2:0 planes go in and come out, and no RGB image is made. At the same size the network reads what
`kd_lightning.yuv.yuv_to_rgb` gives, rounded to levels, as blocks of 2x2 pixels.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from kd_lightning.deploy.openvino_graph import (
    block_side,
    inference,
    read_graph,
    to_levels,
    without_moves,
)
from kd_lightning.deploy.openvino_large_luma import enlarging
from kd_lightning.deploy.openvino_nodes import inputs_of, values_of
from kd_lightning.deploy.openvino_planes import SIDE
from kd_lightning.yuv import Floats, Matrix, Yuv, black_and_white, from_rgb

OnPlanes = Callable[[Yuv, Matrix, bool], Yuv]


def luma_runner(model: Any, precision: str, scale: int) -> OnPlanes | None:
    """4:2:0 planes, at scale 1 of even height and width, matrix and range to the planes restored;
    None for networks that change chroma, and for forms that are not known here."""
    network = read_graph(model)
    if scale == 1:
        return _same_size(network, precision)
    return enlarging(network, precision) if scale == SIDE and to_levels(network) else None


def _same_size(network: Any, precision: str) -> OnPlanes | None:
    if block_side(network, 1, (SIDE, SIDE)) != SIDE:
        return None
    detail = _grey_detail(network.clone())
    if detail is None:
        return None

    @lru_cache(1)  # a second one would double the memory for feature maps
    def stages(height: int, width: int, matrix: Matrix, full_range: bool) -> list[Any]:
        graph = detail.clone()
        graph.reshape([1, 3 * SIDE**2, height // SIDE, width // SIDE])
        return [
            inference(_blocks(height, width, matrix, full_range), "fp32"),
            inference(graph, precision),
            inference(_sum(height, width, black_and_white(full_range)[1]), "fp32"),
        ]

    def run(planes: Yuv, matrix: Matrix, full_range: bool) -> Yuv:
        blocks, restore, add = stages(*planes.y.shape, matrix, full_range)
        y, u, v = (np.ascontiguousarray(plane)[None, None] for plane in planes)
        return planes._replace(y=add(y, restore(blocks(y, u, v)))[0, 0].copy())

    return run


def _grey_detail(graph: Any) -> Any:
    """From blocks of RGB pixels (1,12,h,w) in [0, 1], pixels outside and colours inside, to the
    detail of their luma (1,4,h,w); None if it differs between colours. `graph` is taken apart."""
    import openvino
    from openvino import opset13 as op

    without_moves(graph, SIDE)
    (image,), (result,) = graph.get_parameters(), graph.get_results()
    addends = inputs_of(result.input_value(0).get_node(), "Add")
    biased = [node for node in addends if node.get_type_name() == "Add"]
    if "Parameter" not in [node.get_type_name() for node in addends] or not biased:
        return None
    convolution, bias = inputs_of(biased[0], "Add")
    read = [values_of(node) for node in (*inputs_of(convolution, "Convolution")[1:], bias)]
    if len(read) != 2 or any(values is None for values in read):
        return None
    weights, biases = (values.reshape(SIDE**2, 3, -1) for values in read)
    if np.any(weights != weights[:, :1]) or np.any(biases != biases[:, :1]):
        return None
    one = weights[:, 0].reshape(SIDE**2, *read[0].shape[1:])
    shape = {key: convolution.get_attributes()[key] for key in ("strides", "dilations")}
    pads = (convolution.get_attributes()[key] for key in ("pads_begin", "pads_end"))
    grey = op.convolution(
        convolution.input_value(0), one, shape["strides"], *pads, shape["dilations"]
    )
    return openvino.Model([op.add(grey, biases[:, 0].reshape(1, -1, 1, 1))], [image])


def _blocks(height: int, width: int, matrix: Matrix, full_range: bool) -> Any:
    """Planes (1,1,h,w) and twice (1,1,h/2,w/2), uint8, to blocks of RGB pixels (1,12,h/2,w/2) in
    [0, 1], of 8-bit levels."""
    import openvino
    from openvino import opset13 as op

    half = [1, 1, height // SIDE, width // SIDE]
    shapes = ([1, 1, height, width], half, half)
    y, u, v = (op.parameter(shape, openvino.Type.u8) for shape in shapes)
    kernel, offset = _to_rgb(matrix, full_range)
    offsets = np.array([offset] * SIDE**2 + [128, 128], np.float32).reshape(1, -1, 1, 1)
    pixels = op.space_to_depth(y, "blocks_first", SIDE)
    samples = op.subtract(op.convert(op.concat([pixels, u, v], 1), "f32"), offsets)
    around = op.pad(samples, [0, 0, 1, 1], [0, 0, 1, 1], "edge")
    rgb = op.convolution(around, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    levels = op.floor(op.clamp(op.add(rgb, np.float32(0.5)), 0.0, 255.0))
    return openvino.Model([op.divide(levels, np.float32(255))], [y, u, v])


def _to_rgb(matrix: Matrix, full_range: bool) -> tuple[Floats, float]:
    """The kernel (12,6,3,3) of `kd_lightning.yuv.yuv_to_rgb` on blocks, from the four samples of
    luma, Cb and Cr to red, green and blue of each pixel; and the offset of luma."""
    weights, offset = from_rgb(matrix, full_range)
    inverse = np.linalg.inv(weights.astype(np.float64))
    rows = np.array([[0.25, 0.75, 0], [0, 0.75, 0.25]])  # of the row before, this one, the next
    columns = np.array([[0, 1, 0], [0, 0.5, 0.5]])
    kernel = np.zeros((SIDE, SIDE, 3, SIDE**2 + 2, 3, 3))
    for row in range(SIDE):
        for column in range(SIDE):
            kernel[row, column, :, row * SIDE + column, 1, 1] = inverse[0]
            taps = np.outer(rows[row], columns[column])
            kernel[row, column, :, SIDE**2 :] = inverse[1:].T[..., None, None] * taps
    return kernel.reshape(12, 6, 3, 3).astype(np.float32), offset


def _sum(height: int, width: int, levels: float) -> Any:
    """Luma (1,1,h,w) uint8 plus `levels` times its detail (1,4,h/2,w/2): (1,1,h,w) uint8."""
    import openvino
    from openvino import opset13 as op

    y = op.parameter([1, 1, height, width], openvino.Type.u8)
    detail = op.parameter([1, SIDE**2, height // SIDE, width // SIDE], openvino.Type.f32)
    before = op.convert(op.space_to_depth(y, "blocks_first", SIDE), "f32")
    after = op.add(before, op.multiply(detail, np.float32(levels)))
    rounded = op.convert(op.clamp(op.add(after, np.float32(0.5)), 0.0, 255.0), "u8")
    return openvino.Model([op.depth_to_space(rounded, "blocks_first", SIDE)], [y, detail])

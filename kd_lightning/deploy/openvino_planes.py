"""A network's frames as YUV 4:2:0 planes, by OpenVINO: no RGB image of the large size is written.

As `openvino_graph.frame_runner`, but for the last stage: the blocks of 2x2 RGB pixels that the
network gives, in float, become luma (a 1x1 convolution to 4 channels, put together in 8 bits) and
chroma (one sample a block, a 1x2 convolution): `kd_lightning.yuv.rgb_to_yuv` without the rounding
to RGB levels in between. Half the bytes of an RGB frame leave it.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from kd_lightning.deploy.on_lr import LEVELS
from kd_lightning.deploy.onnx_graph import interpolation_to_onnx
from kd_lightning.deploy.openvino_graph import (
    block_side,
    from_frame,
    inference,
    inference_of_all,
    on_blocks,
    read_graph,
    settle_borders,
    to_levels,
)
from kd_lightning.yuv import Matrix, Plane, Yuv, from_rgb

SIDE = 2  # of a block, and of the area that has one sample of chroma
Planes = Callable[[Plane, Matrix, bool], Yuv]


def planes_runner(model: Any, precision: str, scale: int, takes_lr: bool) -> Planes | None:
    """(h,w,3) uint8 RGB, matrix and range to planes of (2h, 2w); None for networks that do not work
    on blocks of 2x2 pixels."""
    network = read_graph(model)
    in_levels = bool(to_levels(network))
    able = in_levels or (not takes_lr and block_side(network, scale, None) == SIDE)
    # At the same size they would be no faster, and less close to what the RGB frame gives.
    if scale != SIDE or not able:
        return None

    @lru_cache(1)  # a second one would double the memory for feature maps
    def stages(shape: tuple[int, ...], matrix: Matrix, full_range: bool) -> list[Any]:
        planes = _planes(shape[0], shape[1], matrix, full_range)
        if in_levels:
            whole = _blocks_of_frame(network.clone(), precision)
            whole.reshape([1, *shape])
            settle_borders(whole, scale)
            return [inference(whole, precision), inference_of_all(planes, "fp32")]
        interpolation = read_graph(interpolation_to_onnx(scale, SIDE))
        interpolation.reshape([1, *shape])
        blocks = on_blocks(network.clone(), SIDE)
        blocks.reshape(list(interpolation.output(0).shape))
        return [
            inference(interpolation, "fp32"),
            inference(blocks, precision),
            inference_of_all(planes, "fp32"),
        ]

    def run(frame: Plane, matrix: Matrix, full_range: bool) -> Yuv:
        *restore, convert = stages(frame.shape, matrix, full_range)
        blocks = np.ascontiguousarray(frame)[None]
        for stage in restore:
            blocks = stage(blocks)
        y, chroma, left = convert(blocks)
        u, v = chroma[0].copy()
        u[:, :1], v[:, :1] = left[0]
        return Yuv(y[0, 0].copy(), u, v)

    return run


def _blocks_of_frame(graph: Any, precision: str) -> Any:
    import openvino
    from openvino import opset13 as op

    frame, blocks = from_frame(graph, precision)
    return openvino.Model([op.divide(blocks, np.float32(LEVELS))], [frame])


def _planes(height: int, width: int, matrix: Matrix, full_range: bool) -> Any:
    """Blocks (1,12,h,w) float in [0, 1], pixels outside and RGB inside, to Y (1,1,2h,2w), Cb and Cr
    (1,2,h,w), and the left column of these (1,2,h,1), all uint8."""
    import openvino
    from openvino import opset13 as op

    weights, offset = from_rgb(matrix, full_range)
    weights = 255 * weights
    luma = np.zeros((4, 2, 2, 3), np.float32)  # from row, column, colour of a block
    chroma = np.zeros((2, 2, 2, 3, 2), np.float32)  # and of the block before it and this one
    for pixel in range(4):
        luma[pixel, pixel // 2, pixel % 2] = weights[:, 0]
    chroma[:, :, 0, :, 1] = weights.T[1:, None] / 4  # [1 2 1]/4 around even columns, [1 1]/2 rows
    chroma[:, :, 1, :, 1] = chroma[:, :, 1, :, 0] = weights.T[1:, None] / 8
    at_left = chroma[..., 1].copy()  # the column before the first is the first again
    at_left[:, :, 0] += weights.T[1:, None] / 8

    def convolve(image: Any, kernel: np.ndarray, before: int, level: float) -> Any:
        out = op.convolution(image, kernel, [1, 1], [0, before], [0, 0], [1, 1])
        levels = op.clamp(op.add(out, np.float32(level + 0.5)), 0.0, 255.0)
        return op.convert(levels, "u8")

    blocks = op.parameter([1, 12, height, width], openvino.Type.f32)
    first = op.slice(blocks, *(np.array([n]) for n in (0, 1, 1, 3)))
    y = convolve(blocks, luma.reshape(4, 12, 1, 1), 0, offset)
    both = convolve(blocks, chroma.reshape(2, 12, 1, 2), 1, 128)
    left = convolve(first, at_left.reshape(2, 12, 1, 1), 0, 128)
    y = op.depth_to_space(y, "blocks_first", SIDE)
    return openvino.Model([y.output(0), both.output(0), left.output(0)], [blocks])

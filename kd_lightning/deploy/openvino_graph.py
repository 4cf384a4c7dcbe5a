"""A network's graph in OpenVINO on the CPU: on float images, and on frames in 8 bits."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_lightning.deploy.on_lr import LEVELS, SKIP, balanced
from kd_lightning.deploy.onnx_graph import interpolation_to_onnx
from kd_lightning.deploy.openvino_nodes import inputs_of
from kd_lightning.deploy.rewrites import blocks_order
from kd_lightning.deploy.uint8 import Interpolation

HINTS = {"fp32": "f32", "bf16": "bf16"}
# Kernels that a request keeps for sizes that come again, as the tiles of an image do: some ten a
# size. OpenVINO's own 5000, of some 60 KB, look like a leak where every image is of another size.
KERNELS = 128
CROPS = ("Slice", "StridedSlice")
BORDERS = ("factors of rows", "factors of columns")  # of `Interpolation.at_borders`


def read_graph(model: Any) -> Any:
    """An ov.Model from a path, a serialised ONNX model or an ov.Model; what a file has in float16
    is float32 in it, as OpenVINO computes with it anyway."""
    import openvino

    if not isinstance(model, (str, Path, bytes)):
        return model
    graph, half = openvino.Core().read_model(model), openvino.Type.f16
    for node in graph.get_ops():
        if node.get_type_name() == "Convert" and node.get_element_type() == openvino.Type.f32:
            (stored,) = inputs_of(node)
            if stored.get_type_name() == "Constant" and stored.get_element_type() == half:
                whole = openvino.opset13.constant(stored.get_data().astype(np.float32))
                whole.set_friendly_name(node.get_friendly_name())
                node.output(0).replace(whole.output(0))
    return graph


def float_runner(model: Any, precision: str) -> Callable[[Tensor], Tensor]:
    """(B,3,H,W) float32 through the graph `model`, see `read_graph`."""
    graph = read_graph(model)
    # A graph in levels has them exact for 8-bit frames only.
    infer = inference(graph, "fp32" if to_levels(graph) else precision)

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(infer(x.contiguous().numpy()).copy())

    return run


def frame_runner(
    model: Any, precision: str, scale: int, takes_lr: bool
) -> Callable[[Tensor], Tensor]:
    """(1,h,w,3) uint8 to (1,h*scale,w*scale,3) uint8: interpolation, network and rounding.

    A size that comes twice in a row gets graphs of its own, in which OpenVINO fuses more: a tenth
    of a second to compile, and a fifth less for the frames of a small student.
    """
    network = read_graph(model)

    @functools.cache
    def graphs(side: int) -> list[tuple[Any, str]]:
        if to_levels(network):
            return [(frame_graph(network.clone(), scale, precision), precision)]
        if takes_lr:
            return [(_between_frames(network.clone()), precision)]
        return [
            # Apart, because bf16 is all or nothing, and would round the image by a level.
            (_with_borders_named(read_graph(interpolation_to_onnx(scale, side))), "fp32"),
            (_to_frame(network.clone(), side), precision),
        ]

    @functools.lru_cache(1)  # a second one would double the memory for feature maps
    def compiled_for(size: torch.Size | None) -> list[Callable[[Any], Any]]:
        stages = []
        shape: Any = size
        for graph, number_format in graphs(block_side(network, scale, size and size[1:3])):
            if size is not None:
                graph = graph.clone()
                graph.reshape(list(shape))
                settle_borders(graph, scale)
                shape = graph.output(0).shape
            stages.append(inference(graph, number_format))
        return stages

    last = None

    def run(frame: Tensor) -> Tensor:
        nonlocal last
        stages = compiled_for(frame.shape if frame.shape == last else None)
        last = frame.shape
        image = frame.contiguous().numpy()
        for infer in stages:
            image = infer(image)
        return torch.from_numpy(image.copy())

    return run


def inference(graph: Any, precision: str) -> Callable[..., Any]:
    """numpy, an array for each input, to the graph's one output; see `inference_of_all`."""
    infer = inference_of_all(graph, precision)
    return lambda *inputs: infer(*inputs)[0]


def inference_of_all(graph: Any, precision: str) -> Callable[..., list[Any]]:
    """numpy, an array for each input, to the outputs, which are overwritten by the next call.

    The precision is a hint that must be given: without it OpenVINO silently computes in bf16
    where the CPU can.
    """
    import openvino

    hints = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "CPU_RUNTIME_CACHE_CAPACITY": KERNELS,
    }
    request = openvino.Core().compile_model(graph, "CPU", hints).create_infer_request()

    def infer(*inputs: Any) -> list[Any]:
        return list(request.infer(list(inputs), share_inputs=True, share_outputs=True).values())

    return infer


def block_side(graph: Any, scale: int, size: Sequence[int] | None) -> int:
    """Side of the blocks of pixels that the graph can be given in place of the image; 1 for none.

    It moves pixels into blocks, as `optimize_for_cpu` writes it (nothing else makes a
    SpaceToDepth), and they are as large as the interpolation's, or divide a frame that keeps its
    `size`.
    """
    sides = {
        int(op.get_attributes()["block_size"])
        for op in graph.get_ops()
        if op.get_type_name() == "SpaceToDepth"
    }
    if len(sides) != 1:
        return 1
    (side,) = sides
    divides = scale == 1 and size is not None and not any(length % side for length in size)
    return side if side == scale or divides else 1


def _to_frame(graph: Any, side: int) -> Any:
    """The network's graph with its output as an 8-bit frame. With `side` above 1 its input is the
    SpaceToDepth of the image, and the large image is put together from blocks in 8 bits only."""
    import openvino

    if side > 1:
        without_moves(graph, side)
    (image,), (result,) = graph.get_parameters(), graph.get_results()
    return openvino.Model([_levels(result.input_value(0), side)], [image])


def on_blocks(graph: Any, side: int) -> Any:
    """The network's graph on the SpaceToDepth of the image, to that of the output, in [0, 1]."""
    import openvino
    from openvino import opset13 as op

    without_moves(graph, side)
    (image,), (result,) = graph.get_parameters(), graph.get_results()
    return openvino.Model([op.clamp(result.input_value(0), 0.0, 1.0)], [image])


def without_moves(graph: Any, side: int) -> None:
    """Take out what moves pixels to and from blocks."""
    import openvino

    (image,) = graph.get_parameters()
    for op in _moves_of_pixels(graph):
        op.output(0).replace(op.input_value(0))
    image.set_partial_shape(openvino.PartialShape([-1, 3 * side**2, -1, -1]))
    graph.validate_nodes_and_infer_types()


def _moves_of_pixels(graph: Any) -> list[Any]:
    """Padding and SpaceToDepth at the input; the last DepthToSpace, and what crops the padding."""
    ops = graph.get_ordered_ops()
    start = [op for op in ops if op.get_type_name() == "SpaceToDepth"]
    pads = [op.input_value(0).get_node() for op in start]
    end = next(op for op in reversed(ops) if op.get_type_name() == "DepthToSpace")
    crops, last = [], end  # one for each axis
    while len(targets := list(last.output(0).get_target_inputs())) == 1:
        last = targets[0].get_node()
        if last.get_type_name() not in CROPS:
            break
        crops.append(last)
    around = [*(op for op in pads if op.get_type_name() == "Pad"), *crops]
    return [*start, end, *around]


def to_levels(graph: Any) -> Any:
    """The node that turns the input into 8-bit levels, the first of `OnLr`; None in other forms."""
    (image,) = graph.get_parameters()
    readers = [target.get_node() for target in image.output(0).get_target_inputs()]
    if len(readers) != 1 or readers[0].get_type_name() != "Multiply":
        return None
    factor = readers[0].input_value(1).get_node()
    is_constant = factor.get_type_name() == "Constant"
    return readers[0] if is_constant and np.all(factor.get_data() == LEVELS) else None


def frame_graph(graph: Any, scale: int, precision: str) -> Any:
    """The graph of an `OnLr` from a frame to a frame, (B,h,w,3) uint8, in place."""
    import openvino
    from openvino import opset13 as op

    frame, blocks = from_frame(graph, precision)
    # By OpenVINO: torch moves pixels faster, but its threads then wait in the way of OpenVINO's.
    return openvino.Model([_shuffled(op.round(blocks, "half_to_even"), scale)], [frame])


def from_frame(graph: Any, precision: str) -> tuple[Any, Any]:
    """Of the graph of an `OnLr`, which is changed: a frame as input (B,h,w,3) uint8, and the output
    (B,scale*scale*3,h,w) in float levels, clamped, pixels outside and colours inside."""
    import openvino
    from openvino import opset13 as op

    _with_borders_named(graph)
    frame = op.parameter([-1, -1, -1, 3], openvino.Type.u8)
    levels = op.transpose(op.convert(frame, "f32"), [0, 3, 1, 2])
    # Convolutions with 8-bit weights multiply integers where what they read is said to be 8-bit.
    whole = op.fake_quantize(levels, *(np.float32(end) for end in (0, 255, 0, 255)), 256)
    for target in list(to_levels(graph).output(0).get_target_inputs()):
        reader = target.get_node()
        is_convolution = reader.get_type_name() == "Convolution"
        weight = reader.input_value(1).get_node() if is_convolution else None
        is_int8 = weight is not None and weight.get_type_name() != "Constant"
        target.replace_source_output((whole if is_int8 else levels).output(0))
        if weight and weight.get_friendly_name() == SKIP and precision == "bf16":
            rounded = op.constant(balanced(weight.get_data()))
            reader.input(1).replace_source_output(rounded.output(0))
    (result,) = graph.get_results()
    shuffle = result.input_value(0).get_node().input_value(0).get_node()
    return frame, op.clamp(shuffle.input_value(0), 0.0, LEVELS)


def _with_borders_named(graph: Any) -> Any:
    """The same graph, of an `OnLr` or an `Interpolation`, for `settle_borders` to find its way."""
    names = dict(
        zip(("/Reciprocal", "/Reciprocal_1"), BORDERS, strict=True)
    )  # as torch writes them
    for node in graph.get_ops():
        node.set_friendly_name(names.get(node.get_friendly_name(), node.get_friendly_name()))
    return graph


def settle_borders(graph: Any, scale: int) -> None:
    """In a graph for one size: the factors at the borders as constants, by which the engine else
    divides at each pixel."""
    from openvino import opset13 as op

    found = {node.get_friendly_name(): node for node in graph.get_ops()}
    if BORDERS[0] in found:
        (frame,) = graph.get_parameters()
        lr = torch.zeros(1, 3, *frame.shape[1:3])
        factors = Interpolation(scale, blocks_order(scale)).at_borders(lr)
        for name, factor in zip(BORDERS, factors, strict=True):
            found[name].output(0).replace(op.constant(factor.numpy()).output(0))


def _between_frames(graph: Any) -> Any:
    """The graph of a network that takes the small image, from 8 bits to 8 bits."""
    import openvino
    from openvino import opset13 as op

    (image,) = graph.get_parameters()
    (result,) = graph.get_results()
    frame = op.parameter([-1, -1, -1, 3], openvino.Type.u8)
    lr = op.divide(op.convert(frame, "f32"), np.float32(255))
    image.output(0).replace(op.transpose(lr, [0, 3, 1, 2]).output(0))
    return openvino.Model([_levels(result.input_value(0))], [frame])


def _levels(image: Any, side: int = 1) -> Any:
    """(B,C,h,w) float to (B,h*side,w*side,C/side**2) uint8."""
    from openvino import opset13 as op

    scaled = op.multiply(op.clamp(image, 0.0, 1.0), np.float32(255))
    return _shuffled(op.round(scaled, "half_to_even"), side)


def _shuffled(levels: Any, side: int) -> Any:
    """(B,C,h,w) float levels to (B,h*side,w*side,C/side**2) uint8."""
    from openvino import opset13 as op

    large = op.depth_to_space(op.convert(levels, "u8"), "blocks_first", side)
    return op.transpose(large, [0, 2, 3, 1])

"""A network as an ONNX graph of dynamic height and width, in memory.

ONNX Runtime and OpenVINO both run this graph, at run time and after `kd-export`.
"""

import io
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.deploy.on_lr import OnLr
from kd_lightning.deploy.rewrites import FromBlocks, blocks_order, optimize_for_cpu
from kd_lightning.deploy.uint8 import Blocks, Interpolation
from kd_lightning.models.network import Network

OPSET = 18
PIL_CUBIC = -0.5  # the coefficient a of Pillow's bicubic kernel


def to_onnx(network: Network, split: bool = False) -> bytes:
    """Serialised ONNX model: "input" (B,3,H,W) float32 to "output", as the network computes it.
    `split`: in the form that loses little in bf16, see `optimize_for_cpu`; `OnLr`, where it fits,
    needs none on 8-bit frames."""
    torch.onnx.register_custom_op_symbolic(
        "aten::_upsample_bicubic2d_aa",
        _bicubic_as_deconvolution(network.scale),
        OPSET,
    )
    form = OnLr(network) if OnLr.fits(network) else optimize_for_cpu(network, split)
    return _traced(form, torch.zeros(1, 3, 64, 64), (2, 3))


def interpolation_to_onnx(scale: int, side: int) -> bytes:
    """`Interpolation`, or `Blocks` at scale 1, as a serialised ONNX model: "input" (B,h,w,3) uint8
    to "output" float32, the image or, with a `side` above 1, its SpaceToDepth. `side` is `scale` or
    1, at scale 1 any."""
    module: nn.Module = Blocks(side, blocks_order(side))
    if scale > 1:
        module = Interpolation(scale, blocks_order(scale))
        module = module if side == scale else nn.Sequential(module, FromBlocks(scale))
    return _traced(module, torch.zeros(1, 64, 64, 3, dtype=torch.uint8), (1, 2))


def _traced(module: nn.Module, example: Tensor, size: tuple[int, int]) -> bytes:
    """`size`: which dimensions of the input are height and width."""
    height, width = size
    axes = {
        "input": {0: "batch", height: "height", width: "width"},
        "output": {0: "batch", 2: "height", 3: "width"},
    }
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, but needs no onnx
        torch.onnx.export(
            module.eval(),
            (example,),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes=axes,
        )
    return buffer.getvalue()


def _bicubic_kernel(scale: int) -> Tensor:
    """(1,1,n,n) weights with which an LR pixel enters the HR pixels around it (Keys 1981)."""
    reach = -(-3 * scale // 2)
    hr = torch.arange(2 * reach + scale, dtype=torch.float64) - reach
    distance = ((hr + 0.5) / scale - 0.5).abs()
    a = PIL_CUBIC
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * a * distance - 4 * a
    row = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    return torch.outer(row, row)[None, None].float()


def _bicubic_as_deconvolution(scale: int) -> Callable[..., Any]:
    """Enlarging with Pillow's kernel, which leaves out taps outside the image and rescales the
    rest. ONNX's Resize can say so (exclude_outside), but OpenVINO does not obey it."""
    kernel = _bicubic_kernel(scale)
    pads = [-(-3 * scale // 2)] * 4

    def symbolic(g: Any, x: Any, *_: Any) -> Any:
        def spread(image: Any, channels: int) -> Any:
            weights = g.op("Constant", value_t=kernel.repeat(channels, 1, 1, 1))
            return g.op(
                "ConvTranspose",
                image,
                weights,
                group_i=channels,
                strides_i=[scale, scale],
                pads_i=pads,
            )

        def constant(values: list[int]) -> Any:
            return g.op("Constant", value_t=torch.tensor(values))

        area = g.op("Slice", g.op("Shape", x), constant([2]), constant([4]))
        shape = g.op("Concat", constant([1, 1]), area, axis_i=0)
        ones = g.op("ConstantOfShape", shape, value_t=torch.ones(1))
        return g.op("Div", spread(x, 3), spread(ones, 1))

    return symbolic

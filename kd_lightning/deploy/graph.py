"""A network as an ONNX graph of dynamic height and width, in memory.

ONNX Runtime and OpenVINO both run this graph, at run time and after `kd-export`.
"""

import copy
import io
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.models.network import Network

OPSET = 18
PIL_CUBIC = -0.5  # the coefficient a of Pillow's bicubic kernel


class _AnySize(nn.Module):
    """Pads to the network's stride by replication inside the graph, as students do outside it:
    a traced graph has no branches, so the padding must be part of it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.stride = network.stride
        self.factor = network.scale if network.takes_lr else 1

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return self.network(x)
        height, width = x.shape[-2], x.shape[-1]
        pads = (0, -width % self.stride, 0, -height % self.stride)
        sr = self.network(F.pad(x, pads, mode="replicate"))
        return sr[..., : height * self.factor, : width * self.factor]


class _FourPixels(nn.Module):
    """A 3x3 convolution to `few` channels that makes 2x2 pixels at a time: the same numbers from a
    4x4 kernel at stride 2 and a pixel-shuffle. A CPU multiplies for 16 output channels at once, so
    for 3 of them the plain form wastes 13 lanes; this one takes 16 taps for 12 lanes instead of 36,
    which made the frame of a StudentCNN 4 to 6 % faster in OpenVINO."""

    few = 4

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        fan_out, fan_in = plain.weight.shape[:2]
        self.wide = nn.Conv2d(fan_in, 4 * fan_out, 4, stride=2)
        weight = plain.weight.new_zeros(fan_out, 2, 2, fan_in, 4, 4)
        for row in range(2):
            for column in range(2):
                weight[:, row, column, :, row : row + 3, column : column + 3] = (
                    plain.weight.detach()
                )
        bias = plain.bias if plain.bias is not None else plain.weight.new_zeros(fan_out)
        self.wide.weight = nn.Parameter(weight.flatten(0, 2))
        self.wide.bias = nn.Parameter(bias.detach().repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        out = F.pixel_shuffle(self.wide(F.pad(x, (1, 2, 1, 2))), 2)
        return out[..., :height, :width]

    @classmethod
    def fits(cls, layer: nn.Module) -> bool:
        return (
            isinstance(layer, nn.Conv2d)
            and layer.out_channels <= cls.few
            and (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
            and (layer.dilation, layer.groups, layer.padding_mode) == ((1, 1), 1, "zeros")
        )


def for_cpu(network: Network) -> Network:
    """A copy that computes the same, with convolutions to few channels in the form that CPUs run
    faster (`_FourPixels`)."""
    network = copy.deepcopy(network)
    for name, layer in list(network.named_modules()):
        if _FourPixels.fits(layer):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, _FourPixels(layer))
    return network


def to_onnx(network: Network) -> bytes:
    """Serialised ONNX model: "input" (B,3,H,W) float32 to "output", as the network computes it."""
    example = torch.zeros(1, 3, 64, 64)
    axes = {name: {0: "batch", 2: "height", 3: "width"} for name in ("input", "output")}
    buffer = io.BytesIO()
    torch.onnx.register_custom_op_symbolic(
        "aten::_upsample_bicubic2d_aa",
        _bicubic_as_deconvolution(network.scale),
        OPSET,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, but needs no onnx
        torch.onnx.export(
            _AnySize(for_cpu(network)).eval(),
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

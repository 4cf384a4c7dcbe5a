"""A stack of 3x3 convolutions with ReLU between them that trains fast on a CPU."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.models.rep import RepConv

PART = 8  # samples; what a layer of 16 channels writes for 8 crops of 128x128 fits in a cache


class ConvolutionStack(nn.Sequential):
    """Convolutions and activations, an `nn.Sequential` in all respects.

    Where it trains on a CPU and all its activations are ReLU, it takes another path to the same
    output and gradients: the batch goes through all layers in parts that fit in the processor's
    caches, and each kernel is made and cast once a step.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled() and x.device.type == "cpu"):
            return super().forward(x)
        if not all(map(_plain, self)):
            return super().forward(x)
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else x.dtype
        parameters: list[Tensor] = []
        for layer in list(self)[::2]:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            parameters += [layer.kernel() if isinstance(layer, RepConv) else layer.weight]
            parameters += [layer.bias]
        return _Stack.apply(x.to(dtype), *parameters)


def _plain(layer: nn.Module) -> bool:
    """Whether a layer does nothing but what `_Stack` does."""
    watched = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks
    kind = type(layer)
    known = kind in (nn.ReLU, nn.Conv2d) or (kind is RepConv and not layer.int8)
    return known and not watched


class _Stack(torch.autograd.Function):
    """x, kernel, bias, kernel, bias, ...: convolutions in x's precision, ReLU between them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            x = x.contiguous(memory_format=torch.channels_last)
            cast = [parameter.to(x.dtype) for parameter in parameters]
            layers = list(zip(cast[::2], cast[1::2], strict=True))
            kept, outputs = [], []
            for part in x.split(PART):
                for kernel, bias in layers[:-1]:
                    kept.append(part)
                    part = F.conv2d(part, kernel, bias, padding=1).relu_()
                kept.append(part)
                outputs.append(F.conv2d(part, *layers[-1], padding=1))
            ctx.save_for_backward(*cast[::2], *kept)
            return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        depth = (len(ctx.needs_input_grad) - 1) // 2
        kernels, kept = ctx.saved_tensors[:depth], ctx.saved_tensors[depth:]
        sums: list[Tensor | None] = [None] * (2 * depth)
        wide = torch.promote_types(grad.dtype, torch.float32)
        inputs = []
        for start, part in enumerate(grad.split(PART)):
            layers = kept[start * depth : (start + 1) * depth]
            part = part.contiguous(memory_format=torch.channels_last)
            for number in reversed(range(depth)):
                wanted = (number > 0 or ctx.needs_input_grad[0], True, True)
                part, *found = _convolution_backward(part, layers[number], kernels[number], wanted)
                if number > 0:  # what ReLU put out as 0 passes nothing on
                    mask = torch.ops.aten.threshold_backward.grad_input
                    mask(part, layers[number], 0, grad_input=part)
                for place, value in enumerate(found, 2 * number):
                    before = sums[place]
                    sums[place] = value.to(wide) if before is None else before + value
            inputs.append(part)
        return (torch.cat(inputs) if ctx.needs_input_grad[0] else None, *sums)


def _convolution_backward(
    grad: Tensor, x: Tensor, kernel: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of a 3x3 convolution's input, kernel and bias."""
    geometry = ([len(kernel)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, x, kernel, *geometry, list(wanted)
    )
    return found

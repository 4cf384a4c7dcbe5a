"""What every network of this project states about itself."""

from copy import deepcopy
from typing import Self

import torch
from torch import nn

from kd_lightning.models.rep import RepConv


class Network(nn.Module):
    """A restoration network: `forward` maps float (B,3,H,W) in [0, 1] to an unclamped image.

    Attributes:
        scale: HR pixels per LR pixel.
        takes_lr: true if the input is the LR image, and the output `scale` times larger; false
            if the input is the interpolated image, and the output of the same shape.
        radius: pixels of the input, to each side, that one output pixel depends on.
        multiple_of: grid of the input, in pixels, on which tiles must start.
    """

    scale: int
    takes_lr: bool
    radius: int
    multiple_of: int

    def fuse(self) -> Self:
        """A copy of the same output with plain convolutions."""
        plain = deepcopy(self)
        for name, layer in self.named_modules():
            if isinstance(layer, RepConv):
                plain.set_submodule(name, layer.fuse())
        return plain

    @torch.no_grad()
    def fuse_and_round(self) -> Self:
        """The network to write down: `fuse`, each parameter rounded to a number that bfloat16
        holds exactly, so that in bf16 only activations are rounded."""
        network = self.fuse()
        for parameter in network.parameters():
            parameter.copy_(parameter.bfloat16())
        return network

    def load_fused(self, plain: Self) -> None:
        """Take over the output of a network that is `fuse`: all branches stay."""
        self.load_state_dict(plain.state_dict(), strict=False)
        for name, layer in self.named_modules():
            if isinstance(layer, RepConv):
                layer.load_fused(plain.get_submodule(name))  # type: ignore[arg-type]

"""What every network of this project states about itself."""

from torch import nn


class Network(nn.Module):
    """A restoration network: `forward` maps float (B,3,H,W) in [0, 1] to an unclamped image.

    Attributes:
        scale: HR pixels per LR pixel.
        takes_lr: true if the input is the LR image, and the output `scale` times larger; false
            if the input is the interpolated image, and the output of the same shape.
        radius: pixels of the input, to each side, that one output pixel depends on.
        stride: grid of the input on which tiles must start.
    """

    scale: int
    takes_lr: bool
    radius: int
    stride: int

    def folded(self) -> "Network":
        """The network to deploy, of the same output: itself, unless it trains in another form."""
        return self

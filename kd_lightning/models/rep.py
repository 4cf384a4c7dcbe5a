"""Structural re-parameterization: a convolution that is more to train and the same to run."""

import torch
from torch import Tensor, nn

from kd_lightning.models.int8 import Int8Conv, rounded, rounded_zero_sum


class RepConv(nn.Conv2d):
    """A 3x3 convolution (zero padding 1) that trains as a sum of linear branches.

    Branches: 3x3; 1x1; 1x1 then 3x3 at twice the channels; 1x1 then scaled Sobel (both directions)
    and Laplacian filters; identity where the channels allow it. The edge-oriented block of Zhang
    et al. 2021, "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile
    Devices", without its inner biases, so that the sum is one kernel exactly at the borders too.
    The branches are summed in the space of kernels at each step, so that training costs little
    more than a plain convolution (Hu et al. 2022, "Online Convolutional Re-parameterization").

    Args:
        zero_sum_groups: number of groups of input channels over each of which the kernel sums to
            zero; 0: it sums to anything.
        int8: round the kernel as an `Int8Conv` does; `fuse` gives that one.
    """

    masks: Tensor
    same: Tensor
    blind: Tensor  # 1, or 0 since a kernel was taken over that sums to something; in checkpoints

    def __init__(
        self, fan_in: int, fan_out: int, zero_sum_groups: int = 0, int8: bool = False
    ) -> None:
        super().__init__(fan_in, fan_out, 3, padding=1)
        self.int8 = int8
        self.zero_sum_groups = zero_sum_groups
        if zero_sum_groups:
            self.register_buffer("blind", torch.ones(()))
        self.point = nn.Parameter(nn.Conv2d(fan_in, fan_out, 1).weight.flatten(1) / 3)
        self.expand = nn.Parameter(nn.Conv2d(fan_in, 2 * fan_out, 1).weight.flatten(1))
        self.squeeze = nn.Parameter(nn.Conv2d(2 * fan_out, fan_out, 3).weight)
        self.edge = nn.Parameter(nn.Conv2d(fan_in, 3 * fan_out, 1).weight.view(3, fan_out, fan_in))
        self.edge_scale = nn.Parameter(1e-3 * torch.randn(3, fan_out, 1))
        sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        laplacian = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])
        centre = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])
        masks = torch.stack([sobel, sobel.T, laplacian, centre])
        self.register_buffer("masks", masks, persistent=False)
        same = torch.eye(fan_out, fan_in) * (fan_in == fan_out)
        self.register_buffer("same", same, persistent=False)

    def kernel(self) -> Tensor:
        """The one 3x3 kernel (fan_out, fan_in, 3, 3) that the branches amount to."""
        # In float32 whatever the training precision, and as few operations as it takes: there are
        # as many of them for each layer and step as there are in the rest of the network.
        with torch.autocast(self.weight.device.type, enabled=False):
            taps = self.squeeze.permute(0, 2, 3, 1).flatten(0, 2) @ self.expand
            wide = taps.view(self.out_channels, 3, 3, self.in_channels).permute(0, 3, 1, 2)
            points = torch.cat([self.edge_scale * self.edge, (self.point + self.same)[None]])
            narrow = points.flatten(1).T @ self.masks.flatten(1)
            weight = self.weight + wide + narrow.view_as(self.weight)
            if not self.zero_sum_groups:
                return weight
            groups = weight.reshape(len(weight), self.zero_sum_groups, -1)
            return (groups - self.blind * groups.mean(dim=2, keepdim=True)).view_as(weight)

    def rounded_kernel(self) -> Tensor:
        """`kernel`, rounded where the layer is `int8`."""
        kernel = self.kernel()
        if not self.int8:
            return kernel
        if self.zero_sum_groups and self.blind:
            return rounded_zero_sum(kernel, self.zero_sum_groups)
        return rounded(kernel)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.rounded_kernel(), self.bias)

    @torch.no_grad()
    def fuse(self) -> nn.Conv2d:
        """The plain convolution of the same output."""
        layer = Int8Conv if self.int8 else nn.Conv2d
        plain = layer(self.in_channels, self.out_channels, 3, padding=1)
        plain.load_state_dict({"weight": self.rounded_kernel(), "bias": self.bias})
        return plain

    @torch.no_grad()
    def load_fused(self, plain: nn.Conv2d) -> None:
        """Take over the output of a plain convolution: the 3x3 branch makes up for the others. If
        `plain` sees flat areas, so does this one from now on."""
        if self.zero_sum_groups:
            sums = plain.weight.reshape(len(plain.weight), self.zero_sum_groups, -1).sum(dim=2)
            self.blind *= sums.abs().max() <= 1e-5
        weight = self.weight + plain.weight - self.kernel()
        self.load_state_dict({"weight": weight, "bias": plain.bias}, strict=False)

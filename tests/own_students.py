"""Students as a user writes them, in a module that is not of the package."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.models import students
from kd_lightning.models.network import Network


class PlainStudent(nn.Module):
    """Not derived from Network: states the four attributes that have no default."""

    takes_lr = False
    multiple_of = 1
    radius = 2

    def __init__(self, scale: int = 2, width: int = 6) -> None:
        super().__init__()
        self.scale = scale
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class StudentCNN(students.StudentCNN):
    """Named like one of ours, with another forward."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.tanh(self.body(x))


class OwnFast(Network):
    """The layers of StudentFast, written and named otherwise, with its declarations."""

    takes_lr = False

    def __init__(self, scale: int = 2, width: int = 32, depth: int = 9, factor: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.multiple_of = self.unshuffle_factor = factor
        self.radius = factor * depth + factor - 1
        channels = [3 * factor**2, *[width] * (depth - 1), 3 * factor**2]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(channels):
            layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        side = self.multiple_of
        padded = F.pad(x, (0, -width % side, 0, -height % side), mode="replicate")
        detail = F.pixel_shuffle(self.body(F.pixel_unshuffle(padded, side)), side)
        return x + detail[..., :height, :width]


class UndeclaredFast(OwnFast):
    """As OwnFast, of which it says nothing."""

    def __init__(self, scale: int = 2, width: int = 32, depth: int = 9) -> None:
        super().__init__(scale, width, depth)
        self.unshuffle_factor = 0


class Forgetful(PlainStudent):
    """Its output depends on something that is neither an argument nor in its state."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__(scale)
        self.strength = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return x + self.strength * self.body(x)


class Squeezed(PlainStudent):
    """Takes sides of a multiple of 12, and cannot train on one image at a time."""

    multiple_of = 12

    def __init__(self, scale: int = 2, int8: bool = False) -> None:
        super().__init__(scale)
        self.int8 = int8
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3))

    def forward(self, x: Tensor) -> Tensor:
        assert not (x.shape[-2] % 12 or x.shape[-1] % 12)
        return x + self.body(x) * self.squeeze(x)


class Seeded(PlainStudent):
    """Draws fixed weights from a number that is no size."""

    def __init__(self, seed: int, scale: int = 2, width: int = 6) -> None:
        super().__init__(scale, width)
        generator = torch.Generator().manual_seed(seed)
        kernel = torch.rand(3, 3, 3, 3, generator=generator) / 27
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + F.conv2d(x, self.kernel, padding=1)


class Layered(PlainStudent):
    """Its arguments size what is no weight: layers that hold little, and a table."""

    def __init__(self, layers: int = 1, table: int = 1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.PReLU() for _ in range(layers))
        self.register_buffer("table", torch.zeros(table), persistent=False)

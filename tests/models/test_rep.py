"""kd_lightning.models.rep."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.models.rep import RepConv


def branches(block: RepConv, x: Tensor) -> Tensor:
    """The output of a RepConv with each branch run as convolutions of its own."""
    edges = [
        F.conv2d(
            F.conv2d(x, point[..., None, None]),
            (scale * mask.flatten()).view(-1, 1, 3, 3),
            padding=1,
            groups=len(point),
        )
        for point, scale, mask in zip(block.edge, block.edge_scale, block.masks[:3], strict=True)
    ]
    y = F.conv2d(x, block.weight, block.bias, padding=1) + torch.stack(edges).sum(0)
    y = y + F.conv2d(F.conv2d(x, block.expand[..., None, None]), block.squeeze, padding=1)
    y = y + F.conv2d(x, block.point[..., None, None])
    return y + x if x.shape[1] == y.shape[1] else y


@pytest.mark.parametrize(("fan_in", "fan_out"), [(12, 32), (16, 16)])
def test_fused_kernel_equals_the_branches_run_apart(fan_in: int, fan_out: int) -> None:
    torch.manual_seed(2)
    block = RepConv(fan_in, fan_out)
    torch.nn.init.normal_(block.edge_scale)
    x = torch.randn(2, fan_in, 9, 7)
    torch.testing.assert_close(block(x), branches(block, x), atol=1e-5, rtol=1e-5)

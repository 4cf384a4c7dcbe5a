import pytest
import torch

pytest.importorskip("av")

from kd_lightning.deploy.backends import Runner


@pytest.fixture(scope="session")
def identity() -> Runner:
    """A student that repeats each pixel twice along rows and columns."""

    def frame(small: torch.Tensor) -> torch.Tensor:
        return small.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)

    return Runner(
        run=lambda x: x,
        name="identity",
        device=torch.device("cpu"),
        scale=2,
        takes_lr=False,
        radius=0,
        multiple_of=1,
        frame=frame,
    )

"""Weights without a trained student: random, with a last layer that adds visible detail."""

from pathlib import Path

import pytest
import torch

from kd_lightning.deploy.artifact import save_artifact
from kd_lightning.models.students import StudentCNN, StudentFast


@pytest.fixture(scope="session")
def fast() -> StudentFast:
    torch.manual_seed(3)
    return StudentFast(width=8, depth=3).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def fast_weights(tmp_path_factory: pytest.TempPathFactory, fast: StudentFast) -> Path:
    path = tmp_path_factory.mktemp("weights") / "fast.safetensors"
    return save_artifact(path, fast, {"width": 8, "depth": 3}, {"note": "random"})


@pytest.fixture(scope="session")
def half_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(4)
    arguments = {"process": "half", "residual": True}
    path = tmp_path_factory.mktemp("weights") / "half.safetensors"
    return save_artifact(path, StudentCNN(**arguments), arguments)

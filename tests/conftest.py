"""Fixtures that tests of several folders share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from kd_lightning.compat import mend_torchvision

torch.set_num_threads(2)
mend_torchvision()  # tests import lightning before kd_lightning


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with development photos that lies beside a developer's checkout."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of every test go to a folder of its own."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("KD_LIGHTNING_HOME", str(folder))
    monkeypatch.setenv("WANDB_MODE", "offline")
    os.environ.pop("WANDB_API_KEY", None)
    return folder


@pytest.fixture(autouse=True)
def no_handler_of_ended_children() -> Iterator[None]:
    """Take back the SIGCHLD handler that torch's data loader installs. It runs on the alternate
    signal stack, which a library of the extras leaves dangling: the next child to end would end
    this process with a segmentation fault, seen when all tests share one process."""
    yield
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A real photograph, (512,512,3) uint8."""
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def photo_tensor(photo: np.ndarray) -> Tensor:
    """The same as (1,3,512,512) float32 in [0, 1]."""
    return torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    """Pieces of a real photograph in the layout of data=photos, with stand-in teacher outputs
    (HR slightly dimmed, so that no test mistakes one for the other)."""
    root = tmp_path_factory.mktemp("photos")
    corners = {"train": [(0, 0), (60, 120), (200, 160)], "valid": [(100, 250)]}
    for split, places in corners.items():
        for number, (top, left) in enumerate(places, start=1):
            hr = photo[top : top + 100, left : left + 120]
            for kind, image in (("HR", hr), ("teacher", (hr * 0.97).astype(np.uint8))):
                folder = root / f"{split}_{kind}"
                folder.mkdir(exist_ok=True)
                Image.fromarray(image).save(folder / f"{number:04d}.png")
    return root

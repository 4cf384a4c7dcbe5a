"""Fixtures that tests of several folders share."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from kd_lightning.compat import patch_torchvision
from kd_lightning.models.artifact import save_artifact
from kd_lightning.models.students import StudentCNN, StudentFast
from tests.photos import write_photos

SS_DISABLE = 2  # of Linux's sigaltstack(2)


class StackDescription(ctypes.Structure):
    """stack_t of Linux."""

    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


torch.set_num_threads(2)
# What a shell runs in its background ignores Ctrl-C, and so would the processes of tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
patch_torchvision()  # tests import lightning before kd_lightning


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
    # W&B's process of these tests would hold the runs of programs that they kill.
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    os.environ.pop("WANDB_API_KEY", None)
    return folder


@pytest.fixture(autouse=True)
def no_dangling_signal_stack() -> Iterator[None]:
    """Switch the alternate signal stack off, which a library of the extras leaves dangling: torch's
    handler of ended loader processes would run on it and end this process with a segmentation
    fault, seen when all tests share one process. The handler is taken back after each test."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.sigaltstack(ctypes.byref(StackDescription(None, SS_DISABLE, 0)), None)
    yield
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that write many files: whether they are durable is tested elsewhere."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


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
    """Pieces of a real photograph and stand-in teacher outputs, in the layout of data=photos."""
    root = tmp_path_factory.mktemp("photos")
    write_photos(root, photo)
    return root


# Weights without a trained student: random, with a last layer that adds visible detail.


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


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """A display without a screen."""
    if not shutil.which("Xvfb"):
        pytest.skip("needs Xvfb")
    pytest.importorskip("tkinter")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "320x240x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as numbers:
        number = numbers.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait(10)

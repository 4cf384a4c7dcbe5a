"""Fixtures that tests of several folders share."""

import os
from pathlib import Path

import pytest


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

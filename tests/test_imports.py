"""--import of kd-train and kd-prepare, taken out of what Hydra reads."""

import os
import subprocess
import sys

import pytest

from kd_lightning.errors import UserError
from kd_lightning.imports import VARIABLE, named, without_imports


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")


def test_modules_are_taken_out_of_a_command_line_and_reach_other_processes() -> None:
    words = ["--import", "own.net", "-m", "seed=1,2", "--import=more", "--import", "own.net"]
    assert without_imports(words) == ["-m", "seed=1,2"]
    assert named() == ["own.net", "more"]
    code = (
        "import sys; from kd_lightning.imports import *; without_imports(sys.argv); print(named())"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == str(named())


def test_without_the_option_nothing_changes() -> None:
    words = ["--config-dir", "mine", "name=--import", "+x=1"]
    assert without_imports(words) == words and named() == []
    assert os.environ[VARIABLE] == ""


@pytest.mark.parametrize("words", [["--import"], ["seed=1", "--import="]])
def test_an_option_without_a_module_is_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match="--import: name a module"):
        without_imports(words)

"""Files name classes; nothing that they name is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kd_lightning.errors import UserError
from kd_lightning.models.lookup import find_class, import_modules, qualified_name
from kd_lightning.models.students import StudentCNN
from kd_lightning.models.swinir import SwinIR
from tests import own_students
from tests.runs import ROOT


def test_names_of_old_files_are_ours() -> None:
    assert find_class("StudentCNN", "f") is StudentCNN
    assert find_class("SwinIR", "f") is SwinIR


@pytest.mark.parametrize(
    "network_class", [StudentCNN, own_students.StudentCNN, own_students.PlainStudent]
)
def test_qualified_name_finds_the_class_itself(network_class: type) -> None:
    assert find_class(qualified_name(network_class()), "f") is network_class


@pytest.mark.parametrize(
    "name",
    ["os.path", "pathlib.Path", "kd_lightning.models.students.F", "kd_lightning.models.students."],
)
def test_what_is_no_network_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"^f: its network is a "):
        find_class(name, "f")


def test_modules_are_not_imported_for_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "absent_package.py"
    module.write_text("from torch import nn\nclass Student(nn.Module): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"--import absent_package$"):
        find_class("absent_package.Student", "f")
    assert "absent_package" not in sys.modules
    import_modules(["absent_package"])
    assert find_class("absent_package.Student", "f").__name__ == "Student"
    del sys.modules["absent_package"]


def test_module_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--import no_such_package: ModuleNotFoundError"):
        import_modules(["no_such_package"])


def test_a_module_that_needs_lightning_is_imported(tmp_path: Path) -> None:
    """In a process of its own, where nothing has made torchvision importable before."""
    (tmp_path / "needs_lightning.py").write_text("import lightning\n")
    code = "from kd_lightning.models.lookup import import_modules as i; i(['needs_lightning'])"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

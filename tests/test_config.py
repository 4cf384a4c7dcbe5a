"""What `python train.py` says to a user who got something wrong: one line, exit status 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import ROOT


def run_train(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "train.py"), f"hydra.run.dir={folder}", *overrides]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("loss.alhpa=0.5", "unknown key loss.alhpa; did you mean loss.alpha?"),
        ("+loss.teacher_wait=1", "did you mean loss.teacher_weight?"),
        ("student=studnet_fast", "did you mean student_fast?"),
        ("loss.alpha=1.5", "loss.alpha=1.5 is outside [0, 1]"),
        ("data=photos", "data.root"),
        ("scale=9", "scale=9"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path: Path, override: str, expected: str) -> None:
    result = run_train(tmp_path, override, "teacher=none", "logger=csv")
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert expected in last
    assert "Traceback" not in result.stderr


def test_missing_data_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    result = run_train(tmp_path, f"data.root={tmp_path}/nowhere", "teacher=none", "logger=csv")
    assert result.returncode == 2, result.stderr
    assert "prepare.py data=div2k" in result.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.glob("**/*.ckpt"))

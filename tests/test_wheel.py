"""The installed package: a wheel built from a clean clone, in an environment of its own.

The environment is made by `venv` and holds the wheel alone; a .pth file lets it see the packages
that run the tests, because installing torch again would take minutes and a network. Such a file
does not process the .pth files of the folder that it names, so that an editable installation of
this project there stays unseen.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.runs import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the console scripts of an environment that the wheel is installed in."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout to clone")
    folder = tmp_path_factory.mktemp("wheel")
    call("git", "clone", "--quiet", str(ROOT), str(folder / "clone"))
    options = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    build = ("wheel", *options, "--no-build-isolation", "--wheel-dir", str(folder))
    call(sys.executable, "-m", "pip", *build, str(folder / "clone"))
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    target = ("--python", str(scripts / "python"))
    call(sys.executable, "-m", "pip", *target, "install", *options, str(wheel))
    (packages,) = (folder / "env").glob("**/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return scripts


@pytest.fixture(scope="module")
def trained(scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that `kd-train experiment=quickstart`, shortened, ran in, and what it said."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shortened = ("debug=fast", "data.subset=1", "data.batch_size=2", "logger=csv")
    shortened += ("data.test.unseen=${data.root}/valid_HR",)  # spares the teacher two images
    out = call(scripts / "kd-train", "experiment=quickstart", *shortened, cwd=folder)
    return folder, out


def call(*command: str | Path, cwd: Path | None = None) -> str:
    """What the command said; it must succeed. This checkout is not on its path."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if cwd is not None:
        environment["KD_LIGHTNING_HOME"] = str(cwd / "home")
    result = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_wheel_brings_its_configuration(scripts: Path, tmp_path: Path) -> None:
    code = (
        "import kd_lightning.conf, importlib.resources as r; "
        "print(r.files('kd_lightning.conf'), *(p.name for p in r.files('kd_lightning.conf')"
        ".joinpath('student').iterdir()))"
    )
    said = call(scripts / "python", "-c", code, cwd=tmp_path)
    assert "student_tiny.yaml" in said
    assert str(scripts.parent) in said


def test_kd_train_runs_outside_the_clone_and_logs_there(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    (run,) = (folder / "logs" / "quickstart").iterdir()
    left = {path.name for path in run.iterdir()}
    assert {"student.safetensors", "metrics.json", "metrics.csv", "images", ".hydra"} <= left


def test_console_says_each_thing_once(trained: tuple[Path, str]) -> None:
    lines = [line.strip() for line in trained[1].splitlines() if line.strip()]
    for noise in ("GPU available", "TPU available", "Tip", "INFO", "litlogger", "Trainer.fit"):
        assert not [line for line in lines if noise in line]
    for start in ("student", "teacher", "data", "loss", "training", "run folder", "artifact"):
        found = [line for line in lines if line.startswith(f"{start:<11} ")]
        assert len(found) == 1, (start, found)
    assert len([line for line in lines if "RGB-SSIM" in line]) == 1


def test_kd_enhance_takes_what_kd_train_left(
    scripts: Path, trained: tuple[Path, str], photo: np.ndarray
) -> None:
    folder, _ = trained
    (artifact,) = folder.glob("logs/quickstart/*/student.safetensors")
    Image.fromarray(photo[:40, :50]).save(folder / "in.png")
    options = ("-o", "out.png", "--weights", artifact, "--backend", "torch")
    call(scripts / "kd-enhance", "in.png", *options, cwd=folder)
    assert Image.open(folder / "out.png").size == (100, 80)

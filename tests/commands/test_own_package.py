"""A student of a package of the user's own, through the command lines."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from kd_lightning.benchmark import __main__ as benchmark
from kd_lightning.benchmark import video
from kd_lightning.benchmark.calls import __main__ as calls
from kd_lightning.commands import enhance as enhance_cli
from kd_lightning.commands import export as export_cli
from kd_lightning.commands import prepare as prepare_cli
from kd_lightning.commands import train as train_cli
from kd_lightning.errors import UserError
from kd_lightning.imports import VARIABLE, named
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import super_resolve
from kd_lightning.models.lookup import import_modules
from tests.runs import CONF

CODE = """
from torch import nn

class MyStudent(nn.Module):
    scale, takes_lr, radius, multiple_of = 2, False, 2, 1

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, x):
        return x + self.layers(x)

class Liar(MyStudent):
    unshuffle_factor = 2

    def __init__(self, width):
        super().__init__(width)
        self.body = nn.Conv2d(12, 12, 1)
"""
PIXELS = np.random.default_rng(5).integers(0, 256, (14, 19, 3), np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Artifacts of both classes; afterwards their module is not imported, as in a new program."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_package.py").write_text(CODE)
    (folder / "save.py").write_text(
        "from kd_lightning.models.artifact import save_artifact\n"
        "import my_package\n"
        "for name in ('MyStudent', 'Liar'):\n"
        "    network = getattr(my_package, name)(width=6)\n"
        "    save_artifact(f'{name}.safetensors', network, {'width': 6})\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.chdir(folder)
        exec((folder / "save.py").read_text(), {})
        sys.modules.pop("my_package")
        yield {name: folder / f"{name}.safetensors" for name in ("MyStudent", "Liar")}
        sys.modules.pop("my_package", None)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.fromarray(PIXELS).save(tmp_path / "in.png")
    return tmp_path / "in.png"


def test_class_that_is_not_imported_is_refused_with_the_remedy(
    weights: dict[str, Path], image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sys.modules.pop("my_package", None)
    target = tmp_path / "out.png"
    command = [str(image), "-o", str(target), "--weights", str(weights["MyStudent"])]
    assert enhance_cli.main(command) == 2
    error = capsys.readouterr().err
    assert "is a my_package.MyStudent, which is not known here" in error
    assert "--import my_package" in error
    assert error.count("\n") == 1
    assert not target.exists()


@pytest.mark.parametrize("suffix", ["safetensors", "onnx", "xml"])
def test_enhanced_image_is_torchs(
    weights: dict[str, Path], image: Path, tmp_path: Path, suffix: str
) -> None:
    """By the artifact, and by exports of it, which need the class no more."""
    pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    file, extra = weights["MyStudent"], ["--import", "my_package"]
    if suffix != "safetensors":
        file = tmp_path / f"student.{suffix}"
        assert export_cli.main([str(weights["MyStudent"]), "-o", str(file), *extra]) == 0
        extra = []
    out = tmp_path / "out.png"
    command = [str(image), "-o", str(out), "--weights", str(file), *extra, "--precision", "fp32"]
    assert enhance_cli.main(command) == 0
    import_modules(["my_package"])
    network, _ = load_artifact(weights["MyStudent"])
    lr = torch.from_numpy(PIXELS).permute(2, 0, 1)[None].float() / 255
    expected = (super_resolve(network, lr).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    assert np.abs(np.asarray(Image.open(out)).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("command", [enhance_cli, export_cli, benchmark, calls, video])
def test_commands_that_read_weights_take_import(
    command: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the error of `find_class` advises."""
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "--import MODULE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words"),
    [(benchmark, []), (calls, ["--clips", "none"]), (video, ["none.mp4"])],
)
def test_benchmarks_import_first(
    command: ModuleType, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*words, "--import", "absent_package"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("benchmark: --import absent_package: ") and error.count("\n") == 1


@pytest.mark.parametrize("command", [prepare_cli, train_cli])
def test_commands_of_hydra_take_the_modules_out_before_it(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(sys, "argv", ["kd", "seed=1", "--import", "my_package", "-m"])
    started = []
    monkeypatch.setattr(command, "run", lambda: started.append(sys.argv))
    command.main()
    assert started == [["kd", "-m", "seed=1"]] and named() == ["my_package"]


def test_preparation_imports_what_the_command_names(
    weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.fromarray(np.tile(PIXELS, (2, 2, 1))).save(tmp_path / "photos" / f"{number}.png")
    words = ["data=folder", f"data.root={tmp_path}/photos", f"data.cache_dir={tmp_path}/cache"]
    words += ["data.crop_size=12", "teacher=call", f"teacher.weights={weights['MyStudent']}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("prepare", overrides=words)
    sys.modules.pop("my_package", None)
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(UserError, match="on the command line: --import my_package"):
        prepare_cli.run(cfg)
    monkeypatch.setenv(VARIABLE, "my_package")
    prepare_cli.run(cfg)
    assert len(list((tmp_path / "cache").rglob("teacher*/**/*.png"))) == 3


def test_network_that_is_not_what_it_states_ends_the_command(
    weights: dict[str, Path], image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the first of many images, in one line, and not by skipping each."""
    Image.fromarray(PIXELS).save(tmp_path / "second.png")
    out = tmp_path / "out"
    command = [str(image), str(tmp_path / "second.png"), "-o", f"{out}/", "--import", "my_package"]
    command += ["--weights", str(weights["Liar"]), "--backend", "torch", "--precision", "fp32"]
    assert enhance_cli.main(command) == 2
    error = capsys.readouterr().err
    assert error.count("Liar in torch cpu fp32: differs from torch") == 1
    assert "skipped" not in error
    assert not list(out.glob("*.png"))


def test_scale_that_was_never_trained_is_said(
    weights: dict[str, Path], image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(image), "-o", str(tmp_path / "out.png"), "--import", "my_package"]
    command += ["--weights", str(weights["MyStudent"]), "--backend", "torch", "--scale", "1"]
    assert enhance_cli.main(command) == 0
    assert "warning: scale 1: these weights were trained for scale 2" in capsys.readouterr().err

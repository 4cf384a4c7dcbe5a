"""Files for a browser. The engines that read them are tested in tests/web."""

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from kd_lightning.commands import export as export_cli
from kd_lightning.deploy import browser
from kd_lightning.deploy.browser import GOLDEN, golden_frame, read_browser
from kd_lightning.deploy.export import export
from kd_lightning.deploy.plain_body import plain_body
from kd_lightning.errors import UserError
from kd_lightning.files import SHIPPED_WEIGHTS
from kd_lightning.models.artifact import load_artifact, save_artifact
from kd_lightning.models.network import fuse_and_round
from kd_lightning.models.students import StudentCNN, StudentDirect, StudentFast
from tests.own_students import OwnFast

TINY = SHIPPED_WEIGHTS / "student_tiny.safetensors"


def test_what_a_file_holds_is_the_shipped_network(tmp_path: Path) -> None:
    assert export(TINY, tmp_path / "s.kdw")["largest difference"] <= 1e-6
    network, _ = load_artifact(TINY)
    x = torch.rand(2, 3, 13, 18)
    with torch.inference_mode():
        assert (read_browser(tmp_path / "s.kdw")(x) - network(x)).abs().max() <= 1e-6


def test_header_and_tensors_are_as_web_readme_has_them(tmp_path: Path) -> None:
    export(TINY, tmp_path / "mine.kdw")
    with safe_open(tmp_path / "mine.kdw", framework="np") as file:
        stated = json.loads(file.metadata()["kd_web"])
        golden = {key: file.get_tensor(f"golden.{key}") for key in ("lr", "sr")}
    layers = stated.pop("layers")
    assert stated == {
        "format": 2,
        "name": "mine",
        "scale": 2,
        "takes_lr": False,
        "factor": 2,
        "radius": 19,
        "degradation": "bicubic",
        "parameters": 19724,
    }
    assert len(layers) == 9
    assert layers[0] == {"in": 12, "out": 16, "kernel": 3, "activation": "relu"}
    assert layers[-1] == {"in": 16, "out": 12, "kernel": 3, "activation": "none"}
    assert golden["lr"].shape == (*GOLDEN, 3)
    assert golden["sr"].shape == (2 * GOLDEN[0], 2 * GOLDEN[1], 3)
    nearest = golden["lr"].repeat(2, axis=0).repeat(2, axis=1).astype(int)
    assert 2 < np.abs(golden["sr"] - nearest).mean() < 40  # restored, not merely repeated


def test_8_bit_layers_keep_whole_weights_steps_and_tops(tmp_path: Path) -> None:
    export(SHIPPED_WEIGHTS / "student_micro.safetensors", tmp_path / "s.kdw")
    with safe_open(tmp_path / "s.kdw", framework="np") as file:
        stated = json.loads(file.metadata()["kd_web"])
        layer = {part: file.get_tensor(f"layers.1.{part}") for part in ("weight", "step", "top")}
        assert not {f"layers.6.{part}" for part in ("slope", "top")} & set(file.keys())
    assert stated["takes_lr"] and (stated["factor"], stated["radius"]) == (2, 7)
    activations = [layer["activation"] for layer in stated["layers"]]
    assert activations == 6 * ["relu8"] + ["none"]
    network = fuse_and_round(load_artifact(SHIPPED_WEIGHTS / "student_micro.safetensors")[0])
    assert layer["weight"].dtype == np.int8 and layer["top"] == network.body[3].top.numpy()
    floats = layer["weight"] * layer["step"][:, None, None, None]
    assert (floats == network.body[2].weight.detach().numpy()).all()


def test_a_network_whose_output_is_rounded_to_8_bits_is_refused() -> None:
    network = StudentDirect(width=8, depth=2, int8=True)
    network.body.append(deepcopy(network.body[1]))
    network(torch.rand(1, 3, 8, 8))
    with pytest.raises(UserError, match="layer 3 of its body"):
        plain_body(network, Path("s.kdw"))


def test_golden_frame_shows_every_channel_and_border() -> None:
    frame = golden_frame().numpy()
    assert frame.min() == 0 and frame.max() == 255
    for axis in (0, 1, 2):
        assert (np.abs(np.diff(frame.astype(int), axis=axis)).max() > 100).all()


def test_students_of_ones_own_are_exported_by_what_they_state(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = OwnFast().eval()
    body = plain_body(network, tmp_path / "s.kdw")
    x = torch.rand(1, 3, 11, 9)
    with torch.inference_mode():
        assert (body(x) - fuse_and_round(network)(x)).abs().max() <= 1e-6


def test_a_prelu_is_exported(tmp_path: Path) -> None:
    torch.manual_seed(2)
    arguments = {"width": 8, "depth": 3, "activation": "prelu"}
    network = fuse_and_round(StudentFast(**arguments)).eval()
    save_artifact(tmp_path / "s.safetensors", network, arguments)
    assert export(tmp_path / "s.safetensors", tmp_path / "s.kdw")["largest difference"] <= 1e-6


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_other_activations_are_refused_by_name(tmp_path: Path, activation: str) -> None:
    arguments = {"width": 8, "depth": 3, "activation": activation}
    save_artifact(tmp_path / "s.safetensors", StudentFast(**arguments), arguments)
    with pytest.raises(
        UserError, match=rf"(?i)s\.kdw: .*layer 1 of its body, {activation}.*, is no"
    ):
        export(tmp_path / "s.safetensors", tmp_path / "s.kdw")
    assert [file.name for file in tmp_path.iterdir()] == ["s.safetensors"]


@pytest.mark.parametrize(
    "change",
    [
        {"kernel_size": 1, "padding": 0},
        {"padding_mode": "reflect"},
        {"dilation": 2, "padding": 2},
        {"groups": 4},
    ],
)
def test_other_convolutions_are_refused(fast: StudentFast, change: dict) -> None:
    network = StudentFast(width=8, depth=3)
    network.body[2] = nn.Conv2d(8, 8, **{"kernel_size": 3, "padding": 1, **change})
    with pytest.raises(UserError, match="layer 2 of its body"):
        plain_body(network, Path("s.kdw"))


def test_networks_without_a_declared_body_are_refused(tmp_path: Path) -> None:
    save_artifact(tmp_path / "s.safetensors", StudentCNN(), {})
    with pytest.raises(UserError, match=r"s\.kdw: .* states neither unshuffle_factor nor"):
        export(tmp_path / "s.safetensors", tmp_path / "s.kdw")


def test_a_file_that_disagrees_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faithful = browser.read_browser

    def wrong(path: Path):
        body = faithful(path)
        return lambda x: body(x) + 0.005 * (x.shape[-1] % 2)  # wrong for odd widths only

    monkeypatch.setattr(browser, "read_browser", wrong)
    with pytest.raises(UserError, match=r"s\.kdw: differs from torch by 0\.005"):
        export(TINY, tmp_path / "s.kdw")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_takes_the_students_name(tmp_path: Path, capsys) -> None:
    assert export_cli.main([str(TINY), "-o", f"{tmp_path / 'web'}/"]) == 0
    assert "student_tiny.kdw written (largest difference" in capsys.readouterr().out
    assert export_cli.main(["student_tiny", "-o", str(tmp_path / "web")]) == 2
    assert "student_tiny.kdw exists; use --force" in capsys.readouterr().err

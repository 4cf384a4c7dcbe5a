"""What an artifact promises to those who read it."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.models.artifact import load_artifact, save_artifact
from kd_lightning.models.network import Network
from kd_lightning.models.students import StudentCNN, StudentFast


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        (StudentCNN(scale=3, residual=True), {"scale": 3, "residual": True}),
        (StudentCNN(process="half"), {"process": "half"}),
        (StudentFast(width=8, depth=3), {"width": 8, "depth": 3}),
    ],
)
def test_loaded_network_computes_what_the_saved_one_did(
    tmp_path: Path, network: nn.Module, arguments: dict
) -> None:
    path = save_artifact(tmp_path / "a" / "s.safetensors", network, arguments, {"psnr_y": 36.5})
    loaded, metadata = load_artifact(path)
    x = torch.rand(1, 3, 13, 17)
    assert torch.equal(loaded(x), network(x))
    assert metadata["psnr_y"] == 36.5
    assert metadata["scale"] == network.scale
    assert metadata["takes_lr"] is network.takes_lr
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_header_is_plain_strings_of_json(tmp_path: Path) -> None:
    path = save_artifact(tmp_path / "s.safetensors", StudentCNN(), {}, {"note": "é", "n": [1]})
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    assert json.loads(header["architecture"]) == "StudentCNN"
    assert json.loads(header["n"]) == [1]


def test_nothing_is_left_beside_the_artifact(tmp_path: Path) -> None:
    save_artifact(tmp_path / "s.safetensors", StudentCNN(), {})
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


def test_wrong_arguments_are_refused_before_writing(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    with pytest.raises(UserError, match="tensors do not fit StudentFast"):
        save_artifact(path, StudentFast(width=8), {"width": 16})
    with pytest.raises(UserError, match="arguments do not fit"):
        save_artifact(path, StudentFast(width=8), {"breadth": 8})

    class Unknown(Network):
        pass

    with pytest.raises(UserError, match="unknown architecture 'Unknown'"):
        save_artifact(path, Unknown(), {})
    assert not path.exists()


def test_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    with pytest.raises(UserError, match=r"bad\.safetensors: no such file"):
        load_artifact(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"bad\.safetensors: not a readable safetensors"):
        load_artifact(path)
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"bad\.safetensors: not an artifact"):
        load_artifact(path)


def test_truncated_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    path = save_artifact(tmp_path / "s.safetensors", StudentCNN(), {})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a readable"):
        load_artifact(path)
    path.write_bytes(content.replace(b"StudentCNN", b"StudentABC"))
    with pytest.raises(UserError, match="unknown architecture 'StudentABC'"):
        load_artifact(path)
    path.write_bytes(content.replace(b"body.0.bias", b"body.9.bias"))
    with pytest.raises(UserError, match="tensors do not fit"):
        load_artifact(path)

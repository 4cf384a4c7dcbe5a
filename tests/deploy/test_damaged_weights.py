"""Weights that were damaged, crafted or never converged make no image, and are named."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from kd_lightning.commands import enhance, export
from kd_lightning.deploy.backends import open_weights
from kd_lightning.deploy.export import compare
from kd_lightning.errors import UserError
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.students import StudentFast


def altered(weights: Path, path: Path, factor: float = 1.0, **header: object) -> Path:
    """A copy with every tensor multiplied by `factor` and keys of the header replaced, as somebody
    writes it who does not state a digest."""
    with safe_open(weights, framework="pt") as file:
        metadata = {key: json.loads(value) for key, value in file.metadata().items()} | header
        metadata.pop("tensors_sha256")
        tensors = {name: file.get_tensor(name) * factor for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {key: json.dumps(value) for key, value in metadata.items()})
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)).save(
        tmp_path / "in.png"
    )
    return tmp_path / "in.png"


@pytest.mark.parametrize(
    ("factor", "message"),
    [(float("nan"), "holds NaN or inf"), (float("inf"), "holds NaN"), (1e30, "give NaN or inf")],
)
def test_an_artifact_that_gives_no_numbers_is_refused(
    tmp_path: Path, fast_weights: Path, photo: Path, factor: float, message: str, capsys
) -> None:
    bad = altered(fast_weights, tmp_path / "bad.safetensors", factor)
    out = tmp_path / "out.png"
    assert enhance.main([str(photo), "-o", str(out), "--weights", str(bad)]) == 2
    assert export.main([str(bad), "-o", str(tmp_path / "a.onnx")]) == 2
    for line in capsys.readouterr().err.splitlines():
        assert str(bad) in line and message in line
    assert sorted(tmp_path.iterdir()) == [bad, photo]


def test_an_onnx_file_that_gives_no_numbers_writes_no_image(
    tmp_path: Path, fast_weights: Path, photo: Path, capsys
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    bad, out = tmp_path / "bad.onnx", tmp_path / "out.png"
    assert export.main([str(fast_weights), "-o", str(bad)]) == 0
    model = onnx.load(bad)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.raw_data = np.full(tuple(tensor.dims), np.nan, np.float32).tobytes()
    onnx.save(model, bad)
    capsys.readouterr()
    assert enhance.main([str(photo), "-o", str(out), "--weights", str(bad)]) == 1
    error = capsys.readouterr().err
    assert f"in.png: {bad}: these weights give NaN" in error
    assert not out.exists()


def test_an_openvino_file_that_holds_no_numbers_is_refused(
    tmp_path: Path, fast_weights: Path
) -> None:
    pytest.importorskip("openvino")
    assert export.main([str(fast_weights), "-o", str(tmp_path / "a.xml")]) == 0
    constants = ElementTree.parse(tmp_path / "a.xml").findall(".//layer[@type='Const']/data")
    largest = max(constants, key=lambda data: int(data.attrib["size"])).attrib
    assert largest["element_type"] == "f32"
    with (tmp_path / "a.bin").open("r+b") as file:
        file.seek(int(largest["offset"]))
        file.write(np.full(int(largest["size"]) // 4, np.nan, np.float32).tobytes())
    with pytest.raises(UserError, match=r"a\.xml: .* holds NaN"):
        open_weights(tmp_path / "a.xml")


def test_an_openvino_file_without_its_weights_beside_it_names_them(
    tmp_path: Path, fast_weights: Path
) -> None:
    pytest.importorskip("openvino")
    assert export.main([str(fast_weights), "-o", str(tmp_path / "a.xml")]) == 0
    (tmp_path / "a.bin").unlink()
    with pytest.raises(UserError, match=r"a\.xml: a\.bin, which holds its weights, is not beside"):
        open_weights(tmp_path / "a.xml")


@torch.inference_mode()
def test_an_export_that_gives_no_numbers_is_not_close(fast: StudentFast) -> None:
    with pytest.raises(UserError, match="differs from torch by nan"):
        compare(fast, lambda x: fast(x) * float("nan"), 1e-5, Path("a.onnx"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"width": 1_000_000, "depth": 3},
        {"width": 4000, "depth": 9},
        {"width": 8, "depth": 10**9},
        {"width": "8", "depth": 3},
        {"width": [8], "depth": 3},
        {"breadth": 8},
        {"width": 8, "depth": 3, "scale": 0},
        {"width": 8, "depth": 3, "scale": "2"},
        [8, 3],
    ],
)
def test_arguments_that_do_not_fit_the_weights_are_refused_before_memory_is_taken(
    tmp_path: Path, fast_weights: Path, arguments: object
) -> None:
    bad = altered(fast_weights, tmp_path / "bad.safetensors", arguments=arguments)
    with pytest.raises(UserError, match=r"bad\.safetensors: ") as error:
        load_artifact(bad)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 0},
        {"scale": "2"},
        {"radius": -1},
        {"radius": 10**9},
        {"multiple_of": 0},
        {"multiple_of": 2.0},
        {"takes_lr": 1},
        {"more": 1},
    ],
)
def test_a_crafted_header_of_an_export_is_refused(
    tmp_path: Path, fast_weights: Path, change: dict[str, object]
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "a.onnx"
    assert export.main([str(fast_weights), "-o", str(path)]) == 0
    model = onnx.load(path)
    header = {entry.key: entry.value for entry in model.metadata_props}
    header["model_info"] = json.dumps(json.loads(header["model_info"]) | change)
    onnx.helper.set_model_props(model, header)
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"a\.onnx: not an export of kd-export"):
        open_weights(path)

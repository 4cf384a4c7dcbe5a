"""An export computes what the trained network computes, or it is not written."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kd_lightning.commands import export as export_cli
from kd_lightning.deploy import export as exporting
from kd_lightning.deploy import int8
from kd_lightning.deploy.backends import onnx as onnx_backend
from kd_lightning.deploy.backends import open_weights
from kd_lightning.deploy.enhance import enhance
from kd_lightning.deploy.export import export
from kd_lightning.deploy.openvino_graph import read_graph
from kd_lightning.errors import UserError
from kd_lightning.files import SHIPPED_WEIGHTS
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.network import fuse_and_round
from kd_lightning.models.students import StudentFast
from tests.deploy.engine import integer_convolutions

PIXELS = np.random.default_rng(1).integers(0, 256, (31, 45, 3), np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth random pictures to calibrate with."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(2):
        small = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), np.uint8)
        picture = Image.fromarray(small).resize((300, 280), Image.Resampling.BICUBIC)
        picture.save(folder / f"{seed}.png")
    return folder


def levels_apart(weights: Path, reference: Path) -> int:
    pictures = []
    for file in (weights, reference):
        runner = open_weights(file, device="cpu", precision="fp32")
        pictures.append(enhance(runner, PIXELS).astype(int))
    return int(np.abs(pictures[0] - pictures[1]).max())


@pytest.mark.parametrize("name", ["s.onnx", "s.xml"])
def test_export_gives_the_same_picture(
    tmp_path: Path, fast_weights: Path, half_weights: Path, name: str
) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    for weights in (fast_weights, half_weights):
        assert export(weights, tmp_path / name)["largest difference"] <= 1e-5
        assert levels_apart(tmp_path / name, weights) <= 1


def test_half_weights_take_half_the_space(tmp_path: Path, fast_weights: Path) -> None:
    pytest.importorskip("openvino")
    export(fast_weights, tmp_path / "full.xml")
    export(fast_weights, tmp_path / "half.xml", "fp16")
    full, half = ((tmp_path / f"{name}.bin").stat().st_size for name in ("full", "half"))
    assert half < 0.6 * full
    assert levels_apart(tmp_path / "half.xml", fast_weights) <= 1


@pytest.mark.slow
def test_int8_stays_close(tmp_path: Path, fast_weights: Path, photos: Path, monkeypatch) -> None:
    pytest.importorskip("nncf")
    monkeypatch.setattr(int8, "CALIBRATION_TILES", 16)
    measured = export(fast_weights, tmp_path / "s.xml", "int8", photos)
    assert measured["psnr to fp32"] > 38
    assert b"FakeQuantize" in (tmp_path / "s.xml").read_bytes()
    assert integer_convolutions(read_graph(tmp_path / "s.xml")) > 0


def test_calibration_tiles_are_what_training_feeds(
    photos: Path, fast: StudentFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "CALIBRATION_TILES", 15)
    tiles = int8.calibration_tiles(photos, fast)
    assert len(tiles) == 15
    assert all(tile.shape == (1, 3, 128, 128) for tile in tiles)
    assert 0 <= min(float(t.min()) for t in tiles) < max(float(t.max()) for t in tiles) <= 1


def test_calibration_takes_each_image_in_equal_parts_whatever_its_kind(
    tmp_path: Path, fast: StudentFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is smaller than a tile takes no part, and no share, away."""
    monkeypatch.setattr(int8, "CALIBRATION_TILES", 8)
    levels = np.full((140, 150), 128, np.uint8)
    Image.fromarray(levels).save(tmp_path / "grey.png")
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.new("RGBA", (128, 128), (128, 128, 128, 9)).save(tmp_path / "clear.png")
    Image.new("RGB", (128, 129), (128, 128, 128)).save(tmp_path / "colour.png")
    for width, height in ((1, 40), (1, 1), (127, 400), (400, 127)):
        Image.new("RGB", (width, height)).save(tmp_path / f"{width}x{height}.png")
    tiles = int8.calibration_tiles(tmp_path, fast)
    assert len(tiles) == 8
    for tile in tiles:
        assert tile.shape == (1, 3, 128, 128)
        torch.testing.assert_close(tile, torch.full_like(tile, 128 / 255))


def test_a_damaged_image_to_calibrate_with_is_named(tmp_path: Path, fast: StudentFast) -> None:
    (tmp_path / "bad.png").touch()
    with pytest.raises(UserError, match=r"bad\.png: no image, or a truncated"):
        int8.calibration_tiles(tmp_path, fast)


@pytest.mark.parametrize(
    ("place", "trouble"),
    [
        (None, "int8 needs real images: give --calibration FOLDER"),
        ("nowhere", "nowhere: no such folder"),
        ("file.png", "file.png: is no folder"),
        ("above", r"above: no images in this folder itself: 1 entry left out \(1 folder\)"),
        ("above/empty", "empty: no images in this folder itself: it is empty"),
        ("small", "small: no image of at least 128 pixels a side"),
    ],
)
def test_int8_without_images_is_refused_by_what_is_wrong_with_the_folder(
    tmp_path: Path, fast_weights: Path, place: str | None, trouble: str
) -> None:
    (tmp_path / "above" / "empty").mkdir(parents=True)
    (tmp_path / "small").mkdir()
    for name in ("file.png", "small/a.png"):
        Image.new("RGB", (1, 40)).save(tmp_path / name)
    folder = None if place is None else tmp_path / place
    with pytest.raises(UserError, match=trouble):
        export(fast_weights, tmp_path / "s.xml", "int8", folder)
    assert not list(tmp_path.glob("s.*"))


def test_an_export_that_disagrees_is_not_written(
    tmp_path: Path, fast_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    faithful = onnx_backend.onnx_runner

    def wrong(model: str):
        run = faithful(model)
        return lambda x: run(x) + 1e-3 * (x.shape[-1] % 2)  # wrong for odd widths only

    monkeypatch.setattr(onnx_backend, "onnx_runner", wrong)
    with pytest.raises(UserError, match=r"differs from torch by 0\.001"):
        export(fast_weights, tmp_path / "s.onnx")
    assert list(tmp_path.iterdir()) == []


def checkpoint(path: Path, network: StudentFast) -> Path:
    """As Lightning writes it, with the run's configuration as hyperparameters."""
    node = {"_target_": "kd_lightning.models.students.StudentFast", "width": 8, "depth": 3}
    weights: dict[str, Tensor] = {f"student.{k}": v for k, v in network.state_dict().items()}
    weights["val_scores.total"] = torch.zeros(1)
    content = {"hyper_parameters": {"student": node}, "state_dict": weights, "global_step": 7}
    torch.save(content, path)
    return path


def test_checkpoint_becomes_an_artifact(tmp_path: Path, fast: StudentFast) -> None:
    source = checkpoint(tmp_path / "best.ckpt", fast)
    export(source, tmp_path / "s.safetensors")
    network, metadata = load_artifact(tmp_path / "s.safetensors")
    x = torch.rand(1, 3, 9, 12)
    assert torch.equal(network(x), fuse_and_round(fast)(x))
    assert metadata["steps"] == 7


def test_a_reparameterized_student_is_exported_fused(tmp_path: Path) -> None:
    shape = {"width": 8, "depth": 3}
    network = StudentFast(**shape, rep=True).eval()
    node = {"_target_": "kd_lightning.models.students.StudentFast", **shape, "rep": True}
    weights = {f"student.{k}": v for k, v in network.state_dict().items()}
    torch.save(
        {"hyper_parameters": {"student": node}, "state_dict": weights}, tmp_path / "best.ckpt"
    )
    export(tmp_path / "best.ckpt", tmp_path / "s.safetensors")
    fused, _ = load_artifact(tmp_path / "s.safetensors")
    assert type(fused) is StudentFast
    x = torch.rand(1, 3, 9, 12)
    with torch.inference_mode():
        assert (fused(x) - fuse_and_round(network)(x)).abs().max() <= 1e-5


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_swinir_is_not_exported_for_one_size(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UserError, match="fits one size only"):
        export(SHIPPED_WEIGHTS / "swinir_small.safetensors", tmp_path / f"s{suffix}")


@pytest.mark.parametrize("name", ["student.onnx", "sd.pt", "basicsr.pth", "student.xml"])
def test_what_is_no_source_of_an_export_is_told_what_is(tmp_path: Path, name: str) -> None:
    torch.save({"params": {"w": torch.zeros(1)}}, tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: kd-export reads the student\.safetensors or a"):
        export(tmp_path / name, tmp_path / "out.onnx")


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": {"w": torch.zeros(1)}},
        {"hyper_parameters": {}, "state_dict": {}},
        {"hyper_parameters": {"student": {"width": 8}}, "state_dict": {}},
        {"hyper_parameters": {"student": {"_target_": "a.B"}}, "state_dict": 3},
        {"hyper_parameters": None},
        [1, 2],
        torch.zeros(3),
        b"Dear reader",
        b"",
    ],
    ids=str,
)
def test_other_checkpoints_are_refused_in_one_line_with_what_to_give(
    tmp_path: Path, content: object
) -> None:
    path = tmp_path / "other.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    said = r"other\.ckpt: not a checkpoint.*; give the checkpoints/best\.ckpt or the student\.safe"
    with pytest.raises(UserError, match=said) as refusal:
        exporting.load_any(path)
    assert "\n" not in str(refusal.value)


def test_bad_checkpoints_are_named(tmp_path: Path, fast: StudentFast) -> None:
    path = tmp_path / "bad.ckpt"
    with pytest.raises(UserError, match=r"bad\.ckpt: no such file"):
        exporting.load_any(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"bad\.ckpt: not a checkpoint"):
        exporting.load_any(path)
    checkpoint(path, StudentFast(width=4, depth=3))
    with pytest.raises(UserError, match=r"bad\.ckpt: tensors do not fit"):
        exporting.load_any(path)


def test_metadata_goes_into_the_export(tmp_path: Path, fast_weights: Path) -> None:
    onnx = pytest.importorskip("onnx")
    export(fast_weights, tmp_path / "s.onnx")
    props = {p.key: p.value for p in onnx.load(tmp_path / "s.onnx").metadata_props}
    assert json.loads(props["architecture"]) == "kd_lightning.models.students.StudentFast"
    assert json.loads(props["note"]) == "random"


@pytest.mark.parametrize("name", ["s.onnx", "s.xml"])
def test_exports_of_the_first_version_still_open(
    tmp_path: Path, fast_weights: Path, name: str
) -> None:
    """Their header says "traits" and "stride"."""
    onnx, openvino = pytest.importorskip("onnx"), pytest.importorskip("openvino")
    traits = json.dumps({"scale": 2, "takes_lr": False, "radius": 7, "stride": 2})
    export(fast_weights, tmp_path / f"new_{name}")
    if name == "s.onnx":
        graph = onnx.load(tmp_path / "new_s.onnx")
        onnx.helper.set_model_props(graph, {"traits": traits})
        onnx.save_model(graph, tmp_path / name)
    else:
        old = openvino.Core().read_model(tmp_path / "new_s.xml")
        old.set_rt_info({"traits": traits}, ["kd_lightning"])
        openvino.save_model(old, tmp_path / name, compress_to_fp16=False)
    assert "model_info" not in (tmp_path / name).read_bytes().decode(errors="ignore")
    runner = open_weights(tmp_path / name, device="cpu", precision="fp32")
    assert (runner.scale, runner.multiple_of, runner.radius) == (2, 2, 7)
    assert levels_apart(tmp_path / name, fast_weights) <= 1


def test_header_of_another_program_is_refused(tmp_path: Path, fast_weights: Path) -> None:
    onnx = pytest.importorskip("onnx")
    export(fast_weights, tmp_path / "s.onnx")
    graph = onnx.load(tmp_path / "s.onnx")
    onnx.helper.set_model_props(graph, {"author": "another"})
    onnx.save_model(graph, tmp_path / "s.onnx")
    with pytest.raises(UserError, match=r"s\.onnx: not an export of kd-export"):
        open_weights(tmp_path / "s.onnx", device="cpu")


def test_command_line(tmp_path: Path, fast_weights: Path, capsys) -> None:
    pytest.importorskip("openvino")
    target = tmp_path / "s.xml"
    assert export_cli.main([str(fast_weights), "-o", str(target)]) == 0
    assert "largest difference" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.bin", "s.xml"]
    assert export_cli.main([str(fast_weights), "-o", str(target)]) == 2
    assert "--force" in capsys.readouterr().err
    assert export_cli.main([str(fast_weights), "-o", str(tmp_path / "s.tflite")]) == 2
    assert capsys.readouterr().err.startswith("kd-export: ")

"""Shaders for mpv, run by FFmpeg's libplacebo on a Vulkan device in software."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.deploy import mpv
from kd_lightning.deploy.export import export
from kd_lightning.errors import UserError
from kd_lightning.files import SHIPPED_WEIGHTS
from kd_lightning.models.artifact import save_artifact
from kd_lightning.models.interpolate import super_resolve, upscale
from kd_lightning.models.network import Network, fuse_and_round
from kd_lightning.models.students import StudentCNN, StudentDirect, StudentFast

DEVICE = ("-init_hw_device", "vulkan=gpu:llvmpipe", "-filter_hw_device", "gpu")


def ffmpeg(*arguments: str) -> bool:
    """Whether FFmpeg does it."""
    command = ["ffmpeg", "-v", "error", "-y", *DEVICE, *arguments]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def libplacebo() -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg")
    upload = "format=rgba,hwupload,libplacebo,hwdownload,format=rgba"
    picture = ("-f", "lavfi", "-i", "color=s=8x8", "-vf", upload, "-frames:v", "1")
    if not ffmpeg(*picture, "-f", "null", "-"):
        pytest.skip("no libplacebo in ffmpeg, or no Vulkan in software")


def played(shader: Path, frame: np.ndarray, scale: int) -> np.ndarray:
    """What libplacebo shows of the frame (h,w,3) uint8, enlarged."""
    small, large = shader.with_name("small.png"), shader.with_name("large.png")
    Image.fromarray(frame).save(small)
    placebo = (
        f"libplacebo=w=iw*{scale}:h=ih*{scale}:custom_shader_path={shader}:dithering=none"
        ":format=rgba"
    )
    chain = f"format=rgba,hwupload,{placebo},hwdownload,format=rgba"
    assert ffmpeg("-i", str(small), "-vf", chain, "-frames:v", "1", "-update", "1", str(large))
    return np.asarray(Image.open(large).convert("RGB"))


@pytest.mark.slow
@pytest.mark.usefixtures("libplacebo")
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (StudentFast, {"width": 5, "depth": 3}),
        (StudentFast, {"scale": 3, "stride": 3, "width": 4, "depth": 2}),
        (StudentDirect, {"width": 5, "depth": 3}),
        (StudentDirect, {"width": 6, "depth": 3, "int8": True}),
    ],
    ids=["scale-2", "scale-3", "lr", "lr-8-bit"],
)
def test_a_shader_equals_torch_within_a_level(
    tmp_path: Path, photo: np.ndarray, kind: type[Network], arguments: dict[str, int]
) -> None:
    torch.manual_seed(6)
    network = kind(**arguments)
    network(torch.rand(1, 3, 16, 16))  # 8-bit layers choose their ranges
    network = fuse_and_round(network).eval()
    save_artifact(tmp_path / "s.safetensors", network, arguments)
    export(tmp_path / "s.safetensors", tmp_path / "s.glsl")
    frame = photo[100:121, 180:213].copy()
    output = played(tmp_path / "s.glsl", frame, network.scale).astype(int)
    lr = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        images = (super_resolve(network, lr), upscale(lr, network.scale))
    expected, bicubic = (
        (image[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy() for image in images
    )
    assert np.abs(output - expected).max() <= 1
    assert np.abs(bicubic - expected).max() > 8  # the network's part is seen


def test_literals_are_the_weights_of_the_network(tmp_path: Path) -> None:
    measured = export(SHIPPED_WEIGHTS / "student_tiny.safetensors", tmp_path / "s.glsl")
    assert measured["largest difference"] <= 1e-4
    text = (tmp_path / "s.glsl").read_text()
    assert text.count("//!HOOK MAIN") == 11
    assert text.count("mat4(") == 9 * (3 * 4 + 7 * 4 * 4 + 4 * 3)


def test_whole_weights_of_8_bit_layers_stay_whole(tmp_path: Path) -> None:
    measured = export(SHIPPED_WEIGHTS / "student_micro.safetensors", tmp_path / "s.glsl")
    assert measured["largest difference"] <= 1e-2  # a last bit may turn a rounding
    text = (tmp_path / "s.glsl").read_text()
    assert text.count("roundEven(") == 6 * 4
    assert all("." not in matrix for matrix in re.findall(r"mat4\(([^)]*)\)", text))


def test_a_shader_that_disagrees_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faithful = mpv._numbers
    monkeypatch.setattr(
        mpv, "_numbers", lambda values, digits=6: faithful(0.9 * np.asarray(values), digits)
    )
    with pytest.raises(UserError, match=r"s\.glsl: differs from torch"):
        export(SHIPPED_WEIGHTS / "student_tiny.safetensors", tmp_path / "s.glsl")
    assert list(tmp_path.iterdir()) == []


def test_blocks_of_another_size_than_the_scale_are_refused(tmp_path: Path) -> None:
    arguments = {"scale": 1, "width": 4, "depth": 2}
    save_artifact(tmp_path / "s.safetensors", StudentFast(**arguments), arguments)
    with pytest.raises(UserError, match=r"s\.glsl: .* unshuffle_factor that is the scale"):
        export(tmp_path / "s.safetensors", tmp_path / "s.glsl")


def test_networks_that_are_no_plain_body_are_refused(tmp_path: Path) -> None:
    save_artifact(tmp_path / "s.safetensors", StudentCNN(), {})
    with pytest.raises(UserError, match=r"s\.glsl: .* states neither unshuffle_factor nor"):
        export(tmp_path / "s.safetensors", tmp_path / "s.glsl")

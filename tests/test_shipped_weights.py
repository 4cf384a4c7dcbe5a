"""The weights that ship with the package keep what their README promises."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kd_lightning import quality
from kd_lightning.benchmark import quality as quality_of
from kd_lightning.benchmark.calls.measure import points
from kd_lightning.data.degradations import version_rng
from kd_lightning.data.degradations.camera import film
from kd_lightning.data.degradations.h264 import H264
from kd_lightning.data.degradations.resizing import soften
from kd_lightning.data.samples import SamplePhotos
from kd_lightning.deploy.backends import open_weights
from kd_lightning.deploy.enhance import enhance
from kd_lightning.deploy.export import export
from kd_lightning.files import SHIPPED_WEIGHTS
from kd_lightning.models.artifact import DIGEST, load_artifact
from kd_lightning.models.interpolate import super_resolve, upscale
from kd_lightning.models.network import Network
from kd_lightning.models.pretrained import default_weights, find_weights, shipped

TEACHERS = ("swinir_small", "call_x2")  # their files' hash names outputs that users have cached


def load(name: str) -> Network:
    network, _ = load_artifact(SHIPPED_WEIGHTS / name)
    assert isinstance(network, Network)
    return network


@torch.no_grad()
def set5_scores(folder: Path, restore: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Means over Set5 by the protocol, LR by Pillow itself."""
    rows = []
    for path in sorted((folder / "set5" / "HR").glob("*.png")):
        image = Image.open(path).convert("RGB")
        image = image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))
        small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
        hr, lr = (
            torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
            for picture in (image, small)
        )
        rows.append(quality.scores(restore(lr), hr, 2))
    assert len(rows) == 5
    return {name: float(torch.stack([row[name] for row in rows]).mean()) for name in rows[0]}


def test_bicubic_is_the_published_baseline(shared: Path) -> None:
    scores = set5_scores(shared, lambda lr: upscale(lr, 2))
    assert scores["psnr_y"] == pytest.approx(33.67, abs=0.02)
    assert scores["ssim_rgb"] == pytest.approx(0.9088, abs=5e-4)


@pytest.mark.slow
def test_bundled_teacher_beats_bicubic_by_2_5_db(shared: Path) -> None:
    teacher = load("swinir_small.safetensors")
    scores = set5_scores(shared, lambda lr: super_resolve(teacher, lr))
    assert scores["psnr_y"] >= 33.67 + 2.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "psnr_y", "ssim_rgb"),
    [
        ("student_cnn", 77_379, 36.9, 0.937),
        ("student_fast", 77_000, 37.5, 0.940),
        ("student_tiny", 20_000, 37.0, 0.937),
        ("student_mini", 20_000, 37.1, 0.939),
        ("student_micro", 14_000, 36.8, 0.937),
        ("student_luma", 28_000, 37.35, 0.939),
        ("student_small", 42_000, 37.35, 0.940),
        ("student_midi", 70_000, 37.4, 0.940),
    ],
)
def test_shipped_student_keeps_its_promise(
    shared: Path, name: str, parameters: int, psnr_y: float, ssim_rgb: float
) -> None:
    """At least what experiments/README.md says, and the scores that the file itself states."""
    student, metadata = load_artifact(SHIPPED_WEIGHTS / f"{name}.safetensors")
    assert sum(parameter.numel() for parameter in student.parameters()) <= parameters
    scores = set5_scores(shared, lambda lr: super_resolve(student, lr))
    assert scores["psnr_y"] >= psnr_y
    assert scores["ssim_rgb"] >= ssim_rgb
    assert scores == pytest.approx(metadata["metrics"]["set5"]["student"], abs=2e-3)


@pytest.mark.parametrize(
    "path", sorted(SHIPPED_WEIGHTS.rglob("*.safetensors")), ids=lambda path: path.stem
)
def test_weights_say_how_they_were_made_and_what_they_undo(path: Path) -> None:
    _, metadata = load_artifact(path)
    assert {"metrics", "config_sha256", "loss", "steps", "data", "licence"} <= metadata.keys()
    if path.stem not in TEACHERS:
        assert metadata["degradation"].startswith("call-" if "call" in path.stem else "bicubic")
        assert DIGEST in metadata


@pytest.mark.slow
@pytest.mark.parametrize("path", shipped().values(), ids=lambda path: path.stem)
def test_int8_loses_less_than_a_tenth_of_a_decibel(
    shared: Path, tmp_path: Path, path: Path
) -> None:
    """Quantized on the photographs of scikit-image; scored as a picture that is written."""
    pytest.importorskip("nncf")
    SamplePhotos().fetch(tmp_path, tmp_path)
    export(path, tmp_path / "int8.xml", "int8", tmp_path / "train_HR")
    exact, quantized = (
        quality_of.deployed(open_weights(weights, device="cpu"), 2)
        for weights in (path, tmp_path / "int8.xml")
    )
    losses = []
    for picture in quality_of.pictures(shared / "set5" / "HR"):
        lr, hr = quality_of.read_pair(picture, 2)
        truth = quality_of.to_tensor(hr)
        losses.append(psnr_y(exact(lr, ""), truth) - psnr_y(quantized(lr, ""), truth))
    assert np.mean(losses) < 0.1


def psnr_y(sr: np.ndarray, truth: Tensor) -> float:
    return float(quality.scores(quality_of.to_tensor(sr), truth, 2)["psnr_y"])


# What the weights for calls promise, on a photograph that they never saw; the test clips' figures
# stand in experiments/call.

CALL = ("call_mini_x2", "call_luma_x2", "call_midi_x2", "call_tiny_x2", "call_fast_x2")


def restored(name: str, image: np.ndarray, scale: int) -> Tensor:
    runner = open_weights(SHIPPED_WEIGHTS / f"{name}.safetensors", device="cpu")
    return quality_of.to_tensor(enhance(runner, image, scale))


def received(photo: np.ndarray, scale: int, crf: int) -> np.ndarray:
    """The photograph as the last frame of a call of H.264."""
    pytest.importorskip("av", reason="PyAV (extra video) is not installed")
    coding = next(point for point in points() if point.name == f"h264 crf {crf}")
    clip = film(photo, 5, scale, version_rng(0, "astronaut", 0))
    frames, _ = coding.code([quality_of.pair(frame, scale)[0] for frame in clip], 30.0)
    return frames[-1]


def luma_psnr(sr: Tensor, hr: np.ndarray, scale: int) -> float:
    return float(quality.scores(sr, quality_of.to_tensor(hr), scale)["psnr_y"])


@pytest.mark.parametrize("crf", [18, 23, 28, 33, 38])
@pytest.mark.parametrize("name", CALL)
def test_call_students_never_make_a_coded_frame_worse(
    photo: np.ndarray, name: str, crf: int
) -> None:
    frame = received(photo, 2, crf)
    before = luma_psnr(upscale(quality_of.to_tensor(frame), 2), photo, 2)
    assert luma_psnr(restored(name, frame, 2), photo, 2) > before


SAME_SIZE = ("call_tiny_x1", "call_fast_x1")


@pytest.mark.parametrize("crf", [23, 28, 33, 38])
@pytest.mark.parametrize("name", SAME_SIZE)
def test_same_size_students_mend_coded_frames(photo: np.ndarray, name: str, crf: int) -> None:
    frame = received(photo, 1, crf)
    before = luma_psnr(quality_of.to_tensor(frame), photo, 1)
    assert luma_psnr(restored(name, frame, 1), photo, 1) > before


@pytest.mark.parametrize("name", SAME_SIZE)
def test_same_size_students_cost_a_frame_hardly_coded_a_third_of_a_decibel_at_most(
    photo: np.ndarray, name: str
) -> None:
    """They should cost nothing; experiments/call says why they do."""
    frame = received(photo, 1, 18)
    before = luma_psnr(quality_of.to_tensor(frame), photo, 1)
    assert luma_psnr(restored(name, frame, 1), photo, 1) > before - 1 / 3


@pytest.mark.parametrize("crf", [18, 23, 28])
@pytest.mark.parametrize("name", SAME_SIZE)
def test_same_size_students_do_not_undo_what_a_camera_has_recorded(
    photo: np.ndarray, name: str, crf: int
) -> None:
    """The camera's own codec has changed the picture before a call codes it, hardly so at 18."""
    pytest.importorskip("av", reason="PyAV (extra video) is not installed")
    camera = H264(1, crf=(24, 24), bitrate_share=0.0, presets={"veryfast": 1})
    recorded = np.ascontiguousarray(camera(photo, version_rng(0, "astronaut", 0)))
    frame = received(recorded, 1, crf)
    before = luma_psnr(quality_of.to_tensor(frame), recorded, 1)
    assert luma_psnr(restored(name, frame, 1), recorded, 1) > before + 0.05


@pytest.mark.parametrize("quality_of_jpeg", [30, 50, 75, 90])
@pytest.mark.parametrize("name", SAME_SIZE)
def test_same_size_students_mend_jpeg(photo: np.ndarray, name: str, quality_of_jpeg: int) -> None:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=quality_of_jpeg)
    damaged = np.asarray(Image.open(file))
    before = luma_psnr(quality_of.to_tensor(damaged), photo, 1)
    assert luma_psnr(restored(name, damaged, 1), photo, 1) > before + 0.2


@pytest.mark.parametrize("name", SAME_SIZE)
def test_same_size_students_sharpen_an_interpolated_photograph(
    photo: np.ndarray, name: str
) -> None:
    soft = soften(photo)
    before = luma_psnr(quality_of.to_tensor(soft), photo, 1)
    assert luma_psnr(restored(name, soft, 1), photo, 1) > before + 1.5


@pytest.mark.parametrize("name", SAME_SIZE)
def test_same_size_students_leave_a_sharp_photograph_alone(photo: np.ndarray, name: str) -> None:
    """45 dB between what goes in and what comes out."""
    assert luma_psnr(restored(name, photo, 1), photo, 1) >= 45


@pytest.mark.parametrize("scale", [None, 1, 2])
def test_default_weights_are_trained_for_the_scale_that_is_asked_for(scale: int | None) -> None:
    network, _ = load_artifact(find_weights(default_weights(scale)))
    assert network.scale == (scale or 2)


@pytest.mark.parametrize("name", [*CALL, *SAME_SIZE])
def test_call_weights_say_what_they_were_trained_for(name: str) -> None:
    network, metadata = load_artifact(SHIPPED_WEIGHTS / f"{name}.safetensors")
    assert network.scale == int(name[-1])
    assert metadata["degradation"].startswith("call-")
    assert metadata["recipe"] == f"experiments/call/{name}"

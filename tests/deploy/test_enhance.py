"""The numbers that come out of enhance, whatever the tile, backend and kind of picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lightning.deploy.backends import Runner, cpu_has_bf16, from_network, open_weights
from kd_lightning.deploy.enhance import enhance, enhance_frames
from kd_lightning.errors import UserError
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import super_resolve, upscale
from kd_lightning.models.network import model_info
from kd_lightning.models.pretrained import shipped
from kd_lightning.models.students import StudentCNN, StudentFast
from tests.web.exact import exact

CPU = torch.device("cpu")


def whole(runner: Runner, pixels: np.ndarray, scale: int, tile: int | None = None) -> np.ndarray:
    return enhance(runner, pixels, scale, tile)


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype)


def interpolated(pixels: np.ndarray, scale: int) -> np.ndarray:
    """The project's interpolation of the whole image, to the nearest of 256 levels."""
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    out = (upscale(image, scale).clamp(0, 1) * 255).round().byte()
    return out[0].permute(1, 2, 0).numpy()


@pytest.fixture(scope="module")
def runner(fast: StudentFast) -> Runner:
    return from_network(fast, "torch", CPU, "fp32")


@pytest.fixture(scope="module")
def nothing() -> Runner:
    """A network that changes nothing, so that enhance shows its own arithmetic."""
    return Runner(lambda x: x, "identity", CPU, scale=2, takes_lr=False, radius=3, multiple_of=2)


def test_a_frame_that_one_tile_takes_is_given_out_as_the_runner_made_it(nothing: Runner) -> None:
    """Copies from one order of pixels to another and back took as long as a small student."""
    made = torch.from_numpy(noise(1, 20, 12, 3))
    runner = replace(nothing, frame=lambda small: made)
    assert np.shares_memory(whole(runner, noise(10, 6, 3), 2), made.numpy())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(8, 40), st.sampled_from([1, 2, 3, 4]))
def test_interpolation_is_the_projects_in_any_tiles(
    nothing: Runner, height: int, width: int, tile: int, scale: int
) -> None:
    pixels = noise(height, width, 3)
    apart = whole(nothing, pixels, scale, tile) - interpolated(pixels, scale).astype(int)
    assert np.abs(apart).max() <= 1  # where an exact half is rounded
    assert np.count_nonzero(apart) <= 1e-2 * apart.size + 1


def test_the_network_gets_the_interpolated_image(runner: Runner, fast: StudentFast) -> None:
    pixels = noise(15, 22, 3)
    lr = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    expected = (super_resolve(fast, lr).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    assert np.abs(whole(runner, pixels, 2).astype(int) - expected).max() <= 1
    assert np.mean(whole(runner, pixels, 2) != expected) < 1e-3


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_leave_no_trace(runner: Runner, scale: int, dtype: type) -> None:
    pixels = noise(61, 83, 3, dtype=dtype)
    untiled = whole(runner, pixels, scale, 10_000).astype(int)
    assert np.abs(whole(runner, pixels, scale, 24) - untiled).max() <= 1


def test_alpha_is_interpolated_and_colour_does_not_depend_on_it(runner: Runner) -> None:
    rgb, alpha = noise(20, 30, 3), noise(20, 30, 1, seed=1)
    both = whole(runner, np.concatenate((rgb, alpha), axis=2), 2)
    assert np.array_equal(both[..., 3:], interpolated(alpha, 2))
    assert np.array_equal(both[..., :3], whole(runner, rgb, 2))


def test_grey_stays_grey(nothing: Runner) -> None:
    grey = noise(20, 30, 1)
    apart = whole(nothing, grey, 2) - interpolated(grey, 2).astype(int)
    assert np.abs(apart).max() <= 1


def test_sixteen_bits_are_not_cut_to_eight(nothing: Runner) -> None:
    ramp = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50, 1).repeat(3, axis=2) + 30_000
    out = whole(nothing, ramp, 1)
    assert out.dtype == np.uint16
    assert np.array_equal(out, ramp)


def test_sixteen_bits_of_eight_bit_values_agree_with_eight_bits(runner: Runner) -> None:
    pixels = noise(20, 24, 3)
    deep = whole(runner, pixels.astype(np.uint16) * 257, 1) / 257
    assert np.abs(deep - whole(runner, pixels, 1)).max() <= 0.51


def test_weights_of_the_small_image_refuse_another_scale(half_weights: Path) -> None:
    runner = open_weights(half_weights, "torch", "cpu", "fp32")
    assert whole(runner, noise(9, 11, 3), 2).shape == (18, 22, 3)
    with pytest.raises(UserError, match="only enlarge by 2"):
        whole(runner, noise(9, 11, 3), 1)


@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
@pytest.mark.parametrize(
    "network",
    [StudentCNN(residual=True), StudentCNN(process="half", scale=3), StudentFast(width=8, depth=3)],
    ids=["full", "half", "fast"],
)
def test_every_backend_computes_the_network(backend: str, network: torch.nn.Module) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    runner = from_network(network.eval(), backend, CPU, "fp32")
    for height, width in ((32, 48), (37, 51), (9, 64)):
        x = torch.rand(1, 3, height, width)
        with torch.inference_mode():
            assert (runner(x) - network(x)).abs().max() <= 1e-5


def test_the_teacher_enhances_pictures_too(photo: np.ndarray) -> None:
    runner = open_weights(shipped("swinir_small*")["swinir_small"], "auto", "cpu", "fp32")
    assert runner.name == "torch cpu fp32"
    out = whole(runner, photo[:50, :70], 2)
    assert np.abs(out[::2, ::2].astype(int) - photo[:50, :70]).mean() < 8
    with pytest.raises(UserError, match="cannot run swinir_small"):
        open_weights(shipped("swinir_small*")["swinir_small"], "onnx", "cpu")


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bf16_changes_a_picture_by_one_level(backend: str, name: str, photo: np.ndarray) -> None:
    """By two in less than one of a million values (student_fast). Students of 8 bits are held
    against whole numbers: where a sum lies between two levels, torch's float32 may round it the
    wrong way, in eleven of a million values (student_luma) by two or three levels in the end."""
    pytest.importorskip(backend)
    if not cpu_has_bf16():
        pytest.skip("this CPU has no bfloat16 arithmetic")
    path = shipped()[name]
    in_8_bits = model_info(load_artifact(path)[0]).int8
    if in_8_bits:
        reference = exact(path, photo).astype(int)
    else:
        reference = whole(open_weights(path, "torch", "cpu", "fp32"), photo, 2).astype(int)
    quick = whole(open_weights(path, backend, "cpu", "bf16"), photo, 2)
    apart = np.abs(quick - reference)
    in_floats = in_8_bits and backend == "torch"
    assert 1 <= apart.max() <= (3 if in_floats else 2)
    assert np.mean(apart > 1) <= (1.2e-5 if in_floats else 1e-6)
    assert np.mean(apart > 0) <= 0.02


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "x.pth"}, "must be .safetensors"),
        ({"weights": "x.onnx"}, "no such file"),
        ({"device": "tpu"}, "choose auto, cpu or cuda"),
        ({"precision": "fp16", "device": "cpu"}, "precision=fp16"),
        ({"weights": "x.xml", "backend": "torch"}, "cannot run x.xml"),
    ],
)
def test_impossible_choices_are_refused(fast_weights: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_weights(**{"weights": fast_weights, "backend": "auto", **changes})


def test_auto_names_what_it_took(fast_weights: Path) -> None:
    runner = open_weights(fast_weights, device="cpu")
    assert runner.name.split()[0] in ("openvino", "torch", "onnx")
    assert runner.name.split()[-1] == ("bf16" if cpu_has_bf16() else "fp32")


def test_a_video_is_its_frames(runner: Runner) -> None:
    frames = [noise(10, 14, 3, seed=seed) for seed in range(4)]
    for frame, sr in zip(frames, enhance_frames(runner, frames), strict=True):
        assert np.array_equal(sr, whole(runner, frame, 2))


def test_a_video_takes_the_runners_stream(runner: Runner) -> None:
    fast = replace(runner, stream=lambda frames: (frame[:1] for frame in frames))
    assert [sr.shape for sr in enhance_frames(fast, [noise(10, 14, 3)] * 2)] == [(1, 14, 3)] * 2


@pytest.mark.parametrize("other", [noise(10, 15, 3), noise(10, 14, 1), noise(10, 14, 3) / 255])
def test_frames_of_another_kind_are_refused_by_number(runner: Runner, other: np.ndarray) -> None:
    with pytest.raises(UserError, match="frame 1: "):
        list(enhance_frames(runner, [noise(10, 14, 3), other]))

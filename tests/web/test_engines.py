"""Each engine in a real browser against torch: at most a level apart, at any size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kd_lightning.deploy.export import export
from kd_lightning.models.artifact import load_artifact, save_artifact
from kd_lightning.models.interpolate import super_resolve, upscale
from kd_lightning.models.network import Network, fuse_and_round
from kd_lightning.models.students import StudentFast
from tests.web.chromium import WEB
from tests.web.conftest import STUDENTS, decoded, encoded

NAMES = ("webgpu", "webgl2", "wasm")
ENGINES = [name for name in NAMES if (WEB / "src" / "engines" / f"{name}.js").exists()]
SIZES = [(17, 31), (33, 22)]  # height, width of LR frames; small: the GPU is a CPU here
ALL_SIZES = [(1, 1), (2, 7), (40, 64), *SIZES]
# What no shipped student has: other scales and factors, odd numbers of channels, PReLU, layers that
# one pass or one uniform buffer does not hold, one layer only.
OTHERS = {
    "same-size": {"scale": 1, "width": 6, "depth": 3},
    "scale-3": {"scale": 3, "width": 5, "depth": 3, "activation": "prelu"},
    "factor-3": {"scale": 2, "width": 8, "depth": 2, "stride": 3},
    "wide": {"scale": 2, "width": 64, "depth": 3},
}

RUN = """
async ({ engine, model, frames }) => {
  const { create } = await import(`/src/engines/${engine}.js`);
  const { interpolationOf, loadModel } = await import("/src/model.js");
  const { imageOf, codeOf } = await import("/frames.js");
  const loaded = model ? await loadModel(model)
    : interpolationOf(await loadModel("/models/student_tiny.kdw"));
  const outputs = [];
  for (const frame of frames) {
    const running = await create(loaded, { width: frame.width, height: frame.height });
    await running.process(imageOf(frame));
    outputs.push(codeOf(await running.read()));
    running.dispose();
  }
  return outputs;
}
"""


def rounded(image: torch.Tensor) -> np.ndarray:
    """(1,3,H,W) float to (H,W,3) uint8."""
    return (image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def as_tensor(frame: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255


def crops(photo: np.ndarray, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Of a photograph; the upper half of each is replaced by noise."""
    noise = np.random.default_rng(0).integers(0, 256, photo.shape, np.uint8)
    found = []
    for height, width in sizes:
        crop = photo[100 : 100 + height, 180 : 180 + width].copy()
        crop[: height // 2] = noise[: height // 2, :width]
        found.append(crop)
    return found


def levels_apart(ours: np.ndarray, theirs: np.ndarray) -> int:
    assert ours.shape == theirs.shape
    return int(np.abs(ours.astype(int) - theirs).max())


@torch.inference_mode()
def worst_level(
    page: Any, engine: str, model: str, network: Network, frames: list[np.ndarray]
) -> int:
    """Largest difference between the engine, with the model at this path, and torch."""
    asked = {"engine": engine, "model": model, "frames": [*map(encoded, frames)]}
    outputs = [decoded(output) for output in page.evaluate(RUN, asked)]
    expected = [rounded(super_resolve(network, as_tensor(frame))) for frame in frames]
    return max(map(levels_apart, outputs, expected))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", STUDENTS)
def test_shipped_students_equal_torch_within_a_level(
    page: Any, photo: np.ndarray, engine: str, name: str
) -> None:
    network, _ = load_artifact(STUDENTS[name])
    frames = crops(photo, ALL_SIZES if name == "student_tiny" else SIZES)
    assert worst_level(page, engine, f"/models/{name}.kdw", network, frames) <= 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", OTHERS)
def test_any_plain_body_equals_torch_within_a_level(
    page: Any,
    served: dict[str, bytes],
    tmp_path: Path,
    photo: np.ndarray,
    engine: str,
    name: str,
) -> None:
    torch.manual_seed(5)
    network = fuse_and_round(StudentFast(**OTHERS[name])).eval()
    save_artifact(tmp_path / "s.safetensors", network, OTHERS[name])
    export(tmp_path / "s.safetensors", tmp_path / "s.kdw")
    served[f"/models/{name}.kdw"] = (tmp_path / "s.kdw").read_bytes()
    frames = crops(photo, [(7, 10), (11, 5)])
    assert worst_level(page, engine, f"/models/{name}.kdw", network, frames) <= 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_without_layers_is_the_interpolation(
    page: Any, photo: np.ndarray, engine: str
) -> None:
    (frame,) = crops(photo, [(9, 14)])
    asked = {"engine": engine, "model": None, "frames": [encoded(frame)]}
    (output,) = page.evaluate(RUN, asked)
    assert levels_apart(decoded(output), rounded(upscale(as_tensor(frame), 2))) <= 1

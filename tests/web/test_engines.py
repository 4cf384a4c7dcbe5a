"""Each engine in a real browser against torch: at most a level apart, at any size."""

from typing import Any

import numpy as np
import pytest
import torch

from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import super_resolve
from kd_lightning.models.network import Network
from tests.web.chromium import WEB
from tests.web.conftest import STUDENTS, decoded, encoded

ENGINES = [
    name for name in ("webgpu", "webgl2", "wasm") if (WEB / "src" / "engines" / f"{name}.js").exists()
]
# height, width of LR frames that the engine sees one after the other; small: the GPU is a CPU here
SIZES = [(1, 1), (2, 7), (17, 31), (33, 22), (48, 64)]

RUN = """
async ({ engine, model, frames }) => {
  const { create } = await import(`/src/engines/${engine}.js`);
  const { loadModel } = await import("/src/model.js");
  const { imageOf, codeOf } = await import("/frames.js");
  const loaded = await loadModel(model);
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


@torch.inference_mode()
def by_torch(network: Network, frame: np.ndarray) -> np.ndarray:
    lr = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    sr = super_resolve(network, lr)[0]
    return (sr.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def frames_of(photo: np.ndarray, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Crops of a photograph, the half of each replaced by noise."""
    noise = np.random.default_rng(0).integers(0, 256, photo.shape, np.uint8)
    crops = []
    for height, width in sizes:
        crop = photo[100 : 100 + height, 180 : 180 + width].copy()
        crop[: height // 2] = noise[: height // 2, :width]
        crops.append(crop)
    return crops


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", STUDENTS)
def test_engine_equals_torch_within_a_level(
    page: Any, photo: np.ndarray, engine: str, name: str
) -> None:
    network, _ = load_artifact(STUDENTS[name])
    frames = frames_of(photo, SIZES)
    asked = {"engine": engine, "model": f"/models/{name}.kdw", "frames": [*map(encoded, frames)]}
    outputs = [decoded(output) for output in page.evaluate(RUN, asked)]
    for frame, output in zip(frames, outputs, strict=True):
        expected = by_torch(network, frame)
        assert output.shape == expected.shape
        assert np.abs(output.astype(int) - expected).max() <= 1, frame.shape

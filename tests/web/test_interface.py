"""What web/README.md promises of every engine."""

from typing import Any

import numpy as np
import pytest

from tests.web.conftest import decoded, encoded
from tests.web.test_engines import ENGINES, crops, levels_apart

GPU_ENGINES = [engine for engine in ENGINES if engine != "wasm"]

# One hidden layer of four channels: quick to compile, and visibly not the interpolation.
SETUP = """
  const { create } = await import(`/src/engines/${engine}.js`);
  const { loadModel } = await import("/src/model.js");
  const { imageOf, codeOf } = await import("/frames.js");
  const model = await loadModel("/models/student_tiny.kdw");
  const first = model.layers[0], last = model.layers.at(-1);
  model.layers = [
    { ...first, out: 4, weight: first.weight.slice(0, 4 * 12 * 9), bias: first.bias.slice(0, 4) },
    { ...last, in: 4, weight: last.weight.slice(0, 12 * 4 * 9) },
  ];
"""

SOURCES = f"""
async ({{ engine, frame }}) => {{
  {SETUP}
  const {{ width, height }} = frame;
  const image = imageOf(frame);
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  const element = Object.assign(document.createElement("canvas"), {{ width, height }});
  element.getContext("2d").putImageData(image, 0, 0);
  const video = new VideoFrame(image.data, {{
    format: "RGBX", codedWidth: width, codedHeight: height, timestamp: 0 }});
  const picture = new Image();
  picture.src = element.toDataURL();
  await picture.decode();
  const sources = {{
    ImageData: image, ImageBitmap: await createImageBitmap(image), OffscreenCanvas: canvas,
    HTMLCanvasElement: element, VideoFrame: video, HTMLImageElement: picture }};
  const shown = document.createElement("canvas");
  const running = await create(model, {{ width, height, canvas: shown }});
  const outputs = {{}};
  for (const [name, source] of Object.entries(sources)) {{
    await running.process(source);
    outputs[name] = codeOf(await running.read());
  }}
  const flat = new OffscreenCanvas(2 * width, 2 * height).getContext("2d");
  flat.drawImage(shown, 0, 0);
  outputs.shown = codeOf(flat.getImageData(0, 0, 2 * width, 2 * height));
  const {{ timings, name, description }} = running;
  let refusal = "";
  const larger = new ImageData(width + 1, height);
  await running.process(larger).catch((error) => (refusal = error.message));
  running.dispose();
  return {{ outputs, timings, name, description, refusal }};
}}
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_every_kind_of_source_gives_the_same_output(
    page: Any, photo: np.ndarray, engine: str
) -> None:
    (frame,) = crops(photo, [(9, 14)])
    found = page.evaluate(SOURCES, {"engine": engine, "frame": encoded(frame)})
    outputs = {name: decoded(output) for name, output in found["outputs"].items()}
    for name, output in outputs.items():
        assert levels_apart(output, outputs["ImageData"]) == 0, name
    assert found["refusal"] == "a frame of 15x9 pixels in an engine for 14x9"
    assert found["name"] == engine and found["description"]
    times = found["timings"]
    assert times["total"] == pytest.approx(times["import"] + times["run"]) and times["total"] > 0


COUNT = f"""
async ({{ engine, frame }}) => {{
  {SETUP}
  const counts = {{}};
  const perFrame = /^create(CommandEncoder|View)$/;  // WebGPU has no other way to a canvas
  for (const kind of [GPUDevice, GPUTexture, WebGL2RenderingContext]) {{
    for (const name of Object.getOwnPropertyNames(kind.prototype)) {{
      if (!name.startsWith("create") || perFrame.test(name)) continue;
      const original = kind.prototype[name];
      kind.prototype[name] = function (...values) {{
        counts[name] = (counts[name] ?? 0) + 1;
        return original.apply(this, values);
      }};
    }}
  }}
  const running = await create(model, {{ width: frame.width, height: frame.height }});
  const before = {{ ...counts }};
  for (let i = 0; i < 3; i++) await running.process(imageOf(frame));
  running.dispose();
  return {{ before, after: counts }};
}}
"""


@pytest.mark.parametrize("engine", GPU_ENGINES)
def test_nothing_is_created_per_frame(page: Any, photo: np.ndarray, engine: str) -> None:
    (frame,) = crops(photo, [(9, 14)])
    found = page.evaluate(COUNT, {"engine": engine, "frame": encoded(frame)})
    assert sum(found["before"].values()) >= 6
    assert found["after"] == found["before"]


LOSE = f"""
async ({{ engine, frame, lose }}) => {{
  {SETUP}
  const running = await create(model, {{ width: frame.width, height: frame.height }});
  await running.process(imageOf(frame));
  let told = null;
  running.lost.then((reason) => (told = reason));
  if (!lose) running.dispose();
  else if (engine === "webgpu") running.device.destroy();
  else running.gl.getExtension("WEBGL_lose_context").loseContext();
  const pause = () => new Promise((done) => setTimeout(done, 50));
  for (let i = 0; i < (lose ? 50 : 5) && !told; i++) await pause();
  return told;
}}
"""


@pytest.mark.parametrize("engine", GPU_ENGINES)
def test_a_lost_device_is_told_and_a_disposed_one_is_not(
    page: Any, photo: np.ndarray, engine: str
) -> None:
    (frame,) = crops(photo, [(9, 14)])
    asked = {"engine": engine, "frame": encoded(frame)}
    assert "was lost" in page.evaluate(LOSE, {**asked, "lose": True})
    assert page.evaluate(LOSE, {**asked, "lose": False}) is None


GOLDEN = """
async ({ engine, gain }) => {
  const { create } = await import(`/src/engines/${engine}.js`);
  const { loadModel } = await import("/src/model.js");
  const { goldenDifference } = await import("/src/golden.js");
  const model = await loadModel("/models/student_tiny.kdw");
  const last = model.layers.at(-1);
  last.weight = last.weight.map((value) => gain * value);
  return goldenDifference(create, model);
}
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_the_golden_frame_tells_a_wrong_engine(page: Any, engine: str) -> None:
    assert page.evaluate(GOLDEN, {"engine": engine, "gain": 1}) <= 1
    assert page.evaluate(GOLDEN, {"engine": engine, "gain": 0.5}) > 8


def test_a_damaged_model_is_refused_in_a_sentence(page: Any, served: dict[str, bytes]) -> None:
    whole = served["/models/student_tiny.kdw"]
    load = 'async (path) => (await import("/src/model.js")).loadModel(path).catch((e) => e.message)'
    for content in (
        whole[:5],
        whole[:-1],
        b"\xff" * 16 + whole,
        whole.replace(b"kd_web", b"kd_wab"),
    ):
        served["/models/damaged.kdw"] = content
        assert page.evaluate(load, "/models/damaged.kdw").endswith("not a file of kd-export")
    assert "404" in page.evaluate(load, "/models/none.kdw")

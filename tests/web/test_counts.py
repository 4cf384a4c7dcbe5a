"""What a frame costs on a GPU as counted, against what the engines do and what is published."""

from typing import Any

import pytest

from tests.web.chromium import WEB
from tests.web.test_interface import GPU_ENGINES

COUNT = """
async ([engine, student]) => {
  const { create } = await import(`/src/engines/${engine}.js`);
  const { counts } = await import("/src/counts.js");
  const { loadModel } = await import("/src/model.js");
  const model = await loadModel(`/models/${student}.kdw`);
  model.layers = [model.layers[0], model.layers.at(-1)];
  const found = { passes: 0, memory: 0 };
  const watch = (kind, name, note) => {
    const original = kind.prototype[name];
    kind.prototype[name] = function (...values) {
      note(...values);
      return original.apply(this, values);
    };
  };
  const pass = () => found.passes++;
  const memory = (bytes) => (found.memory += bytes);
  watch(GPUComputePassEncoder, "dispatchWorkgroups", pass);
  watch(GPURenderPassEncoder, "draw", pass);
  watch(WebGL2RenderingContext, "drawArrays", pass);
  watch(GPUDevice, "createBuffer", ({ size }) => memory(size === 32 ? 0 : size));  // sizes only
  watch(GPUDevice, "createTexture", ({ size: [width, height] }) => memory(4 * width * height));
  watch(WebGL2RenderingContext, "bufferData", (_, values) => memory(values.byteLength));
  watch(WebGL2RenderingContext, "texStorage3D", (_, levels, format, width, height, depth) =>
    memory(8 * width * height * depth));
  const frame = new ImageData(11, 7);
  const running = await create(model, { width: 11, height: 7 });
  await running.process(frame);
  running.dispose();
  if (engine === "webgl2") memory(4 * 11 * 7);  // the frame's texture, made anew by each frame
  return { found, counted: counts(engine, model, 11, 7) };
}
"""


@pytest.mark.parametrize("engine", GPU_ENGINES)
@pytest.mark.parametrize("student", ["student_tiny", "student_mini", "call_tiny_x1"])
def test_counts_are_those_of_the_engine(page: Any, engine: str, student: str) -> None:
    answer = page.evaluate(COUNT, [engine, student])
    for name, number in answer["found"].items():
        assert answer["counted"][name] == number > 0, name


TABLE = """
async (names) => {
  const { table } = await import("/src/counts.js");
  const { loadModel } = await import("/src/model.js");
  const models = await Promise.all(names.map((name) => loadModel(`/models/${name}.kdw`)));
  return table(models, [[320, 180], [640, 360], [960, 540]]);
}
"""


def test_the_table_of_counts_is_what_the_code_counts(page: Any) -> None:
    text = (WEB.parent / "experiments" / "web" / "README.md").read_text()
    assert page.evaluate(TABLE, ["student_tiny", "student_mini", "student_fast"]) in text

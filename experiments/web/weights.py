"""Weights of a shader as literals, or in buffers as the engines have them: milliseconds to create
an engine with its first frame (which compiles), and of a frame after it.

python -m experiments.web.weights

In one headless Chromium, whose GPU is SwiftShader; the least of interleaved runs. Writes
weights.json beside itself. What literals gain and how long they compile is SwiftShader's here.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.web.page import blank, sources, write
from kd_lightning.deploy.export import export
from kd_lightning.models.pretrained import shipped
from tests.web.chromium import SWIFTSHADER, WEB

STUDENTS = ("student_micro", "student_tiny")
SIZE = (160, 90)  # of the LR frame
MEASURE = """
async ([student, width, height]) => {
  const { loadModel } = await import("/src/model.js");
  const model = await loadModel(`/models/${student}.kdw`);
  const frame = new ImageData(width, height);
  frame.data.forEach((_, i, data) => (data[i] = i % 4 === 3 ? 255 : Math.random() * 256));
  const found = [];
  for (const engine of ["webgpu", "webgl2"]) {
    const ways = { buffers: "/src", literals: "/literals" };
    const least = { buffers: [Infinity, Infinity], literals: [Infinity, Infinity] };
    const outputs = {};
    for (let round = 0; round < 3; round++) {
      for (const [way, folder] of Object.entries(ways)) {
        const { create } = await import(`${folder}/engines/${engine}.js`);
        const start = performance.now();
        const running = await create(model, { width, height });
        await running.process(frame);
        least[way][0] = Math.min(least[way][0], performance.now() - start);
        for (let n = 0; n < 6; n++) {
          await running.process(frame);
          least[way][1] = Math.min(least[way][1], running.timings.total);
        }
        outputs[way] = (await running.read()).data;
        running.dispose();
      }
    }
    const apart = outputs.buffers.reduce(
      (worst, level, i) => Math.max(worst, Math.abs(level - outputs.literals[i])), 0);
    const round = (value, digits) => Number(value.toFixed(digits));
    const ratio = (place) => round(least.literals[place] / least.buffers[place], 2);
    found.push({ student, engine, "buffers, ms": least.buffers.map((ms) => round(ms, 1)),
      "literals, ms": least.literals.map((ms) => round(ms, 1)),
      "literals / buffers": [ratio(0), ratio(1)], "levels apart": apart });
  }
  return found;
}
"""


def served() -> dict[str, bytes]:
    """What is served beside `web/`: students, and in /literals/ the engines with other shaders."""
    files = {path.replace("/src/", "/literals/", 1): js for path, js in sources("*.js").items()}
    files["/literals/literals.js"] = Path(__file__).with_name("literals.js").read_bytes()
    for language in ("wgsl", "glsl"):
        shaders = f"/literals/shaders/{language}"
        files[f"{shaders}-uniform.js"] = files[f"{shaders}.js"]
        files[f"{shaders}.js"] = (
            f'export * from "./{language}-uniform.js";\n'
            f'export {{ {language}Layer as layerShader }} from "../literals.js";\n'
        ).encode()
    with TemporaryDirectory() as folder:
        for name in STUDENTS:
            file = Path(folder) / f"{name}.kdw"
            export(shipped("*.safetensors")[name], file)
            files[f"/models/{name}.kdw"] = file.read_bytes()
    return files


def main() -> None:
    load = round(os.getloadavg()[0], 2)
    with blank(WEB, served(), SWIFTSHADER) as page:
        results = [row for name in STUDENTS for row in page.evaluate(MEASURE, [name, *SIZE])]
        version = page.context.browser.version
    found = {
        "browser": version,
        "processors": os.cpu_count(),
        "load average before": load,
        "frame": SIZE,
        "keys": "[creation and first frame, a frame]",
        "results": results,
    }
    write(Path(__file__).with_name("weights.json"), found)


if __name__ == "__main__":
    main()

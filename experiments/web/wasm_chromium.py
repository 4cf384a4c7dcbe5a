"""Milliseconds of a frame in a headless Chromium: the WASM engine and onnxruntime-web's WASM.

npm install --prefix FOLDER onnxruntime-web
python -m experiments.web.wasm_chromium FOLDER

The least of interleaved runs. The engine's figures are of the whole way, from a canvas to a canvas,
with one worker and with one a processor; onnxruntime's (one thread) of the network alone, from the
interpolated image in floats to the enlarged one in floats. Writes wasm_chromium.json beside itself.
"""

import argparse
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.web.page import blank, sources, write
from kd_lightning.deploy.export import export
from kd_lightning.models.pretrained import shipped
from tests.web.chromium import WITHOUT_GPU

STUDENT = "student_tiny"
SIZES = ((320, 180), (640, 360))
MEASURE = """
async ([width, height]) => {
  const { create } = await import("/src/engines/wasm.js");
  const { loadModel } = await import("/src/model.js");
  const ort = await import("/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = `${location.origin}/node_modules/onnxruntime-web/dist/`;
  ort.env.wasm.numThreads = 1;
  const model = await loadModel("/model.kdw");
  const source = new OffscreenCanvas(width, height);
  const drawing = source.getContext("2d");
  const shown = Object.assign(document.createElement("canvas"), {
    width: 2 * width, height: 2 * height });
  const screen = shown.getContext("2d", { alpha: false });
  const withWorkers = async (count) => {
    Object.defineProperty(navigator, "hardwareConcurrency", { value: count, configurable: true });
    const engine = await create(model, { width, height });
    return { description: engine.description, run: async () => {
      await engine.process(source);
      screen.drawImage(engine.canvas, 0, 0);
    } };
  };
  const processors = navigator.hardwareConcurrency;
  const one = await withWorkers(1);
  const all = await withWorkers(processors);
  const providers = { executionProviders: ["wasm"] };
  const session = await ort.InferenceSession.create("/model.onnx", providers);
  const data = Float32Array.from({ length: 12 * width * height }, Math.random);
  const tensor = new ort.Tensor("float32", data, [1, 3, 2 * height, 2 * width]);
  const feeds = { [session.inputNames[0]]: tensor };
  const ways = { one: one.run, all: all.run, peer: () => session.run(feeds) };
  const least = { one: Infinity, all: Infinity, peer: Infinity };
  for (let round = 0; round < 8; round++) {
    for (const [name, run] of Object.entries(ways)) {
      for (let frame = 0; frame < (name === "peer" ? 1 : 4); frame++) {
        drawing.fillStyle = `hsl(${round * 40 + frame * 7} 70% 50%)`;
        drawing.fillRect((frame * 7) % width, 0, width / 4, height);
        const start = performance.now();
        await run();
        least[name] = Math.min(least[name], performance.now() - start);
      }
    }
  }
  const rounded = Object.entries(least).map(([name, ms]) => [name, Math.round(10 * ms) / 10]);
  const ratio = Math.round((10 * least.peer) / least.one) / 10;
  return { width, height, ...Object.fromEntries(rounded), ratio, workers: all.description };
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where npm installed onnxruntime-web")
    options = parser.parse_args()
    served = sources()
    with TemporaryDirectory() as folder:
        for kind in ("kdw", "onnx"):
            file = Path(folder) / f"{STUDENT}.{kind}"
            export(shipped("*.safetensors")[STUDENT], file)
            served[f"/model.{kind}"] = file.read_bytes()
    package = options.folder / "node_modules" / "onnxruntime-web" / "package.json"
    load = round(os.getloadavg()[0], 2)
    with blank(options.folder, served, WITHOUT_GPU) as page:
        results = [page.evaluate(MEASURE, size) for size in SIZES]
        version = page.context.browser.version
    peer = f"onnxruntime-web {json.loads(package.read_text())['version']}"
    found = {
        "student": STUDENT,
        "browser": version,
        "processors": os.cpu_count(),
        "load average before": load,
        "keys": {
            "one": "ms, one worker, canvas to canvas",
            "all": "ms, one worker a processor, canvas to canvas",
            "peer": f"ms, {peer}, one thread, the network alone",
            "ratio": "peer / one",
        },
        "results": results,
    }
    write(Path(__file__).with_name("wasm_chromium.json"), found)


if __name__ == "__main__":
    main()

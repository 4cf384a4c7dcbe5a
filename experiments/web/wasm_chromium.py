"""Milliseconds from a canvas to a canvas with the WASM engine in a headless Chromium.

python -m experiments.web.wasm_chromium student_tiny.kdw --out FILE.json
"""

import argparse
import json
import os
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.web.chromium import FLAGS, WEB, executable, serving

SIZES = ((320, 180), (640, 360))
MEASURE = """
async ([model, width, height]) => {
  const { create } = await import("/src/engines/wasm.js");
  const { loadModel } = await import("/src/model.js");
  const engine = await create(await loadModel(model), { width, height });
  const source = new OffscreenCanvas(width, height);
  const drawing = source.getContext("2d");
  const shown = document.createElement("canvas");
  Object.assign(shown, { width: 2 * width, height: 2 * height });
  document.body.append(shown);
  const screen = shown.getContext("2d", { alpha: false });
  const times = [];
  for (let frame = 0; frame < 60; frame++) {
    drawing.fillStyle = `hsl(${frame * 6} 70% 50%)`;
    drawing.fillRect((frame * 7) % width, 0, width / 4, height);
    const start = performance.now();
    await engine.process(source);
    screen.drawImage(engine.canvas, 0, 0);
    times.push({ ms: performance.now() - start, ...engine.timings });
  }
  const { description } = engine;
  engine.dispose();
  times.sort((a, b) => a.ms - b.ms);
  return { width, height, description, median: times[30], least: times[0] };
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    served = {"/blank.html": b"<!doctype html><body>", "/model.kdw": options.model.read_bytes()}
    with serving(WEB, served) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable(), args=FLAGS)
        page = browser.new_page()
        page.goto(f"{address}/blank.html")
        results = [page.evaluate(MEASURE, ["/model.kdw", *size]) for size in SIZES]
        found = {
            "student": options.model.stem,
            "browser": browser.version,
            "cpus": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "results": results,
        }
        browser.close()
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""Frames a second from a camera to the page's canvas: `python -m experiments.web.camera`.

A fake camera of 30 frames a second, student_tiny, the engine that is named; frames are counted
where the page draws them, over ten seconds, after three. Chromium draws on the processor: with
WASM as where there is no GPU, else by SwiftShader, which takes more of it. Writes camera.json
beside itself.
"""

import argparse
import os
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path

from experiments.web.page import film, opened, write

STUDENT = "student_tiny"
RATE = 30  # frames a second of the camera
SIZES = ((320, 180), (640, 360))
SECONDS = 10
COUNT = """
globalThis.drawn = [];
const { prototype } = CanvasRenderingContext2D;
const draw = prototype.drawImage;
prototype.drawImage = function (...all) {
    draw.apply(this, all);
    if (this.canvas.id === "before") drawn.push(performance.now());  // once a frame, the last of it
};
"""
FIGURES = """Object.fromEntries([...document.querySelectorAll("#figures dd")].map(
    (item) => [item.id.replace("figure-", ""), Number(item.textContent)]))"""


def measured(engine: str, width: int, height: int, folder: Path) -> dict[str, object]:
    camera = film(folder / f"{width}.y4m", width, height, RATE)
    with opened(camera, COUNT, gpu=engine != "wasm") as page:
        option = page.locator(f"#student option:has-text('{STUDENT}:')")
        page.select_option("#student", option.get_attribute("value"))
        page.select_option("#engine", engine)
        page.wait_for_selector(f"#status:has-text('{STUDENT} on {engine}')")
        page.select_option("#camera-size", f"{width}x{height}")
        page.click("#camera")
        page.wait_for_timeout(3000)
        before = len(page.evaluate("drawn"))
        load = os.getloadavg()[0]
        page.wait_for_timeout(1000 * SECONDS)
        times = page.evaluate("drawn")[before:]
        gaps = [after - at for at, after in pairwise(times)]
        return {
            "engine": engine,
            "size": [width, height],
            "size after": page.evaluate("(({width, height}) => [width, height])(after)"),
            "frames/s": round(1000 * len(gaps) / sum(gaps), 1),
            "median gap ms": round(statistics.median(gaps), 1),
            "longest gap ms": round(max(gaps), 1),
            "last second": page.evaluate(FIGURES),
            "status": page.text_content("#status"),
            "load average before": round(load, 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="wasm")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measured(options.engine, *size, Path(folder)) for size in SIZES]
    result = {"processors": os.cpu_count(), "camera frames/s": RATE, "rows": rows}
    write(Path(__file__).with_name("camera.json"), result)


if __name__ == "__main__":
    main()

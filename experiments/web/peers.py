"""Students and other enlargers of browsers, 320x180 to 640x360, in one headless Chromium.

npm install --prefix FOLDER @websr/websr anime4k-webgpu upscaler @upscalerjs/esrgan-slim \
    @tensorflow/tfjs@4.11.0 @tensorflow/tfjs-backend-wasm@4.11.0
python -m experiments.web.peers FOLDER

The least of interleaved runs, from a canvas to a canvas, and PSNR-Y (BT.601, border of 2 cropped,
mean of the images) on the middle 640x360 of three valid photographs, shrunk by bicubic. Writes
peers.json beside itself.
"""

import argparse
import base64
import io
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from experiments.web.page import blank, sources, write
from kd_lightning.deploy.export import export
from kd_lightning.models.pretrained import shipped
from kd_lightning.quality import scores
from tests.web.chromium import SWIFTSHADER

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "photos" / "valid_HR"
STUDENTS = ("student_tiny", "student_fast")
# name -> a way of peers.js and its arguments
METHODS = {
    "student_tiny, WASM": ("student", "wasm", "student_tiny"),
    "student_fast, WASM": ("student", "wasm", "student_fast"),
    "student_tiny, WebGPU": ("student", "webgpu", "student_tiny"),
    "websr cnn-2x-s, real life": ("websr", "cnn-2x-s", "cnn-2x-s-rl"),
    "websr cnn-2x-l, real life": ("websr", "cnn-2x-l", "cnn-2x-l-rl"),
    "websr cnn-2x-l, anime": ("websr", "cnn-2x-l", "cnn-2x-l-an"),
    "anime4k CNNx2M": ("anime4k", "CNNx2M"),
    "anime4k CNNx2VL": ("anime4k", "CNNx2VL"),
    "UpscalerJS esrgan-slim 2x, WASM": ("esrgan",),
}
ROUNDS = 2  # of all methods in turn, each a run on each image
START = """
async ([name, way, ...rest]) => {
  const { WAYS } = await import("/peers.js");
  globalThis.running ??= {};
  running[name] = await WAYS[way](...rest);
}
"""
RUN = """
async ([name, url]) => {
  const image = await createImageBitmap(await (await fetch(url)).blob());
  const source = new OffscreenCanvas(320, 180);
  source.getContext("2d", { alpha: false }).drawImage(image, 0, 0);
  const shown = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
  const screen = shown.getContext("2d", { alpha: false, willReadFrequently: true });
  const start = performance.now();
  await running[name](source, screen);
  screen.getImageData(0, 0, 1, 1);  // waits for the GPU
  return { ms: performance.now() - start, png: shown.toDataURL() };
}
"""


def middle(path: Path) -> Image.Image:
    image = Image.open(path).convert("RGB")
    left, top = (image.width - 640) // 2, (image.height - 360) // 2
    return image.crop((left, top, left + 640, top + 360))


def psnr_y(sr: Image.Image, hr: Image.Image) -> float:
    a, b = (
        torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None] / 255
        for image in (sr, hr)
    )
    return float(scores(a, b, 2)["psnr_y"])


def measured(page: Any, name: str, url: str) -> tuple[float, Image.Image]:
    answer = page.evaluate(RUN, [name, url])
    png = base64.b64decode(answer["png"].partition(",")[2])
    return answer["ms"], Image.open(io.BytesIO(png))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where npm installed the peers")
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    options = parser.parse_args()
    paths = sorted(options.photos.glob("*.png"))[:3]
    photos = [middle(path) for path in paths]
    small = [photo.resize((320, 180), Image.Resampling.BICUBIC) for photo in photos]
    bicubic = [image.resize((640, 360), Image.Resampling.BICUBIC) for image in small]
    served = sources()
    served["/peers.js"] = Path(__file__).with_name("peers.js").read_bytes()
    for number, image in enumerate(small):
        file = io.BytesIO()
        image.save(file, "png")
        served[f"/{number}.png"] = file.getvalue()
    for name in STUDENTS:
        export(shipped("*.safetensors")[name], Path(options.folder, f"{name}.kdw"))
        served[f"/models/{name}.kdw"] = Path(options.folder, f"{name}.kdw").read_bytes()
    times: dict[str, list[float]] = {name: [] for name in METHODS}
    quality: dict[str, list[float]] = {}
    with blank(options.folder, served, SWIFTSHADER) as page:
        for name, way in METHODS.items():
            page.evaluate(START, [name, *way])
            print(name, "is ready", file=sys.stderr)
        for _ in range(ROUNDS):
            for name in METHODS:
                runs = [measured(page, name, f"/{number}.png") for number in range(len(small))]
                times[name] += [ms for ms, _ in runs]
                pairs = zip(runs, photos, strict=True)
                quality[name] = [psnr_y(sr, photo) for (_, sr), photo in pairs]
        version = page.context.browser.version
    quality["bicubic"] = [psnr_y(*pair) for pair in zip(bicubic, photos, strict=True)]
    rows = [
        {
            "method": name,
            "ms": round(min(times[name]), 1) if name in times else None,
            "psnr_y": round(statistics.mean(values), 2),
            "each": [round(value, 2) for value in values],
        }
        for name, values in quality.items()
    ]
    modules = options.folder / "node_modules"
    peers = ("@websr/websr", "anime4k-webgpu", "upscaler", "@upscalerjs/esrgan-slim")
    stated = {p: json.loads((modules / p / "package.json").read_text())["version"] for p in peers}
    result = {
        "browser": version,
        "processors": os.cpu_count(),
        "load average after": round(os.getloadavg()[0], 2),
        "versions": stated,
        "images": [path.name for path in paths],
        "rows": rows,
    }
    write(Path(__file__).with_name("peers.json"), result)


if __name__ == "__main__":
    main()

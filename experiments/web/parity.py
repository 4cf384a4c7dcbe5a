"""Levels between the engines, torch, and exact arithmetic on whole frames, for students that round
to 8 bits in every layer: a last bit may turn a rounding, which layers carry on.

python -m experiments.web.parity FOLDER      (of photographs)

Frames of 320x240: four photographs shrunk, and noise; the engines in one headless Chromium. Exact
is float64 of whole weights times their steps. Writes parity.json beside itself.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from experiments.web.page import blank, sources, write
from kd_lightning.deploy.export import export
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import super_resolve
from kd_lightning.models.pretrained import shipped
from tests.web.chromium import SWIFTSHADER
from tests.web.conftest import decoded, encoded
from tests.web.exact import exact
from tests.web.test_engines import NAMES, RUN, as_tensor, rounded

STUDENTS = ("student_micro", "student_mini", "call_mini_x2")
FRAMES = Path(__file__).parents[2] / "tests" / "web" / "frames.js"
PHOTOGRAPHS = 4
SIZE = (320, 240)
Frames = list[np.ndarray]


def small_frames(folder: Path) -> dict[str, Frames]:
    files = sorted(folder.iterdir())[:PHOTOGRAPHS]
    photographs = [np.array(Image.open(file).convert("RGB").resize(SIZE)) for file in files]
    noise = np.random.default_rng(3).integers(0, 256, (*SIZE[::-1], 3), np.uint8)
    return {"photographs": photographs, "noise": [noise]}


def apart(ours: Frames, theirs: Frames) -> dict[str, float]:
    pairs = zip(ours, theirs, strict=True)
    levels = np.concatenate([np.abs(a.astype(int) - b).ravel() for a, b in pairs])
    beyond = 1e6 * float((levels > 1).mean())
    return {"largest, levels": int(levels.max()), "values in a million beyond 1": round(beyond, 1)}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    results = []
    with TemporaryDirectory() as folder:
        weights = {name: shipped("*.safetensors")[name] for name in STUDENTS}
        for name, path in weights.items():
            export(path, Path(folder) / f"{name}.kdw")
        files = {**sources(), "/frames.js": FRAMES.read_bytes()}
        with blank(Path(folder), files, SWIFTSHADER) as page:
            for name, path in weights.items():
                network, _ = load_artifact(path)
                for kind, frames in small_frames(options.folder).items():
                    by_torch = [rounded(super_resolve(network, as_tensor(f))) for f in frames]
                    wanted = [exact(path, frame) for frame in frames]
                    found = {"torch, exact": apart(by_torch, wanted)}
                    asked = {"model": f"/{name}.kdw", "frames": [*map(encoded, frames)]}
                    for engine in NAMES:
                        outputs = page.evaluate(RUN, {"engine": engine, **asked})
                        ours = [*map(decoded, outputs)]
                        found[f"{engine}, torch"] = apart(ours, by_torch)
                        found[f"{engine}, exact"] = apart(ours, wanted)
                    results.append({"student": name, "frames": kind, **found})
    write(Path(__file__).with_suffix(".json"), {"size": SIZE, "results": results})


if __name__ == "__main__":
    main()

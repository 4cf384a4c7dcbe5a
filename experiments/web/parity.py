"""Levels between the WASM engine's kernel, torch, and exact arithmetic on whole frames, for
students that round to 8 bits in every layer: a last bit may turn a rounding, which layers carry on.

python -m experiments.web.parity FOLDER      (of photographs)

Frames of 320x240: four photographs shrunk, and noise. Exact is torch in float64. Writes parity.json
beside itself.
"""

import argparse
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from kd_lightning.deploy.export import export
from kd_lightning.deploy.plain_body import plain_body
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import super_resolve, upscale
from kd_lightning.models.pretrained import shipped
from tests.web.test_engines import as_tensor, rounded
from tests.web.test_kernel import Node

STUDENTS = ("student_micro", "student_mini", "call_mini_x2")
PHOTOGRAPHS = 4
SIZE = (320, 240)


def frames(folder: Path) -> dict[str, list[np.ndarray]]:
    files = sorted(folder.iterdir())[:PHOTOGRAPHS]
    photographs = [np.array(Image.open(file).convert("RGB").resize(SIZE)) for file in files]
    noise = np.random.default_rng(3).integers(0, 256, (*SIZE[::-1], 3), np.uint8)
    return {"photographs": photographs, "noise": [noise]}


def exact(path: Path, frame: np.ndarray) -> np.ndarray:
    """What the artifact computes, in float64: whole weights and levels are summed without error."""
    body = plain_body(load_artifact(path)[0], path)
    maps = as_tensor(frame).double()
    image = upscale(maps, body.info.scale).clamp(0, 1)
    for layer in body.layers:
        bias = layer.bias.double()
        maps = torch.nn.functional.conv2d(maps, layer.weight.double(), bias, padding=1)
        if layer.top is not None:
            step = (layer.top / 255).double()
            maps = (maps / step).round().clamp(0, 255) * step
    return rounded(image + torch.nn.functional.pixel_shuffle(maps, body.factor))


def apart(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    levels = np.concatenate([np.abs(a.astype(int) - b).ravel() for a, b in pairs])
    beyond = 1e6 * float((levels > 1).mean())
    return {"largest, levels": int(levels.max()), "values in a million beyond 1": round(beyond, 1)}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    program = shutil.which("node")
    assert program, "needs node"
    results = []
    for name in STUDENTS:
        path = shipped("*.safetensors")[name]
        network, _ = load_artifact(path)
        for kind, small in frames(options.folder).items():
            with TemporaryDirectory() as folder:
                export(path, Path(folder) / "s.kdw")
                engine, _ = Node(program, Path(folder))(Path(folder) / "s.kdw", small, 2)
            by_torch = [rounded(super_resolve(network, as_tensor(frame))) for frame in small]
            wanted = [exact(path, frame) for frame in small]
            pairs = {
                "engine, torch": apart(list(zip(engine, by_torch, strict=True))),
                "torch, exact": apart(list(zip(by_torch, wanted, strict=True))),
                "engine, exact": apart(list(zip(engine, wanted, strict=True))),
            }
            results.append({"student": name, "frames": kind, **pairs})
            print(json.dumps(results[-1]), flush=True)
    text = json.dumps({"size": SIZE, "results": results}, indent=1)
    Path(__file__).with_name("parity.json").write_text(text + "\n")


if __name__ == "__main__":
    main()

"""Students in 8 bits through torch alone: integers against float32, and against OpenVINO.

python experiments/frontier/torch_int8.py writes torch_int8.json here and prints a table. An 8-bit
540p frame to an 8-bit 1080p frame, as the package runs them; float32 is what torch takes where a
CPU does not add 8-bit products exactly. They take turns; a time is the median of its turns.
"""

import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
from shapes import HEIGHT, TURNS, WIDTH, take_turns

from kd_lightning.benchmark.machine import describe
from kd_lightning.deploy.backends import Runner, open_weights
from kd_lightning.deploy.enhance import enhance
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.network import model_info
from kd_lightning.models.pretrained import shipped

FITS = "kd_lightning.deploy.backends.pytorch.IntegerModel.fits"


def main() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    runners: dict[str, Runner] = {}
    names = [name for name, file in shipped().items() if model_info(load_artifact(file)[0]).int8]
    for name in names:
        file = shipped()[name]
        runners[f"{name} integers"] = open_weights(file, "torch", "cpu")
        with patch(FITS, return_value=False):
            runners[f"{name} float32"] = open_weights(file, "torch", "cpu")
        runners[f"{name} OpenVINO"] = open_weights(file, "openvino", "cpu")
    assert {"torch cpu int8", "torch cpu fp32"} <= {runner.name for runner in runners.values()}
    ms = take_turns({key: lambda r=r: enhance(r, frame) for key, r in runners.items()})
    rows = {
        name: {way: ms[f"{name} {way}"] for way in ("integers", "float32", "OpenVINO")}
        for name in names
    }
    result = {"machine": describe(), "turns": TURNS, "milliseconds": rows}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    for name, row in rows.items():
        times = ", ".join(f"{way} {value:.1f}" for way, value in row.items())
        print(
            f"{name:14} ms: {times}; integers in {row['integers'] / row['float32']:.2f} of float32"
        )


if __name__ == "__main__":
    main()

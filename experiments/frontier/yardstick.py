"""The students that ship against `student_tiny` as it was when the targets of time were set.

python experiments/frontier/yardstick.py writes yardstick.json here and prints a table. T is the
time of `student_tiny` at commit BEFORE, whose package is taken out of this repository's history: a
yardstick that does not shrink where the package gets faster. Each student runs in a process of its
own, as the package runs it (OpenVINO, bf16), an 8-bit 540p frame to an 8-bit 1080p frame. They take
turns: two frames each, of which the second counts; a time is the median of the turns.
"""

import json
import os
import statistics
import subprocess
import sys
import tarfile
import time
from collections import deque
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

BEFORE = "51f35cb"
YARDSTICK = "student_tiny"
QUALITY = ("psnr_y", "ssim_rgb")
TURNS = 25
HERE = Path(__file__).parent


def main() -> None:
    from kd_lightning.benchmark.machine import describe
    from kd_lightning.models.artifact import load_artifact
    from kd_lightning.models.pretrained import shipped

    root = HERE.parent.parent
    metrics = {name: load_artifact(file)[1].get("metrics", {}) for name, file in shipped().items()}
    scores = {name: value["set5"]["student"] for name, value in metrics.items() if "set5" in value}
    then = f"{YARDSTICK} at {BEFORE}"
    with TemporaryDirectory() as folder:
        packed = subprocess.run(
            ["git", "archive", BEFORE, "kd_lightning"], cwd=root, check=True, capture_output=True
        ).stdout
        with tarfile.open(fileobj=BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        workers = {then: start(Path(folder), YARDSTICK)}
        workers |= {name: start(root, name) for name in scores}
        times: dict[str, list[float]] = {name: [] for name in workers}
        for turn in range(TURNS + 3):
            for name, worker in workers.items():
                frame(worker)
                ms = frame(worker)
                if turn >= 3:  # the first turns compile and warm up
                    times[name].append(ms)
        for worker in workers.values():
            worker.communicate()
    scores[then] = scores[YARDSTICK]  # the same weights
    medians = {name: statistics.median(values) for name, values in times.items()}
    rows = {
        name: {
            "ms": ms,
            "T": ms / medians[then],
            **{f"set5_{key}": scores[name][key] for key in QUALITY},
        }
        for name, ms in medians.items()
    }
    result = {"machine": describe(), "turns": TURNS, "rows": rows}
    (HERE / "yardstick.json").write_text(json.dumps(result, indent=1) + "\n")
    for name, row in sorted(rows.items(), key=lambda item: item[1]["ms"]):
        quality = f"{row['set5_psnr_y']:.2f} dB {row['set5_ssim_rgb']:.4f}"
        print(f"{name:24} {row['ms']:7.1f} ms {row['T']:6.3f} T  {quality}")


def start(root: Path, name: str) -> "subprocess.Popen[str]":
    """A process that runs this student of the package in `root` whenever it is asked to."""
    return subprocess.Popen(
        [sys.executable, __file__, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def frame(worker: "subprocess.Popen[str]") -> float:
    """Milliseconds of one frame."""
    assert worker.stdin and worker.stdout
    worker.stdin.write("\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def serve(name: str) -> None:
    """Time a frame for each line that comes in; through what both versions of the package have."""
    import numpy as np

    import kd_lightning
    from kd_lightning.deploy.backends import open_weights
    from kd_lightning.deploy.enhance import enhance

    package = Path(kd_lightning.__file__).parent
    assert package.parent.samefile("."), package  # not another one that is installed
    weights = package / "weights" / f"{name}.safetensors"
    runner = open_weights(weights, "openvino", "cpu", "bf16")
    small = np.random.default_rng(0).integers(0, 256, (540, 960, 3), np.uint8)
    for _ in sys.stdin:
        begin = time.perf_counter()
        deque(enhance(runner, small, 2), maxlen=0)  # in strips then, an image now
        print((time.perf_counter() - begin) * 1000, flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        serve(sys.argv[1])
    else:
        main()

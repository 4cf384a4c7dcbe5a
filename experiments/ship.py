"""Copy a finished run into the repository: evidence to experiments/, weights to the package.

`python experiments/ship.py RUN experiments/NAME` keeps the configuration, overrides and metrics of
RUN (a folder under logs/). With `--weights NAME` its artifact becomes
kd_lightning/weights/NAME.safetensors, with the data and licence notes in its metadata.
"""

import argparse
import csv
import shutil
from pathlib import Path

from kd_lightning.files import SHIPPED_WEIGHTS
from kd_lightning.models.artifact import load_artifact, save_artifact

EVIDENCE = (".hydra/config.yaml", ".hydra/overrides.yaml", "metrics.json")
CURVE_ROWS = 300  # training rows kept of a run, at even distances; validations are all kept
DATA = (
    "24 photographs, CC0 or stated to be in the public domain by their distributors, and the 200 "
    "training images of BSDS500 (Arbelaez et al. 2011; research use); validated on 6 photographs"
)
LICENCE = "Apache-2.0; see NOTICE for the photographs and the teacher outputs it was trained on"


def thin_curve(source: Path, target: Path) -> None:
    with source.open() as file:
        rows = list(csv.DictReader(file))
    steps = sorted({int(row["step"]) for row in rows})
    kept = set(steps[:: max(1, len(steps) // CURVE_ROWS)])
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row for row in rows if row["val/psnr_y"] or int(row["step"]) in kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--weights")
    options = parser.parse_args()
    options.target.mkdir(parents=True, exist_ok=True)
    for name in EVIDENCE:
        shutil.copy(options.run / name, options.target / Path(name).name)
    thin_curve(options.run / "metrics.csv", options.target / "metrics.csv")
    if options.weights:
        network, metadata = load_artifact(options.run / "student.safetensors")
        notes = {"data": DATA, "licence": LICENCE, "recipe": options.target.as_posix()}
        target = SHIPPED_WEIGHTS / f"{options.weights}.safetensors"
        save_artifact(target, network, metadata["arguments"], metadata | notes)


if __name__ == "__main__":
    main()

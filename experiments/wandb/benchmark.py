"""The last link of the lineage data -> run -> student -> benchmark, on W&B.

`python experiments/wandb/benchmark.py logs/NAME/TIME experiments/benchmark/benchmark.json` logs the
file as the output of a run of the type "benchmark" whose input is the student of that run. It needs
an account: artifacts have no lineage offline.
"""

import argparse
import json
from pathlib import Path

import wandb

from kd_lightning.distill.wandb_logger import student_artifact, wandb_mode
from kd_lightning.runs.benchmark import read_benchmark


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder, whose run is on W&B")
    parser.add_argument("benchmark", type=Path, help="benchmark.json of make benchmark")
    parser.add_argument("--project", default="kd_lightning")
    options = parser.parse_args()
    methods = read_benchmark(options.benchmark)
    if wandb_mode() != "online":
        parser.error("W&B is offline here: `wandb login` first, and unset WANDB_MODE")
    trained = (options.run / "wandb_id").read_text().strip()
    with wandb.init(project=options.project, job_type="benchmark", name=options.run.name) as run:
        run.use_artifact(f"{student_artifact(trained)}:latest")
        entry = wandb.Artifact(
            f"benchmark-{trained}",
            type="benchmark",
            metadata={"machine": json.loads(options.benchmark.read_text()).get("machine")},
        )
        entry.add_file(str(options.benchmark))
        run.log_artifact(entry)
        for method in methods:
            times = {f"{method.name}/{frame} ms": ms for frame, ms in method.ms.items()}
            run.summary.update(times)


if __name__ == "__main__":
    main()

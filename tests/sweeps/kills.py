"""`python -m tests.sweeps.kills FOLDER PHOTOS KILLS SEED [grid | study]`: a sweep of four jobs and
an Optuna study, each killed KILLS times at random moments and resumed after each; both must end as
the undisturbed ones: the same jobs, none twice, the same table.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.forks import start, wait
from tests.runs import TINY

SMALL = (
    *("experiment=kd_div2k", "data=photos", "teacher=folder", "logger=csv", *TINY),
    *("student=student_fast", "student.width=4", "student.depth=3", "data.crop_size=24"),
    *("callbacks.pictures=null", "callbacks.last.every_n_train_steps=1"),
)
GRID = (*SMALL, "loss.alpha=0.5,0.9", "seed=0,1")
STUDY = (
    *(*SMALL, "sweep=optuna", "hydra.sweeper.n_trials=6"),
    *("hydra.sweeper.sampler.n_startup_trials=2", "callbacks.pruning.pruner.n_startup_trials=2"),
)


def table(sweep: Path) -> list[dict]:
    return json.loads((sweep / "sweep.json").read_text())


def killed(whole: Path, folder: Path, words: tuple[str, ...], kills: int, seed: int) -> str:
    """The sweep of `words`, killed and resumed in `folder`; what became of it in a line."""
    rng, log = random.Random(seed), folder.with_suffix(".log")
    began = time.monotonic()
    assert wait(start(log, "-m", *words, f"hydra.sweep.dir={whole}")) == 0, log.read_text()
    duration = time.monotonic() - began
    dealt = starts = 0
    while not (folder / "sweep.json").exists():
        resume = (folder / "command.json").exists()
        command = (
            (f"sweep.resume={folder}",) if resume else ("-m", *words, f"hydra.sweep.dir={folder}")
        )
        pid, starts = start(log, *command), starts + 1
        if dealt < kills:
            time.sleep(rng.uniform(0.1, 0.9) * duration * min(1, 3 / kills))
            os.kill(pid, signal.SIGKILL)
        status = wait(pid)
        assert status in (0, -signal.SIGKILL), log.read_text()[-3000:]
        dealt += status != 0
    assert table(folder) == table(whole), f"{folder}: not the table of {whole}"
    jobs = {path.name for path in folder.iterdir() if (path / ".hydra").is_dir()}
    assert jobs == {row["job"] for row in table(whole)}, "other jobs"
    done = log.read_text().count("done before")
    return (
        f"{dealt} kills, {starts} starts, {len(jobs)} jobs, {done} times found done: the same table"
    )


SWEEPS = {"grid": GRID, "study": STUDY}


def main(folder: Path, photos: str, kills: int, seed: int, *names: str) -> None:
    for name in names or SWEEPS:
        words = (*SWEEPS[name], f"data.root={photos}")
        said = killed(folder / f"{name}_whole", folder / name, words, kills, seed)
        print(f"{name}: {said}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])

"""`python -m tests.sweeps.kills FOLDER KILLS SEED STEPS [grid | study]`: a sweep of four jobs and
an Optuna study, killed at random moments and resumed until KILLS have been dealt to each; they must
end as the undisturbed ones: the same jobs, none twice, the same table. Each job takes two epochs of
STEPS steps.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import skimage.data

from tests.forks import start, wait
from tests.photos import write_photos
from tests.runs import TINY

SMALL = (
    *("experiment=kd_div2k", "data=photos", "teacher=folder", "logger=csv", *TINY),
    *("student=student_fast", "student.width=4", "student.depth=3", "data.crop_size=24"),
    *("callbacks.pictures=null", "callbacks.last.every_n_train_steps=1"),
)
GRID = ("loss.alpha=0.5,0.9", "seed=0,1")
STUDY = (
    *("sweep=optuna", "hydra.sweeper.n_trials=6"),
    *("hydra.sweeper.sampler.n_startup_trials=2", "callbacks.pruning.pruner.n_startup_trials=2"),
)


def table(sweep: Path) -> list[dict]:
    return json.loads((sweep / "sweep.json").read_text())


def killed(folder: Path, words: tuple[str, ...], kills: int, seed: int) -> str:
    """The sweep of `words`, again and again until KILLS are dealt; what became of it in a line."""
    rng, log, whole = random.Random(seed), folder.with_suffix(".log"), folder / "whole"
    folder.mkdir()
    began = time.monotonic()
    assert wait(start(log, "-m", *words, f"hydra.sweep.dir={whole}")) == 0, log.read_text()
    duration = time.monotonic() - began
    dealt = sweeps = 0
    while dealt < kills:
        sweep, sweeps, status = folder / f"sweep_{sweeps}", sweeps + 1, -1
        while status != 0:
            resume = (sweep / "command.json").exists()
            first = ("-m", *words, f"hydra.sweep.dir={sweep}")
            pid = start(log, *((f"sweep.resume={sweep}",) if resume else first))
            if dealt < kills:
                time.sleep(rng.uniform(0.05, 0.5) * duration)
                os.kill(pid, signal.SIGKILL)
            status = wait(pid)
            assert status in (0, -signal.SIGKILL), log.read_text()[-3000:]
            dealt += status != 0
        assert table(sweep) == table(whole), f"{sweep}: not the table of {whole}"
        assert {path.name for path in sweep.iterdir()} == {path.name for path in whole.iterdir()}
    done, resumed = (log.read_text().count(word) for word in ("done before", "resumes at step"))
    return (
        f"{dealt} kills, {done} jobs found done and {resumed} continued from a checkpoint; the "
        f"tables of {sweeps} sweeps are the undisturbed one's"
    )


SWEEPS = {"grid": GRID, "study": STUDY}


def main(folder: Path, kills: int, seed: int, steps: int, *names: str) -> None:
    write_photos(folder / "photos", skimage.data.astronaut())
    batch = 2
    for name in names or SWEEPS:
        words = (f"data.root={folder}/photos", f"data.samples_per_epoch={batch * steps}")
        words = (*SMALL, *words, f"data.batch_size={batch}", *SWEEPS[name])
        print(f"{name}: {killed(folder / name, words, kills, seed)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]), *sys.argv[5:])

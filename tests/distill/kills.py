"""`python -m tests.distill.kills FOLDER PHOTOS KILLS SEED`: runs of train.py, killed at random
moments and resumed until KILLS have been dealt; every run must end as the undisturbed one.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.distill.test_resume import SMALL, assert_same_run
from tests.forks import start, wait
from tests.runs import TINY

OPTIONS = (
    *("data=photos", "teacher=folder", *TINY, *SMALL, "scheduler=onecycle", "callbacks=ema"),
    *("logger=csv", "data.samples_per_epoch=24", "callbacks.last.every_n_train_steps=1"),
)


def main(folder: Path, photos: str, kills: int, seed: int) -> None:
    rng, log, words = random.Random(seed), folder / "log", (*OPTIONS, f"data.root={photos}")
    whole = folder / "whole"
    for run in (folder / "first", whole):  # the second time nothing is left to prepare
        began = time.monotonic()
        assert wait(start(log, *words, f"hydra.run.dir={run}")) == 0, log.read_text()
        duration = time.monotonic() - began
    dealt = mid_training = runs = 0
    while dealt < kills:
        run, runs, finished = folder / f"run_{runs}", runs + 1, False
        while not finished:
            last = run / "checkpoints" / "last.ckpt"
            place = f"ckpt_path={last}" if last.exists() else f"hydra.run.dir={run}"
            pid = start(log, *words, place)
            if dealt < kills:
                time.sleep(rng.uniform(0.1, 1) * duration)
                os.kill(pid, signal.SIGKILL)
            status = wait(pid)
            finished = status == 0
            assert finished or status == -signal.SIGKILL, log.read_text()[-3000:]
            dealt += not finished
            mid_training += not finished and last.exists()
        assert_same_run(run, whole)
    print(f"{dealt} kills, {mid_training} of them after the first checkpoint; {runs} runs equal")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

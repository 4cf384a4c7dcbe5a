"""`python -m tests.distill.kills FOLDER PHOTOS KILLS SEED`: runs of train.py, killed at random
moments and resumed until KILLS have been dealt; every run must end as the undisturbed one.

A run is a fork of this process, which has imported everything but has computed nothing: it goes
through train.py, Hydra and all, without the seconds that imports take.
"""

import os
import random
import runpy
import signal
import sys
import time
from pathlib import Path

import torch

import kd_lightning.distill.jobs
import kd_lightning.distill.sweep  # noqa: F401  (what a run imports)
from tests.distill.test_resume import SMALL, assert_same_run
from tests.runs import ROOT, TINY

OPTIONS = (
    *("data=photos", "teacher=folder", *TINY, *SMALL, "scheduler=onecycle", "callbacks=ema"),
    *("logger=csv", "data.samples_per_epoch=24", "callbacks.last.every_n_train_steps=1"),
)


def start(log: Path, *words: str) -> int:
    """A run of train.py; returns its process."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        os.dup2(1, 2)
        torch.set_num_threads(1)
        sys.argv = [str(ROOT / "train.py"), *OPTIONS, *words]
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    finally:
        os._exit(status)


def main(folder: Path, photos: str, kills: int, seed: int) -> None:
    rng, log, words = random.Random(seed), folder / "log", (f"data.root={photos}",)
    whole = folder / "whole"
    for _ in range(2):  # the second time nothing is left to prepare
        began = time.monotonic()
        assert os.waitpid(start(log, *words, f"hydra.run.dir={whole}"), 0)[1] == 0, log.read_text()
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
            status = os.waitpid(pid, 0)[1]
            finished = status == 0
            assert finished or os.WIFSIGNALED(status), log.read_text()[-3000:]
            dealt += not finished
            mid_training += not finished and last.exists()
        assert_same_run(run, whole)
    print(f"{dealt} kills, {mid_training} of them after the first checkpoint; {runs} runs equal")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

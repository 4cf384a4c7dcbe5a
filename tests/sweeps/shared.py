"""`python -m tests.sweeps.shared FOLDER PHOTOS`: two processes share one study, some of
whose trials fail; a third, which resumes it, finds nothing left to do."""

import json
import re
import sys
from pathlib import Path

from tests.forks import start, wait
from tests.sweeps.kills import SMALL

TRIALS = 6


def main(folder: Path, photos: str) -> None:
    words = (
        *(*SMALL, f"data.root={photos}", "sweep=optuna", f"hydra.sweeper.n_trials={TRIALS}"),
        *("loss.alpha=choice(0.5,0.7,7)", "loss.teacher_weight=0.5", "callbacks.pruning=null"),
        f"hydra.sweep.dir={folder}/study",
    )
    logs = [folder / "first", folder / "second"]
    pids = [start(log, "-m", *words) for log in logs]
    codes = [wait(pid) for pid in pids]
    ran = [re.findall(r"run folder +\S+/(\d+)", log.read_text()) for log in logs]
    failed = [re.findall(r"error: job (\d+): loss.alpha=7 is", log.read_text()) for log in logs]
    code = wait(start(folder / "third", f"sweep.resume={folder}/study"))
    rows = json.loads((folder / "study" / "sweep.json").read_text())
    print(json.dumps({"ran": ran, "failed": failed, "codes": [*codes, code], "rows": rows}))
    assert "run folder" not in (folder / "third").read_text()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

"""A process that is `train.py` several times over, since starting one takes seconds.

Each line of standard input is a JSON list, a folder and the words of a command line in it; the
answer is one as well: the exit status and what it said on standard error.
"""

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout

from hydra.core.global_hydra import GlobalHydra

from kd_lightning.commands.train import main


def answer(folder: str, *words: str) -> tuple[int, str]:
    os.chdir(folder)
    sys.argv = ["train.py", *words]
    GlobalHydra.instance().clear()
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), said.getvalue()
    return 0, said.getvalue()


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(*json.loads(line))), flush=True)

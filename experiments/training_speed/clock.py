"""When each training step ends, on the wall's clock and on that of the process."""

import json
import os
import time
from typing import Any

from lightning import Callback


class Clock(Callback):
    """Writes the moments at which training steps end to the file that `$CLOCK` names."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []  # seconds, CPU seconds of this process

    def on_train_batch_end(self, *args: Any) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))

    def on_train_end(self, *args: Any) -> None:
        with open(os.environ["CLOCK"], "w") as file:
            json.dump(self.ends, file)

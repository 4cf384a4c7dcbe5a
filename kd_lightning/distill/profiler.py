"""Where the time of a training step goes: one page, and a trace of a few steps."""

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.profilers import SimpleProfiler
from torch import nn
from torch.profiler import ProfilerActivity

FETCH = "train_dataloader_next"
PARTS = {  # of a step: what it is called on the page -> how Lightning's name for it ends
    "waiting for crops": FETCH,
    "crops to floats, on the device": ".batch_to_device",
    "student": "student",
    "loss": "loss",
    "backward": ".backward",
    "optimizer": "optimizer",
}
WARM = 5  # steps before those that count
TRACED = 5  # steps in the trace
OPERATORS = 12  # on the page


class StepProfiler(SimpleProfiler):
    """Writes `fit-<filename>.txt` and `trace.json` to `dirpath`; of other stages Lightning's table.

    Times are medians over the steps after the first WARM ones, in milliseconds of this process. A
    GPU works behind it: there the trace says what a kernel takes, and a part that waits for the GPU
    bears the time of all before it.

    Args:
        dirpath: the run folder.
        filename: of the pages.
    """

    def __init__(self, dirpath: str, filename: str = "profile") -> None:
        super().__init__(dirpath=dirpath, filename=filename)
        self.steps: list[float] = []  # when each began, in seconds
        self.trace: torch.profiler.profile | None = None
        self.operators = ""
        self._hooks: list[Any] = []

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        super().setup(stage, local_rank, log_dir)
        module: Any = getattr(self, "_lightning_module", None)
        if stage == "fit" and module is not None:
            for name in ("student", "loss"):
                self._time(getattr(module, name), name)

    def start(self, action_name: str) -> None:
        if action_name.endswith(FETCH):
            self._begin_step()
        super().start(action_name)

    def summary(self) -> str:
        """The page of training; of other stages Lightning's table."""
        if self._stage != "fit" or len(self.steps) < 2:
            return super().summary()
        whole, parts = self.times()
        rows = [*parts.items(), ("everything else", max(0.0, whole - sum(parts.values())))]
        lines = [f"{name:<32} {ms:8.2f} ms {ms / whole:6.1%}" for name, ms in rows]
        head = f"A training step: {whole:.2f} ms, {1000 / whole:.1f} steps/s"
        counted = f"medians of {max(1, len(self.steps) - 1 - WARM)} steps"
        page = [head, counted, "", *lines]
        if self.operators:
            page += [
                "",
                f"Operators of {TRACED} steps (trace.json: chrome://tracing)",
                self.operators,
            ]
        return "\n".join([*page, "", super().summary()])

    def times(self) -> tuple[float, dict[str, float]]:
        """Milliseconds of a step, and of its parts by name."""
        ends = zip(self.steps, self.steps[1:], strict=False)
        whole = _median([after - before for before, after in ends])
        found = {name: self._of(ending) for name, ending in PARTS.items()}
        closure = self._of(".training_step") + found["backward"] + self._of(".optimizer_zero_grad")
        found["optimizer"] = max(0.0, self._of(".optimizer_step") - closure)
        return whole, found

    def teardown(self, stage: str | None) -> None:
        self._end_trace()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        super().teardown(stage)

    def _of(self, ending: str) -> float:
        """Milliseconds that the action takes in a step."""
        named = (d for name, d in self.recorded_durations.items() if name.endswith(ending))
        return sum(_median(durations) for durations in named)

    def _begin_step(self) -> None:
        self.steps.append(time.perf_counter())
        if len(self.steps) == WARM + 1:
            activities = [ProfilerActivity.CPU]
            activities += [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
            self.trace = torch.profiler.profile(activities=activities, acc_events=True)
            self.trace.start()
        elif len(self.steps) == WARM + 1 + TRACED:
            self._end_trace()

    def _end_trace(self) -> None:
        trace, self.trace = self.trace, None
        if trace is None:
            return
        trace.stop()
        events = trace.key_averages()
        by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        self.operators = events.table(sort_by=by, row_limit=OPERATORS, max_name_column_width=40)
        if self._local_rank in (None, 0):
            trace.export_chrome_trace(str(Path(str(self.dirpath)) / "trace.json"))

    def _time(self, module: nn.Module, name: str) -> None:
        """Record the forward passes of `module` in training."""

        def begin(module: nn.Module, _: Any) -> None:
            if module.training:
                self.start(name)

        def end(module: nn.Module, _: Any, output: Any) -> None:
            if module.training:
                self.stop(name)

        self._hooks += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]


def _median(seconds: list[float]) -> float:
    """Milliseconds, without the first steps where there are others."""
    return 1000 * statistics.median(seconds[WARM:] or seconds)

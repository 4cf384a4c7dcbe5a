"""What a run costs is logged, apart from what a resumed run repeats."""

import csv
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kd_lightning.distill.speed import SpeedMonitor


class Keeper:
    """A logger that keeps rows."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, row: dict[str, float], step: int) -> None:
        self.rows.append((step, row))


def steps(monitor: SpeedMonitor, trainer: Any, count: int, wait: float, step: float) -> None:
    module: Any = SimpleNamespace(
        batch_size=4, device=torch.device("cpu"), images_seen=lambda: 8 * trainer.global_step
    )
    for _ in range(count):
        time.sleep(wait)
        monitor.on_train_batch_start(trainer, module)
        time.sleep(step)
        trainer.global_step += 1
        monitor.on_train_batch_end(trainer, module)


def test_speed_and_waiting_are_those_of_the_steps(tmp_path: Path) -> None:
    keeper = Keeper()
    trainer: Any = SimpleNamespace(
        is_global_zero=True, global_step=0, world_size=2, log_every_n_steps=5, loggers=[keeper]
    )
    monitor = SpeedMonitor(str(tmp_path))
    monitor.on_train_start(trainer, None)
    steps(monitor, trainer, 5, wait=0.0, step=0.01)
    monitor.on_validation_end(trainer, None)
    time.sleep(0.5)  # no waiting: nothing was asked for
    started = time.perf_counter()
    steps(monitor, trainer, 5, wait=0.03, step=0.01)
    seconds = time.perf_counter() - started
    monitor.on_train_end(trainer, None)
    assert [step for step, _ in keeper.rows] == [4, 9]
    row = keeper.rows[1][1]
    assert row["images"] == 80
    assert 0.5 < row["speed/data_wait"] < 0.9  # 4 waits of 30 ms, 5 steps of 10 ms
    assert row["speed/images"] >= 40 / seconds
    assert row["memory/process_mb"] > 50
    with (tmp_path / "speed.csv").open() as file:
        assert [line["step"] for line in csv.DictReader(file)] == ["4", "9"]


def test_a_resumed_run_keeps_the_rows_before_it(tmp_path: Path) -> None:
    for start in (0, 5):
        trainer: Any = SimpleNamespace(
            is_global_zero=True, global_step=start, world_size=1, log_every_n_steps=5, loggers=[]
        )
        monitor = SpeedMonitor(str(tmp_path))
        monitor.on_train_start(trainer, None)
        steps(monitor, trainer, 10, 0.0, 0.001)
        monitor.on_save_checkpoint(trainer, None, {})
    with (tmp_path / "speed.csv").open() as file:
        rows = [line["step"] for line in csv.DictReader(file)]
    assert rows == pytest.approx(["4", "9", "14"])


@pytest.mark.parametrize("start", [0, 200])
def test_a_step_of_several_batches_has_one_row(start: int, tmp_path: Path) -> None:
    keeper = Keeper()
    trainer: Any = SimpleNamespace(
        is_global_zero=True, global_step=start, world_size=1, log_every_n_steps=1, loggers=[keeper]
    )
    module: Any = SimpleNamespace(
        batch_size=4, device=torch.device("cpu"), images_seen=lambda: 8 * trainer.global_step
    )
    monitor = SpeedMonitor(str(tmp_path))
    monitor.on_train_start(trainer, None)
    for batch in range(6):
        monitor.on_train_batch_start(trainer, module)
        trainer.global_step += batch % 2  # an optimizer step after every second batch
        monitor.on_train_batch_end(trainer, module)
    assert [step for step, _ in keeper.rows] == [start, start + 1, start + 2]

"""Schedules for runs of any length."""

from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from kd_lightning.distill.run import train
from kd_lightning.distill.schedules import OneCycle, check_optimizer
from kd_lightning.errors import UserError
from kd_lightning.models.students import StudentFast
from tests.runs import tiny_run

ARGUMENTS = {"pct_start": 0.1, "div_factor": 10, "final_div_factor": 100, "cycle_momentum": False}


def rates(schedule: type[OneCycleLR], steps: int, **changes: float) -> list[float]:
    """The learning rate of each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = schedule(optimizer, max_lr=1.0, total_steps=steps, **{**ARGUMENTS, **changes})
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("steps", [2, 3, 9, 11, 12, 100])
def test_one_cycle_is_torchs_where_torchs_works(steps: int) -> None:
    assert rates(OneCycle, steps) == rates(OneCycleLR, steps)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("steps", range(1, 25))
def test_one_cycle_works_for_any_length(steps: int, share: float) -> None:
    found = rates(OneCycle, steps, pct_start=share)
    assert all(0 < rate <= 1 for rate in found)
    assert max(found) > 0.5
    assert steps == 1 or found[-1] == pytest.approx(0.001)


def test_ten_steps_lie_between_nine_and_eleven() -> None:
    """Where torch divides by zero the run starts at the top."""
    assert rates(OneCycle, 10)[0] == pytest.approx(1)
    assert rates(OneCycle, 10)[1:] == pytest.approx(rates(OneCycleLR, 11)[2:], abs=0.15)


@pytest.mark.parametrize("steps", [1, 10])
def test_a_one_cycle_run_may_be_as_short_as(steps: int, tmp_path: Path, photos: Path) -> None:
    samples = (f"data.samples_per_epoch={2 * steps}", "trainer.max_epochs=1")
    train(tiny_run(tmp_path, photos, "scheduler=onecycle", *samples))
    assert (tmp_path / "student.safetensors").is_file()


OPTIMIZERS = [
    kind
    for kind in vars(torch.optim).values()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    if kind is not torch.optim.Optimizer
]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_of_torchs_steps_or_is_refused_in_one_line(
    kind: type[torch.optim.Optimizer],
) -> None:
    """With weights as a run has them, and the closure that Lightning gives."""
    student = StudentFast(width=8, depth=3).to(memory_format=torch.channels_last)
    before = [parameter.clone() for parameter in student.parameters()]
    try:
        optimizer = kind(student.parameters(), lr=0.1)  # type: ignore[call-arg]
    except ValueError:
        return  # `refusals` says so
    try:
        check_optimizer(optimizer)
    except UserError as error:
        assert kind in (torch.optim.LBFGS, torch.optim.SparseAdam)
        assert kind.__name__ in str(error) and "\n" not in str(error)
        return

    def closure() -> float:
        optimizer.zero_grad()
        loss = student(torch.rand(1, 3, 8, 8)).square().mean()
        loss.backward()
        return float(loss)

    optimizer.step(closure)
    assert any(not torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))

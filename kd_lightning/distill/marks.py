"""How a run says of itself that it did not end as a whole one: to a sweep, and in its folder."""

from pathlib import Path

from kd_lightning.errors import UserError
from kd_lightning.runs.read import FAILED, PRUNED


class Pruned(UserError):
    """The run is not worth its end: those before it were better at this point."""


class Busy(UserError):
    """Another living process writes into the run folder."""


def unmark(folder: Path) -> None:
    """Take the marks of earlier tries away."""
    for name in (FAILED, PRUNED):
        (folder / name).unlink(missing_ok=True)

"""The weights that come with the package, by name."""

from difflib import SequenceMatcher
from pathlib import Path

from kd_lightning.errors import UserError
from kd_lightning.files import SHIPPED_WEIGHTS

DEFAULT = "student_fast"
SAME_SIZE = "call_fast_x1"


def default_weights(scale: int | None) -> str:
    """The name of the shipped weights for who asks for a scale, or None, and names no weights."""
    return SAME_SIZE if scale == 1 else DEFAULT


def shipped(pattern: str = "student*.safetensors") -> dict[str, Path]:
    """Name -> file, sorted by name."""
    return {path.stem: path for path in sorted(SHIPPED_WEIGHTS.glob(pattern))}


def find_weights(weights: str) -> Path:
    """The file that `weights` means: a path, or the name of shipped weights, which has neither a
    suffix nor a separator.

    Raises:
        UserError: no shipped weights have that name; those that exist are listed, nearest first.
    """
    path = Path(weights)
    if path.suffix or path.name != weights:
        return path
    known = shipped("*.safetensors")
    if weights in known:
        return known[weights]
    nearest = sorted(known, key=lambda name: -SequenceMatcher(None, weights, name).ratio())
    raise UserError(
        f"{weights}: no such weights in this installation, which has "
        f"{', '.join(nearest) or 'none'}; or give a file"
    )

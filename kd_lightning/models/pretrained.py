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


def shipped_students() -> list[str]:
    """The names of the students that come with the package, which `Enhancer`, `kd-enhance` and
    `kd-export` take: those of clean images, then those of calls."""
    return [*shipped(), *shipped("call_*.safetensors")]


def find_weights(weights: str) -> Path:
    """The file that `weights` means: a path, or the name of shipped weights, which has neither a
    suffix nor a separator.

    Raises:
        UserError: no shipped weights have that name; the students are listed, nearest first.
    """
    path = Path(weights)
    if path.suffix or path.name != weights:
        return path
    known = shipped("*.safetensors")
    if weights in known:
        return known[weights]
    word = weights.lower()
    nearest = sorted(
        shipped_students(), key=lambda name: -SequenceMatcher(None, word, name).ratio()
    )
    raise UserError(
        f"{weights}: no such weights in this installation, whose students are "
        f"{', '.join(nearest) or 'none'}; or give a file"
    )

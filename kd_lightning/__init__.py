"""Distil large image-restoration networks into tiny real-time ones.

`from kd_lightning import Enhancer` is the interface for programs; it imports torch when it is used.
`shipped_students` names the weights that it takes.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kd_lightning.api import Enhancer as Enhancer
    from kd_lightning.models.pretrained import shipped_students as shipped_students

__version__ = "0.1.0"
__all__ = ["Enhancer", "__version__", "shipped_students"]


def __getattr__(name: str) -> Any:
    if name == "Enhancer":
        from kd_lightning.api import Enhancer

        return Enhancer
    if name == "shipped_students":
        from kd_lightning.models.pretrained import shipped_students

        return shipped_students
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Where missing folders can come from."""

from pathlib import Path
from typing import Protocol

from kd_lightning.errors import UserError


class Source(Protocol):
    """Something that can fill `data.root`.

    `fetch` may also look whether the cache folder has room for what is made of the data.
    `automatic` sources are small and local, and are used without asking; the others only by
    `prepare.py`, and `remedy` says what to type and how large it is. One with `derived = True`
    makes its folders from other images by its settings: it is asked before every run, to make what
    is missing, and refuses a root that other settings have filled.
    """

    automatic: bool

    def fetch(self, root: Path, cache: Path) -> None: ...

    def remedy(self, root: Path) -> str: ...


def fetch_automatic(missing: Path, root: Path | None, source: Source | None, cache: Path) -> None:
    """Let `source` fill `root`, which lacks the folder `missing`, where that is automatic.

    Raises:
        UserError: it is not; says how to get the folder.
    """
    if source is None or root is None or root not in missing.parents:
        remedy = "set data.root=... (or data.test.<name>=...) to the folder that holds the images"
        raise UserError(f"{missing}: no such folder; {remedy}")
    if not source.automatic:
        raise UserError(f"{missing}: no such folder; {source.remedy(root)}")
    source.fetch(root, cache)

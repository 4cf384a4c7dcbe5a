"""Disk space: asked for before the work begins, not found missing in the middle of it."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from kd_lightning.errors import UserError


def require_space(needs: Mapping[Path, int], remedy: str) -> None:
    """Check that each folder's file system has room for the bytes that `needs` says for it.

    Folders need not exist yet; those of one file system are added up.

    Raises:
        UserError: less is free; ends with `remedy`.
    """
    devices: dict[int, tuple[Path, int]] = {}
    for folder, size in needs.items():
        there = _existing(folder)
        device = there.stat().st_dev
        _, so_far = devices.get(device, (there, 0))
        devices[device] = (there, so_far + size)
    for there, size in devices.values():
        free = shutil.disk_usage(there).free
        if size > free:
            raise UserError(f"{there}: {gigabytes(size)} needed, {gigabytes(free)} free; {remedy}")


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size > 5e7 else f"{size / 1e6:.1f} MB"


def _existing(folder: Path) -> Path:
    folder = Path(os.path.abspath(folder))
    while not folder.exists():
        folder = folder.parent
    return folder

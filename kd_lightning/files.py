"""Files: written whole or not at all, told apart by their hash, and found beside each other."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kd_lightning.errors import UserError

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """The hash (hex) of the file's content. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which becomes `path`, durably, when all went well and else vanishes; makes
    the parent folders.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(path, error) from None
        raise


def write_atomic(path: Path, *parts: bytes | memoryview) -> None:
    """Write `parts` to `path`, as `replacing` does."""
    with replacing(path) as file:
        for part in parts:
            file.write(part)


def unwritable(path: Path, error: OSError) -> UserError:
    """What to raise where `path` or something in it cannot be written."""
    return UserError(
        f"{path}: cannot write ({error.strerror}); free disk space, or name another folder (for "
        "caches: data.cache_dir=...)"
    )


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed `write_atomic` left below `folder`."""
    for leftover in folder.rglob(".tmp-*"):
        leftover.unlink(missing_ok=True)


def sibling(hr_folder: Path, ending: str) -> Path | None:
    """`hr_folder` with the last "_HR" of its name replaced by `ending`; None where it has none."""
    before, found, after = hr_folder.name.rpartition("_HR")
    return hr_folder.with_name(f"{before}{ending}{after}") if found else None

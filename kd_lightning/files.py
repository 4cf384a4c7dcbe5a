"""Files: written whole or not at all, in JSON that every program reads, told apart by their hash,
and found beside each other."""

import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from kd_lightning.errors import UserError

CACHE_REMEDY = "set data.cache_dir=... to another folder"
REMEDY = "name another folder"
FULL = (errno.ENOSPC, errno.EDQUOT)
TEMPORARY = ".tmp-"  # how the names of unfinished files and folders begin
ABANDONED = 3600.0  # seconds without a write after which a temporary file has no living owner
SHIPPED_WEIGHTS = Path(__file__).parent / "weights"


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """The hash (hex) of the file's content. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def replacing_path(path: Path, remedy: str = REMEDY, new: bool = False) -> Iterator[Path]:
    """The path of an empty file beside `path`, for programs that write to paths; else as
    `replacing`."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = mode_of(path)
        temporary = _empty_file(path.parent, private=kept is not None)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if kept is not None:
            temporary.chmod(kept)
        if new:
            _name_new(temporary, path)
        else:
            os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:  # none: an encoder's, not the disk's
            raise unwritable(path, error, remedy) from error
        raise


def _name_new(temporary: Path, path: Path) -> None:
    """Call the file `path` if nothing is called so by now; else it keeps a name of its own, which
    the UserError says."""
    try:
        os.link(temporary, path)  # which alone replaces nothing, whoever else writes
    except FileExistsError:
        pass
    except OSError:  # no such links on this disk
        if not os.path.lexists(path):
            os.replace(temporary, path)
            return
    else:
        temporary.unlink()
        return
    beside = path.with_name(f"{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    os.replace(temporary, beside)
    raise UserError(f"{path} exists by now and was kept; the result is in {beside}")


def mode_of(path: Path) -> int | None:
    """The permissions of the regular file at `path`; None where there is none, as for a link."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    return stat.S_IMODE(mode) & 0o777 if stat.S_ISREG(mode) else None


def _empty_file(folder: Path, private: bool) -> Path:
    """A new file of a name that nobody else has. The system applies the umask, which a process
    can only read by setting it for all of its threads; a `private` one nobody else may read until
    it has the permissions of the file that it replaces."""
    path = folder / f"{TEMPORARY}{secrets.token_hex(8)}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666))
    return path


@contextmanager
def replacing(path: Path, remedy: str = REMEDY, new: bool = False) -> Iterator[BinaryIO]:
    """A file to write, which becomes `path`, durably, when all went well and else vanishes; makes
    the parent folders. It has the permissions of the file that it replaces, a new one those that
    the umask leaves. Where `path` is a link, the link is replaced and not what it points to.

    Args:
        remedy: see below.
        new: where `path` exists by the end it is not replaced, and the file is kept beside it; on
            disks without hard links but for one that appears in the last microseconds.

    Raises:
        UserError: the disk is full or the folder cannot be written; says `remedy`. With `new`,
            `path` exists; names the file beside it.
    """
    with replacing_path(path, remedy, new) as temporary, temporary.open("wb") as file:
        yield file


def write_atomic(path: Path, *parts: bytes | memoryview, remedy: str = REMEDY) -> None:
    """Write `parts` to `path`, as `replacing` does."""
    with replacing(path, remedy) as file:
        for part in parts:
            file.write(part)


def write_json(path: Path, content: Any, indent: int = 2) -> None:
    """Write `as_json` of it whole or not at all."""
    write_atomic(path, (as_json(content, indent) + "\n").encode())


def as_json(content: Any, indent: int | None = None) -> str:
    """`content` as JSON, with null for numbers that JSON has no word for, such as the PSNR of equal
    images, which is infinite."""
    separators = (",", ":") if indent is None else None
    return json.dumps(_finite(content), indent=indent, separators=separators, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list | tuple) else content


def unwritable(path: Path, error: OSError, remedy: str = REMEDY) -> UserError:
    """What to raise where `path` or something in it cannot be written: says `remedy`, and to free
    space first where the disk is full."""
    reason = error.strerror
    if isinstance(error, FileExistsError | NotADirectoryError):
        places = (path, *path.parents)
        wrong = next((p for p in places if os.path.lexists(p) and not p.is_dir()), path)
        reason = f"{wrong} is {'no folder' if wrong.exists() else 'a link to nothing'}"
    if error.errno in FULL:
        remedy = f"free disk space, or {remedy}"
    return UserError(f"{path}: cannot write ({reason}); {remedy}")


def remove_leftovers(folder: Path, *, recursive: bool = True, older_than: float = 0) -> None:
    """Delete the files and folders (TEMPORARY) that killed runs left below `folder`; where others
    may be writing, only what nobody has written to for `older_than` seconds."""
    oldest = time.time() - older_than
    for leftover in list(folder.glob(f"**/{TEMPORARY}*" if recursive else f"{TEMPORARY}*")):
        with suppress(OSError):  # another run was faster, or it is not ours to delete
            is_folder = leftover.is_dir() and not leftover.is_symlink()
            held = [*leftover.iterdir()] if is_folder else []
            if max(path.lstat().st_mtime for path in (leftover, *held)) > oldest:
                continue
            if is_folder:
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink()


def sibling(hr_folder: Path, ending: str) -> Path | None:
    """`hr_folder` with the last "_HR" of its name replaced by `ending`; None where it has none."""
    before, found, after = hr_folder.name.rpartition("_HR")
    return hr_folder.with_name(f"{before}{ending}{after}") if found else None

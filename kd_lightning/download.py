"""Fetch a file over HTTP once, whole and verified, or not at all."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from kd_lightning.errors import UserError
from kd_lightning.files import file_hash

CHUNK = 1 << 20  # bytes
ATTEMPTS = 5  # connections in a row that bring no byte
TIMEOUT = 30.0  # seconds without a byte


def home() -> Path:
    """The folder of downloads and caches: ``$KD_LIGHTNING_HOME``, or ``~/.cache/kd_lightning``."""
    return Path(os.environ.get("KD_LIGHTNING_HOME") or "~/.cache/kd_lightning").expanduser()


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
    pause: float = 1.0,
) -> Path:
    """Make ``path`` hold the file at ``url``; an existing ``path`` is returned as it is.

    The bytes go to ``<path>.part``, which a later call continues where the server allows it (HTTP
    range requests). Only a file of the right ``size`` (bytes) and hash (hex) gets its name.

    Without a size and a hash nothing of an earlier call is continued, and what may be cut (the
    server tells no length) or is a web page (a login, an error) is refused.

    ``pause``: seconds before the second attempt, doubled for each further one.

    Raises:
        UserError: no connection, an HTTP error, a wrong size or hash, a page; names the URL, the
            hash and where to put a file fetched by other means. A wrong file is deleted.
    """
    if path.exists():
        return path
    expected = (
        f"sha256 {sha256}" if sha256 else f"md5 {md5}" if md5 else f"{size} bytes" if size else ""
    )
    remedy = f"fetch {url} by other means" + (f" ({expected})" if expected else "")
    remedy += f" and put it at {path}"
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not expected:
        part.unlink(missing_ok=True)  # it may be of another version
    told = fetch(url, part, remedy, size, pause)
    wrong = mismatch(part, size=size, sha256=sha256, md5=md5)
    if not expected:
        wrong = _unconvincing(part, told)
    if wrong:
        part.unlink()
        raise UserError(f"{url}: {wrong}; the file was deleted: {remedy}")
    os.replace(part, path)
    return path


def mismatch(
    path: Path, *, size: int | None = None, sha256: str | None = None, md5: str | None = None
) -> str:
    """What is wrong with the file, or an empty string."""
    found = path.stat().st_size
    if size is not None and found != size:
        return f"has {found} bytes, expected {size}"
    for name, expected in (("sha256", sha256), ("md5", md5)):
        if expected is None:
            continue
        digest = file_hash(path, name)
        if digest != expected.lower():
            return f"has {name} {digest}, expected {expected.lower()}"
    return ""


class Told(NamedTuple):
    """What a server says of a file: bytes in all, if it does, and the content type."""

    total: int | None
    kind: str


def _unconvincing(part: Path, told: Told) -> str:
    """Why a file without a known size or hash cannot be trusted, or an empty string."""
    with part.open("rb") as file:
        head = file.read(200).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if told.kind == "text/html" or head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page, not the file"
    if told.total is None:
        return "may be cut, for the server tells no length"
    return "" if head or told.total else "is empty"


def fetch(url: str, part: Path, remedy: str, size: int | None, pause: float) -> Told:
    """Append to ``part`` until the server has sent all; a cut connection is taken up again."""
    failures = 0
    with _progress() as progress:
        task = progress.add_task(part.stem, total=size)
        while True:
            before = _size(part)
            try:
                told = _receive(url, part, progress, task)
                if told.total is None or _size(part) >= told.total:
                    return told
                problem = f"the connection ended at {_size(part)} of {told.total} bytes"
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 416:  # nothing is left to send; the hash decides about the part
                    return Told(_size(part), "")
                if error.code < 500:
                    raise UserError(f"{url}: HTTP {error.code} {error.reason}: {remedy}") from error
                problem = f"HTTP {error.code} {error.reason}"
            except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
                problem = str(getattr(error, "reason", error)) or type(error).__name__
            except OSError as error:
                raise UserError(
                    f"{part}: {error.strerror}; free space there, or set KD_LIGHTNING_HOME"
                ) from error
            failures = 1 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise UserError(f"{url}: {problem}: {remedy}")
            time.sleep(pause * 2 ** (failures - 1))


def _receive(url: str, part: Path, progress: Progress, task: TaskID) -> Told:
    """One connection. In chunks, the end is told too: http.client raises where it is missing."""
    start = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        resumed = response.status == 206
        start = start if resumed else 0
        length = response.headers.get("Content-Length") or ""
        total = start + int(length) if length.isdecimal() else None
        progress.update(task, completed=start, total=total)
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                progress.advance(task, len(chunk))
        if response.headers.get("Transfer-Encoding", "").lower() == "chunked":
            total = _size(part)
        return Told(total, response.headers.get_content_type())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        transient=True,
    )

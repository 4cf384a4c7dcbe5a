"""A source of a video as an `av` container, and the stream in it that is the film."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kd_lightning.errors import UserError
from kd_lightning.video.formats import FIELD_ORDERS, pyav


def open_container(source: Any, shown: str, container: str | None) -> Any:
    """Of a path, a URL that FFmpeg knows or a binary stream; an `av` container is given back.

    Args:
        source: see above.
        shown: how messages name it.
        container: FFmpeg's name of the container; None where the source shows it.

    Raises:
        UserError: no such file, or not a video.
    """
    av = pyav()
    if isinstance(source, av.container.InputContainer):
        return source
    name = source
    if isinstance(source, str | Path):
        if Path(source).exists():
            name = f"file:{source}"
        elif "://" not in str(source):
            raise UserError(f"{shown}: no such file")
    try:
        return av.open(name, format=container, metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError(f"{shown}: not a video that can be read ({reason(error)})") from None


def film_of(container: Any, shown: str) -> Any:
    """The first video stream that is no cover.

    Raises:
        UserError: none, or one whose frames cannot be restored as they are.
    """
    cover = pyav().stream.Disposition.attached_pic
    films = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not films:
        kinds = sorted({stream.type for stream in container.streams})
        only = f"only {', '.join(kinds)}" if kinds else "nothing"
        raise UserError(f"{shown}: holds no video stream, {only}")
    film = films[0]
    if film.codec_context is None:
        raise UserError(f"{shown}: nothing here decodes its video stream")
    if int(film.codec_context.field_order or 0) in FIELD_ORDERS:
        raise UserError(f"{shown}: interlaced; convert it first: ffmpeg -i {shown} -vf bwdif")
    if film.metadata.get("alpha_mode") == "1":
        raise UserError(
            f"{shown}: has alpha, which is not kept; convert it first: ffmpeg -i {shown} "
            "-pix_fmt yuv420p"
        )
    return film


def reason(error: Exception) -> str:
    """What `error` says, on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:120]

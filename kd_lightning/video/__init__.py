"""Video: files (reader, pipeline, writer) and live streams. Needs the extra `video` (PyAV)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kd_lightning.video.live import stream as stream


def __getattr__(name: str) -> Any:
    if name == "stream":  # importing this package stays cheap
        from kd_lightning.video.live import stream

        return stream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Live sources: cameras, files at their own pace, network streams and pipes.

Each is an iterable of (moment of capture, `Frame`), as `kd_lightning.video.live.stream` reads it.
The moment of capture is when the decoded frame is there, or, for a file, when it is due.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from kd_lightning.errors import UserError
from kd_lightning.stages import in_stage
from kd_lightning.video.closing import Closing
from kd_lightning.video.formats import pyav
from kd_lightning.video.frame import Frame
from kd_lightning.video.live import Captured
from kd_lightning.video.orientation import turns_sides, upright
from kd_lightning.video.reader import PIPE, Reader

STDIN = "-"
SILENCE = 10.0  # seconds without data after which a network stream has ended
AT_ONCE = {"fpsprobesize": "0"}  # no frames are held back to learn the rate from
FILTER = Image.Resampling.BICUBIC  # for frames of another size than the first
STALL = 0.25  # seconds; a file that falls further behind goes on from where it is
# sys.platform -> FFmpeg's format of camera devices, what turns a number into a name, options
DEVICES: dict[str, tuple[str, str, dict[str, str]]] = {
    "linux": ("v4l2", "/dev/video{}", {}),
    "darwin": ("avfoundation", "{}", {"framerate": "30"}),
    "win32": ("dshow", "", {"rtbufsize": "64M"}),
}


class LiveSource(Closing):
    """Frames when they are captured.

        with open_camera("0") as camera:
            for moment, frame in camera: ...

    Args:
        reader: of an open stream; closed with this.
        paced: give each frame when it is due, as a camera would; else as soon as it is there.

    Frames are upright, whatever the stream says of its rotation, and all of the size of the first:
    others are scaled into it, between black bars where their shape is another.

    Attributes:
        rate: frames a second, as the stream says.
        size: height, width of a frame.
        problems: a line each for what was damaged and left out.
        notes: a line where its time jumps, which goes on there: see `Clock`.
        tell: called with a line, from the thread that reads, where the stream's size changes; until
            it is set, the line goes to `problems`.
    """

    def __init__(self, reader: Reader, paced: bool = False) -> None:
        self._reader, self._paced = reader, paced
        self.notes = reader.notes
        self.rate = float(reader.info.rate)
        self.tell: Callable[[str], None] = reader.problems.append
        self._stored = reader.info.height, reader.info.width
        self._matrix = reader.info.rotation
        sides = turns_sides(self._matrix) if self._matrix else False
        if sides is None:
            self._matrix = None
            self.problems.append("rotated by no multiple of 90 degrees: shown as it is stored")
        self.size = self._stored[::-1] if sides else self._stored
        self._in_use = threading.Lock()

    def close(self) -> None:
        if self._in_use.acquire(blocking=False):  # else a thread still waits for a frame
            self._reader.close()

    @property
    def problems(self) -> list[str]:
        return self._reader.problems

    def __iter__(self) -> Iterator[Captured]:
        frames = iter(self._reader)
        start: float | None = None
        while True:
            with self._in_use:
                frame = next(frames, None)
            if frame is None:
                return
            frame = self._as_shown(frame)
            now = time.monotonic()
            if not self._paced:
                yield now, frame
                continue
            start = now - frame.seconds if start is None else start
            due = start + frame.seconds
            time.sleep(max(0.0, due - now))
            yield due, frame
            if now - due > STALL:
                start += now - due

    def _as_shown(self, frame: Frame) -> Frame:
        """Upright, and of `size`."""
        if frame.size != self._stored:
            self._stored = frame.size
            self.tell(
                "the size changes to {1}x{0}; shown at {3}x{2}".format(*frame.size, *self.size)
            )
        if self._matrix:
            frame = frame.with_image(upright(frame.pixels, self._matrix))
        if frame.size != self.size:
            fitted = ImageOps.pad(Image.fromarray(frame.pixels), self.size[::-1], FILTER)
            frame = frame.with_image(np.asarray(fitted))
        return frame


def open_camera(camera: str) -> LiveSource:
    """A camera of this computer.

    Args:
        camera: its number, its name as the system has it, or its device file.

    Raises:
        UserError: there is none of that name (the message lists what there is), or it gives
            frames that cannot be restored.
    """
    if sys.platform not in DEVICES:
        raise UserError(f"--camera {camera}: no cameras are known on {sys.platform}; give a URL")
    kind, numbered, options = DEVICES[sys.platform]
    return in_stage(
        lambda: open_device(_device_name(camera, kind, numbered), kind, options, f"camera {camera}")
    )


def open_device(name: str, kind: str, options: dict[str, str], shown: str) -> LiveSource:
    """A capture device of FFmpeg: `name` and `options` as its format `kind` has them."""
    av = pyav()
    try:
        container = av.open(name, format=kind, options=options)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        there = _listed(kind)
        raise UserError(
            f"{shown}: cannot be opened ({getattr(error, 'strerror', None) or error}); "
            + (f"there is {there}" if there else "this computer shows no camera")
        ) from None
    return LiveSource(Reader(container, shown, on_error="skip", any_size=True))


def open_stream(name: str) -> LiveSource:
    """A file at its own pace, a URL (rtsp://, http://, udp://, ...), or `-`, a container on
    standard input, at the pace of whoever writes it.

    Raises:
        UserError: it cannot be read, or its frames cannot be restored.
    """
    return in_stage(lambda: _open_stream(name))


def _open_stream(name: str) -> LiveSource:
    if name != STDIN and ("://" not in name or Path(name).exists()):
        return LiveSource(Reader(name, on_error="skip", any_size=True), paced=True)
    av = pyav()
    shown = "standard input" if name == STDIN else name
    options = AT_ONCE | ({"rtsp_transport": "tcp"} if name.startswith("rtsp") else {})
    timeout = None if name == STDIN else SILENCE
    try:
        container = av.open(PIPE if name == STDIN else name, options=options, timeout=timeout)
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{shown}: cannot be opened ({reason})") from None
    return LiveSource(Reader(container, shown, on_error="skip", any_size=True))


def _device_name(camera: str, kind: str, numbered: str) -> str:
    if kind == "dshow":
        names = [device.name for device in _devices(kind)]
        known = camera.isdecimal() and int(camera) < len(names)
        return f"video={names[int(camera)] if known else camera}"
    return numbered.format(camera) if camera.isdecimal() else camera


def _devices(kind: str) -> list[Any]:
    av = pyav()
    try:
        found = av.enumerate_input_devices(kind)
    except (av.error.FFmpegError, ValueError, OSError):
        return []  # this system cannot list them
    return [device for device in found if "video" in device.media_types]


def _listed(kind: str) -> str:
    return ", ".join(f"{device.name} ({device.description})" for device in _devices(kind))

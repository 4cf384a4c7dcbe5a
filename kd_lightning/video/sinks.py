"""Where a live stream goes: a window, a pipe, a virtual camera. Each is used as a context."""

import os
import sys
from typing import Any

import numpy as np
from PIL import Image

from kd_lightning.errors import UserError
from kd_lightning.video.closing import Closing
from kd_lightning.video.frame import Frame

STDOUT = "-"


class Window(Closing):
    """A window (Tk, which comes with Python) that ends the stream where it is closed, or at Esc
    or q. To be made and used in the main thread.

    Raises:
        UserError: Python was built without Tk, or there is no display.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError:
            raise UserError(
                "--show needs Tk: install your system's python3-tk, or use --pipe"
            ) from None
        try:
            self._root = tkinter.Tk(className="kd-enhance")
        except tkinter.TclError as error:
            raise UserError(f"--show: no window can be opened here ({error}); use --pipe") from None
        self._tk = ImageTk
        self._image: Any = None  # made for the first frame
        self._open = True
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self._leave)
        for key in ("<Escape>", "q"):
            self._root.bind(key, self._leave)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()

    def show(self, frame: Frame) -> bool:
        image = Image.fromarray(frame.pixels)
        if self._image is None:
            self._image = self._tk.PhotoImage(image)
            self._label.configure(image=self._image)
        else:
            self._image.paste(image)
        self._root.update()
        return self._open

    def close(self) -> None:
        self._root.destroy()

    def _leave(self, event: Any = None) -> None:
        self._open = False


class Pipe(Closing):
    """Raw frames, one after the other, each height x width x 3 bytes of RGB, for FFmpeg or OBS.

    Args:
        target: a file or named pipe; `-` is standard output.

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, target: str) -> None:
        place = sys.stdout.fileno() if target == STDOUT else target
        try:
            self._file = open(place, "wb", 0, closefd=target != STDOUT)  # noqa: SIM115, see `close`
        except OSError as error:
            raise UserError(f"--pipe {target}: {error.strerror}") from None

    def show(self, frame: Frame) -> bool:
        rest = np.ascontiguousarray(frame.pixels).data.cast("B")
        try:
            while rest:  # no buffer: closing one would wait for a reader that has stopped
                rest = rest[self._file.write(rest) :]
        except BrokenPipeError:  # whoever read it has seen enough
            # Nothing may try again, when the file is closed or Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
            return False
        return True

    def close(self) -> None:
        self._file.close()


class VirtualCamera(Closing):
    """A camera that other programs can choose, through pyvirtualcam (GPL-2, not part of this
    package): v4l2loopback on Linux, OBS's camera on macOS and Windows.

    Args:
        height, width: of the frames to come.
        rate: frames a second.

    Raises:
        UserError: pyvirtualcam, or a device that it can write to, is missing.
    """

    def __init__(self, height: int, width: int, rate: float) -> None:
        try:
            import pyvirtualcam
        except ImportError:
            raise UserError(
                "--virtual-camera needs pyvirtualcam (GPL-2): pip install "
                "'kd_lightning[virtualcam]'; or use --pipe"
            ) from None
        try:
            self._camera = pyvirtualcam.Camera(width, height, rate)
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(f"--virtual-camera: {reason}; or use --pipe") from None
        self.device: str = self._camera.device

    def show(self, frame: Frame) -> bool:
        self._camera.send(frame.pixels)
        return True

    def close(self) -> None:
        self._camera.close()

"""Where live frames go."""

import os
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

from kd_lightning.errors import UserError
from kd_lightning.video.frame import Frame
from kd_lightning.video.sinks import Pipe, VirtualCamera, Window
from tests.video.live_parts import FakeCamera, frame


def gradient(number: int) -> Frame:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[..., 0] = np.arange(64) * 4
    pixels[..., 1] = np.arange(48)[:, None] * 5
    pixels[..., 2] = number
    return frame(number).with_image(pixels)


def test_a_window_shows_the_pixels_of_the_newest_frame(
    display: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import ImageGrab

    monkeypatch.setenv("DISPLAY", display)
    with Window("test") as window:
        assert all(window.show(gradient(number)) for number in (10, 250))
        window._root.geometry("+0+0")
        window._root.update()
        assert window.show(gradient(200))
        screen = np.asarray(ImageGrab.grab(xdisplay=display).convert("RGB"))
        x, y = window._label.winfo_rootx(), window._label.winfo_rooty()
        assert np.array_equal(screen[y : y + 48, x : x + 64], gradient(200).pixels)


@pytest.mark.parametrize("how", ["<Escape>", "q", "closed"])
def test_a_window_that_the_viewer_leaves_ends_the_stream(
    display: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("DISPLAY", display)
    with Window("test") as window:
        assert window.show(frame(1))
        if how == "closed":
            window._root.tk.call(window._root.protocol("WM_DELETE_WINDOW"))
        else:
            window._root.focus_force()
            window._root.update()
            window._root.event_generate(how)
        assert not window.show(frame(2))


def test_no_display_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tkinter")
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(UserError, match=r"--show: no window can be opened here .*; use --pipe"):
        Window("test")


def test_python_without_tk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(UserError, match=r"--show needs Tk: .*python3-tk"):
        Window("test")


def test_a_pipe_holds_the_rows_of_each_frame_one_after_the_other(tmp_path: Path) -> None:
    with Pipe(str(tmp_path / "frames.rgb")) as pipe:
        turned = frame(0).with_image(gradient(2).pixels.transpose(1, 0, 2))
        assert all(pipe.show(each) for each in (gradient(1), turned))
    expected = gradient(1).pixels.tobytes() + turned.pixels.tobytes()
    assert (tmp_path / "frames.rgb").read_bytes() == expected


def test_a_pipe_whose_reader_leaves_ends_the_stream(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: fifo.open("rb").close())
    reader.start()
    with Pipe(str(fifo)) as pipe:
        reader.join(10)
        assert not all(pipe.show(gradient(number)) for number in range(20))


def test_a_pipe_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--pipe .*missing/x: No such file"):
        Pipe(str(tmp_path / "missing" / "x"))


@pytest.fixture
def pyvirtualcam(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("pyvirtualcam")
    module.Camera = FakeCamera  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)


@pytest.mark.usefixtures("pyvirtualcam")
def test_a_virtual_camera_is_sent_each_frame() -> None:
    with VirtualCamera(48, 64, 30) as camera:
        assert camera.show(gradient(1))
        assert camera.show(gradient(2))
    fake = FakeCamera.last
    assert fake.closed
    assert (fake.size, fake.fps) == ((48, 64), 30)
    assert [int(sent[0, 0, 2]) for sent in fake.sent] == [1, 2]


@pytest.mark.usefixtures("pyvirtualcam")
def test_a_missing_device_of_a_virtual_camera_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^--virtual-camera: 'v4l2loopback' backend: no device"):
        VirtualCamera(720, 1280, 30)


def test_a_missing_pyvirtualcam_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(UserError, match=r"GPL-2.*kd_lightning\[virtualcam\]"):
        VirtualCamera(48, 64, 30)


def test_the_real_pyvirtualcam_is_called_as_it_wants_to_be() -> None:
    """Where the system has a loopback device."""
    pytest.importorskip("pyvirtualcam")
    try:
        camera = VirtualCamera(48, 64, 30)
    except UserError as error:
        pytest.skip(str(error))
    with camera:
        assert camera.show(gradient(1))

"""Frames and their times through a file."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from kd_lightning.errors import UserError
from kd_lightning.video.frame import Color, Frame
from kd_lightning.video.reader import Reader
from kd_lightning.video.writer import Encoding, Writer
from kd_lightning.yuv import Yuv, rgb_to_yuv

TICK = Fraction(1, 1000)


def planes(number: int, height: int = 18, width: int = 32) -> Yuv:
    noise = np.random.default_rng(number)
    return rgb_to_yuv(noise.integers(0, 256, (height, width, 3), np.uint8), "bt601")


def test_frames_and_their_times_come_back_from_a_lossless_file(tmp_path: Path) -> None:
    times = [0, 40, 41, 200, 1200]
    with Writer(tmp_path / "clip.mkv", Encoding("ffv1")) as writer:
        for number, pts in enumerate(times):
            writer.write(Frame(planes(number), pts, TICK))
    with Reader(tmp_path / "clip.mkv") as reader:
        frames = list(reader)
    assert [frame.seconds for frame in frames] == pytest.approx([t / 1000 for t in times])
    for number, frame in enumerate(frames):
        assert all(map(np.array_equal, frame.image, planes(number)))


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Writer(tmp_path / "clip.mp4") as writer:
        writer.write(Frame(planes(0), 0, TICK))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_video_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"text" * 100)
    with pytest.raises(UserError, match=r"clip\.mp4: not a video"):
        Reader(tmp_path / "clip.mp4")
    with pytest.raises(UserError, match="no such file"):
        Reader(tmp_path / "missing.mp4")


ENCODES = """
import sys
from fractions import Fraction
import numpy as np
from kd_lightning.video.frame import Color, Frame
from kd_lightning.video.writer import Encoding, Writer
with Writer(sys.argv[1], Encoding(sys.argv[2])) as writer:
    writer.write(Frame(np.zeros((64, 64, 3), np.uint8), 0, Fraction(1, 30)))
"""


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "ffv1"])
def test_encoders_say_nothing_of_themselves(codec: str, tmp_path: Path) -> None:
    """In a process of its own: SVT-AV1 asks once how much it may say."""
    program = [sys.executable, "-c", ENCODES, str(tmp_path / "out.mkv"), codec]
    done = subprocess.run(program, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class Closed:
    """A pipe whose reader has seen enough, after so many bytes."""

    def __init__(self, size: int) -> None:
        self._left = size

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise BrokenPipeError
        return len(data)


@pytest.mark.parametrize("size", [0, 3000, 200_000], ids=["at once", "early", "later"])
@pytest.mark.parametrize("container", ["nut", "mp4", "matroska", "mpegts"])
def test_a_reader_that_leaves_is_what_the_error_says_whatever_closing_raises(
    container: str, size: int
) -> None:
    codec, quality = ("ffv1", None) if container == "nut" else ("h264", 1)
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    target: Any = Closed(size)
    usual = Color("bt601")
    encoding = Encoding(codec, quality, container)
    with pytest.raises(BrokenPipeError), Writer(target, encoding) as writer:
        for number in range(100):
            writer.write(
                Frame(noise[:, :: (-1) ** number].copy(), number, Fraction(1, 25), color=usual)
            )

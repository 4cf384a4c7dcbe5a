"""Live sources: when frames come, and what cannot be had."""

import itertools
import subprocess
import sys
import threading
import time
from fractions import Fraction
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from kd_lightning.errors import UserError
from kd_lightning.video.camera import open_camera, open_device, open_stream
from kd_lightning.video.frame import Color, Frame
from kd_lightning.video.writer import Encoding, Writer
from kd_lightning.yuv import rgb_to_yuv
from tests.video.live_parts import frame

TEST_DEVICE = "testsrc2=size=64x48:rate=25,format=yuv420p"  # of FFmpeg's lavfi, a virtual device
TIMES = (0, 100, 150, 400)  # milliseconds


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Variable frame rate, the first frame at 2 seconds."""
    path = tmp_path / "clip.mkv"
    with Writer(path, Encoding("ffv1")) as writer:
        for number, pts in enumerate(TIMES):
            image = rgb_to_yuv(frame(10 * number).pixels, "bt601")
            writer.write(Frame(image, 2000 + pts, Fraction(1, 1000)))
    return path


def test_a_file_comes_at_its_own_pace(clip: Path) -> None:
    with open_stream(str(clip)) as source:
        seen = [(moment, time.monotonic(), frame) for moment, frame in source]
    captured = [moment - seen[0][0] for moment, _, _ in seen]
    assert captured == pytest.approx([pts / 1000 for pts in TIMES], abs=1e-6)
    for moment, now, _ in seen:
        assert -1e-3 <= now - moment < 0.2
    brightness = [int(frame.pixels.mean()) for _, _, frame in seen]
    assert brightness == pytest.approx([0, 10, 20, 30], abs=1)


def test_a_file_read_too_slowly_goes_on_from_where_it_is(clip: Path) -> None:
    with open_stream(str(clip)) as source:
        late = []
        for number, (moment, _) in enumerate(source):
            late.append(time.monotonic() - moment)
            if number == 0:
                time.sleep(0.7)
    assert late[1] > 0.5, "the frame that waited counts from when it was due"
    assert late[2] < 0.2


def test_a_capture_device_gives_frames_with_their_size_and_rate() -> None:
    with open_device(TEST_DEVICE, "lavfi", {}, "test device") as source:
        assert source.size == (48, 64)
        assert source.rate == 25
        before = time.monotonic()
        frames = list(itertools.islice(source, 3))
    moments = [moment for moment, _ in frames]
    assert before <= moments[0] <= moments[1] <= moments[2] <= time.monotonic()
    first, *_ = (frame.pixels for _, frame in frames)
    assert first.shape == (48, 64, 3)
    assert first.std() > 20


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
@pytest.mark.parametrize("camera", ["63", "/dev/video63"])
def test_a_missing_camera_is_one_line_that_says_which_there_are(camera: str) -> None:
    if Path("/dev/video63").exists():
        pytest.skip("there is such a camera")
    with pytest.raises(UserError, match=r"^camera \S*63: cannot be opened .*(there is|no camera)"):
        open_camera(camera)


@pytest.mark.parametrize("name", ["rtsp://127.0.0.1:9/x", "http://127.0.0.1:9/x.ts"])
def test_a_url_that_nobody_serves_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=r"cannot be opened \(Connection refused"):
        open_stream(name)


def test_a_stream_of_the_network_gives_its_frames(clip: Path) -> None:
    """Over HTTP; a server of RTSP is not at hand here."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(clip.parent))
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open_stream(f"http://127.0.0.1:{server.server_port}/{clip.name}") as source:
            brightness = [int(frame.pixels.mean()) for _, frame in source]
        server.shutdown()
    assert brightness == pytest.approx([0, 10, 20, 30], abs=1)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.mp4: no such file"):
        open_stream(str(tmp_path / "x.mp4"))


def test_a_container_on_standard_input_is_read_while_it_is_written(tmp_path: Path) -> None:
    """A frame is there before its writer ends: nothing waits for the whole of it."""
    code = (
        "from kd_lightning.video.camera import open_stream\n"
        "with open_stream('-') as source:\n"
        "    for _, frame in source:\n"
        "        print(int(frame.pixels.mean()), flush=True)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as reader:
        watchdog = threading.Timer(60, reader.kill)  # a line then ends in nothing
        watchdog.start()
        assert reader.stdin and reader.stdout
        target = Unclosed(reader.stdin)
        with Writer(target, Encoding("ffv1", container="nut"), shown="pipe") as writer:  # type: ignore[arg-type]
            grey = np.full((240, 320, 3), 50, np.uint8)
            noise = np.random.default_rng(0).integers(0, 256, grey.shape, np.uint8)
            image, noise = (rgb_to_yuv(rgb, "bt601") for rgb in (grey, noise))
            usual = Color("bt601")
            writer.write(Frame(image, 0, Fraction(1, 25), color=usual))
            for number in range(1, 12):
                writer.write(Frame(noise, number, Fraction(1, 25), color=usual))
            assert int(reader.stdout.readline()) in (49, 50, 51)
        reader.stdin.close()
        assert len(reader.stdout.readlines()) == 11
        watchdog.cancel()


class Unclosed:
    """A pipe as FFmpeg writes it: not seekable."""

    def __init__(self, pipe: object) -> None:
        self._pipe = pipe

    def write(self, data: bytes) -> int:
        count: int = self._pipe.write(data)  # type: ignore[attr-defined]
        self._pipe.flush()  # type: ignore[attr-defined]
        return count

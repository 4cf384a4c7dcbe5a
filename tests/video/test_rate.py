"""The rate of streams that say it, and of those that do not."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from kd_lightning.deploy.backends import Runner
from kd_lightning.video.camera import open_stream
from kd_lightning.video.rate import measured_rate
from kd_lightning.video.reader import Reader
from kd_lightning.video.writer import Encoding
from tests.video.clips import Clip, browser_clip, picture, times, write
from tests.video.test_containers import through

JITTER = (0, 20, 65, 115, 135, 165, 215, 250, 290, 320, 340, 380, 420, 445, 465, 495, 530, 580, 600)
ODD = (0, 17, 67, 117, 134, 167, 217, 251, 331, 381, 397, 447, 463, 497, 530, 580, 597, 614)


@pytest.mark.parametrize("moments", [JITTER, ODD])
def test_a_browsers_recording_has_the_rate_of_its_frames_and_not_of_its_clock(
    moments: tuple[int, ...], tmp_path: Path
) -> None:
    source = browser_clip(tmp_path / "in.webm", moments)
    with av.open(str(source)) as file:
        assert (file.streams.video[0].average_rate or file.streams.video[0].guessed_rate) >= 200
    with Reader(source) as reader:
        assert 20 < reader.info.rate < 40
        assert [frame.seconds for frame in reader] == pytest.approx(times(source))
        assert reader.problems == []
    with open_stream(str(source)) as live:
        assert 20 < live.rate < 40
        assert len(list(live)) == len(moments)


@pytest.mark.parametrize("codec", ["av1", "h264"])
def test_a_browsers_recording_is_written_at_its_times(
    codec: str, tmp_path: Path, identity: Runner
) -> None:
    source, target = browser_clip(tmp_path / "in.webm", JITTER), tmp_path / "out.mkv"
    through(source, target, identity, Encoding(codec))
    assert times(target) == pytest.approx(times(source), abs=1.1e-3)


def test_more_frames_a_second_than_av1_counts_keep_their_times(
    tmp_path: Path, identity: Runner
) -> None:
    moments = range(0, 40)
    source = write(tmp_path / "in.mp4", Clip(height=64, width=64, times=moments))
    with Reader(source) as reader:
        assert reader.info.rate > 240
    through(source, target := tmp_path / "out.mkv", identity, Encoding("av1"))
    assert times(target) == pytest.approx([moment / 600 for moment in moments], abs=1.1e-3)


@pytest.mark.parametrize("step", [10, 12, 20, 24])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_a_raw_stream_has_the_rate_that_its_frames_say_and_not_ffmpegs_default(
    codec: str, step: int, tmp_path: Path, identity: Runner
) -> None:
    raw = {"libx264": "h264", "libx265": "hevc", "mpeg2video": "mpeg2video"}[codec]
    source, target = tmp_path / f"in.{raw}", tmp_path / "out.mkv"
    rate = Fraction(600, step)
    silent = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(source), "w", format=raw) as file:
        stream = file.add_stream(codec, rate=rate, options=silent)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            file.mux(stream.encode(picture(Clip(height=48, width=64), number)))
        file.mux(stream.encode(None))
    with Reader(source) as reader:
        assert reader.info.rate == rate
    with open_stream(str(source)) as live:
        assert live.rate == rate
    through(source, target, identity, Encoding("h264"))
    found = times(target)
    assert [at - found[0] for at in found] == pytest.approx(
        [float(number / rate) for number in range(10)], abs=1.1e-3
    )


def test_a_pause_does_not_change_the_rate_and_one_frame_has_the_usual_one() -> None:
    usual = Fraction(30)
    assert measured_rate([Fraction(n, 25) for n in (0, 1, 2, 90, 91)], usual) == 25
    assert measured_rate([Fraction(n, 1000) for n in (0, 33, 66, 100)], usual) == 30
    assert measured_rate([Fraction(3)], usual) == 30

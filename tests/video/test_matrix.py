"""Clips of every kind: each comes through right, or is refused in one line."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from kd_lightning.deploy.backends import Runner
from kd_lightning.errors import UserError
from kd_lightning.video.codecs import CODECS
from kd_lightning.video.enhancing import enhanced, prepare
from kd_lightning.video.frame import Frame
from kd_lightning.video.pipeline import process
from kd_lightning.video.reader import Reader
from kd_lightning.video.suffixes import CONTAINERS
from kd_lightning.video.writer import Encoding, Writer
from tests.video.clips import BARS, SPACE, Clip, bars, times, write

VARIABLE = (0, 20, 30, 90, 95, 200)
RIGHT = {
    "h264 mp4": (Clip(), ".mp4"),
    "h264 ts": (Clip(), ".ts"),
    "h264 full 601": (Clip(matrix="bt601", full_range=True), ".mkv"),
    "h264 limited 709": (Clip(matrix="bt709"), ".mp4"),
    "h264 variable rate": (Clip(times=VARIABLE), ".mp4"),
    "h264 4:4:4": (Clip(format="yuv444p"), ".mp4"),
    "h264 one frame": (Clip(times=(0,)), ".mp4"),
    "hevc mp4": (Clip("libx265", options={"x265-params": "log-level=none"}), ".mp4"),
    "vp9 webm": (Clip("libvpx-vp9"), ".webm"),
    "vp9 odd": (Clip("libvpx-vp9", height=25, width=33), ".webm"),
    "vp8 mkv": (Clip("libvpx"), ".mkv"),
    "av1 mkv": (Clip("libsvtav1", height=64, width=64), ".mkv"),
    "mpeg4 avi": (Clip("mpeg4", times=range(0, 200, 20)), ".avi"),
    "mjpeg mkv": (Clip("mjpeg", "yuvj420p", matrix="bt601", full_range=True), ".mkv"),
    "mjpeg 4:2:2": (Clip("mjpeg", "yuvj422p"), ".mkv"),
    "ffv1 odd": (Clip("ffv1", height=25, width=33), ".mkv"),
    "ffv1 4:2:2": (Clip("ffv1", "yuv422p"), ".mkv"),
    "ffv1 4:4:4": (Clip("ffv1", "yuv444p"), ".mkv"),
    "ffv1 rgb": (Clip("ffv1", "bgr0"), ".mkv"),
    "ffv1 grey": (Clip("ffv1", "gray"), ".mkv"),
    "rawvideo nv12": (Clip("rawvideo", "nv12"), ".nut"),
}
NOT_HELD = {
    *((".mov", codec) for codec in ("vp9", "av1", "ffv1")),
    *((".ts", codec) for codec in ("vp9", "av1", "ffv1")),
    *((".webm", codec) for codec in ("h264", "hevc", "ffv1")),
}
REFUSED = {
    "10-bit": (Clip("ffv1", "yuv420p10le"), ".mkv", "10-bit"),
    "12-bit": (Clip("ffv1", "yuv422p12le"), ".mkv", "12-bit"),
    "alpha": (Clip("ffv1", "yuva420p"), ".mkv", "alpha"),
    "rgb with alpha": (Clip("ffv1", "bgra"), ".mkv", "alpha"),
    "HDR": (Clip(transfer=16), ".mp4", "HDR"),
    "interlaced": (Clip(height=32, options={"x264-params": "tff=1"}), ".mp4", "interlaced"),
    "4:1:1": (Clip("ffv1", "yuv411p"), ".mkv", "yuv411p"),
}


def through(source: Path, target: Path, runner: Runner, codec: str = "ffv1") -> list[str]:
    """Write `source`, enhanced, to `target`; returns what was damaged."""
    with Reader(source) as reader, Writer(target, Encoding(codec), reader) as writer:
        process(
            reader,
            lambda frames: enhanced(runner, frames),
            writer,
            prepare=lambda frame: prepare(runner, frame),
        )
        return reader.problems


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_each_codec_comes_back_from_each_container_or_is_refused_at_once(
    suffix: str, codec: str, tmp_path: Path, identity: Runner
) -> None:
    source = write(tmp_path / "in.mp4", Clip(height=64, width=64, audio=1, times=range(0, 100, 20)))
    target = tmp_path / f"out{suffix}"
    try:
        Writer(target, Encoding(codec))
    except UserError as refusal:
        assert f"cannot hold {codec}; give --codec " in str(refusal)
        assert (suffix, codec) in NOT_HELD
        return
    assert (suffix, codec) not in NOT_HELD
    with Reader(source) as reader:
        reader.copied.clear()  # WebM holds no AAC
        with Writer(target, Encoding(codec), reader) as writer:
            process(reader, lambda frames: enhanced(identity, frames), writer)
    assert len(times(target)) == 5


@pytest.mark.parametrize("name", RIGHT)
def test_each_kind_comes_back_twice_as_large_in_its_colours_at_its_times(
    name: str, tmp_path: Path, identity: Runner
) -> None:
    clip, suffix = RIGHT[name]
    source = write(tmp_path / f"in{suffix}", clip)
    target = tmp_path / "out.mkv"
    assert through(source, target, identity) == []
    with Reader(source) as before, Reader(target) as after:
        assert (after.info.height, after.info.width) == (2 * clip.height, 2 * clip.width)
        if clip.format != "bgr0":  # RGB has no matrix to say
            assert after.info.color.full_range == before.info.color.full_range
            assert after.info.color.matrix == before.info.color.matrix
        pairs = list(zip(before, after, strict=True))
    assert len(pairs) == len(clip.times)
    start = pairs[0][0].seconds
    for (one, other), time in zip(pairs, clip.times, strict=True):
        assert other.seconds == pytest.approx(one.seconds, abs=1.1e-3)  # Matroska's tick
        assert one.seconds - start == pytest.approx(time / 600, abs=1.1e-3)
        inside = np.s_[3:-3, 22:29]  # of the last bar
        flat = one.pixels[inside].mean(axis=(0, 1))
        enlarged = other.pixels[6:-6, 44:58].mean(axis=(0, 1))
        assert np.abs(flat - enlarged).max() <= 2


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused_by_name_in_one_line(name: str, tmp_path: Path) -> None:
    clip, suffix, reason = REFUSED[name]
    source = write(tmp_path / f"in{suffix}", clip)
    with pytest.raises(UserError, match=reason) as caught:
        Reader(source)
    assert "\n" not in str(caught.value)
    assert str(source) in str(caught.value)


def test_files_without_frames_are_refused_in_one_line(tmp_path: Path) -> None:
    silent = tmp_path / "audio.mp4"
    with av.open(str(silent), "w") as file:
        track = file.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        file.mux(track.encode(frame))
        file.mux(track.encode(None))
    empty = tmp_path / "empty.mkv"
    with av.open(str(empty), "w") as file:
        video = file.add_stream("ffv1", rate=30)
        video.width, video.height = 32, 24
        file.start_encoding()
    (tmp_path / "nothing.mp4").write_bytes(b"")
    for path, reason in (
        (silent, "only audio"),
        (empty, "holds no frames|not a video"),
        (tmp_path / "nothing.mp4", "not a video"),
    ):
        with pytest.raises(UserError, match=reason):
            Reader(path)


@pytest.mark.parametrize("matrix", list(SPACE))
@pytest.mark.parametrize("full_range", [False, True])
def test_known_bars_come_back_within_two_levels_by_ffmpegs_own_conversion(
    matrix: str, full_range: bool, tmp_path: Path, identity: Runner
) -> None:
    clip = Clip("ffv1", height=32, width=256, times=(0,), matrix=matrix, full_range=full_range)
    target = tmp_path / "out.mkv"
    through(write(tmp_path / "in.mkv", clip), target, identity)
    from av.video.reformatter import Interpolation

    exact = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    with av.open(str(target)) as file:
        (frame,) = file.decode(video=0)
        assert int(frame.colorspace) == SPACE[matrix]
        rgb = frame.reformat(
            format="rgb24",
            src_colorspace=int(frame.colorspace),
            src_color_range=int(frame.color_range),
            dst_color_range=2,
            interpolation=exact,
        ).to_ndarray()
    expected = bars(32, 256).repeat(2, axis=0).repeat(2, axis=1)
    assert set(map(tuple, expected[0])) == set(map(tuple, BARS))
    for bar in range(7):
        inside = np.s_[50:, 64 * bar + 12 : 64 * bar + 52]
        assert np.abs(rgb[inside].astype(int) - expected[inside]).max() <= 2


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_each_codec_is_written_with_times_and_colours(
    codec: str, tmp_path: Path, identity: Runner
) -> None:
    clip = Clip(height=64, width=64, times=VARIABLE, matrix="bt601", aspect=Fraction(4, 3))
    source = write(tmp_path / "in.mp4", clip)
    target = tmp_path / "out.mp4"
    through(source, target, identity, codec)
    assert times(target) == pytest.approx([t / 600 for t in VARIABLE], abs=1e-6)
    with Reader(target) as after:
        assert after.info.color.matrix == "bt601"
        assert after.info.aspect == Fraction(4, 3)
        (first, *_) = after
    middle = np.s_[20:100, 116:124]
    with Reader(source) as before:
        (small, *_) = before
    difference = first.pixels[middle].mean(axis=(0, 1)) - small.pixels[10:50, 58:62].mean(
        axis=(0, 1)
    )
    assert np.abs(difference).max() <= 3


def test_an_aspect_or_rotation_that_the_file_cannot_say_is_refused(
    tmp_path: Path, identity: Runner
) -> None:
    wide = write(tmp_path / "wide.mp4", Clip(aspect=Fraction(4, 3)))
    turned = write(tmp_path / "turned.mp4", Clip(rotation=90))
    for source, suffix, reason in ((wide, "mkv", "not square"), (turned, "nut", "rotated")):
        with pytest.raises(UserError, match=reason):
            through(source, tmp_path / f"out.{suffix}", identity)
    assert not list(tmp_path.glob("out*")) and not list(tmp_path.glob(".tmp*"))


def test_a_container_that_cannot_say_the_range_refuses_it(tmp_path: Path, identity: Runner) -> None:
    source = write(tmp_path / "in.mkv", Clip(matrix="bt601", full_range=True))
    with pytest.raises(UserError, match=r"ffv1 in nut cannot say .* full range; write \.mkv"):
        through(source, tmp_path / "out.nut", identity)


def test_the_sides_of_tiles_reach_the_network(tmp_path: Path, identity: Runner) -> None:
    seen = []

    def noted(part: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(part.shape[1:3]))
        assert identity.frame
        return identity.frame(part)

    runner = replace(identity, frame=noted)
    frame = Frame(np.zeros((75, 113, 3), np.uint8), 0, Fraction(1, 30))
    (tiled,) = enhanced(runner, [frame], tile=64)
    assert tiled.size == (150, 226)
    assert len(seen) > 4
    assert max(max(shape) for shape in seen) <= 64

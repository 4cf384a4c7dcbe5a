"""Frames as they are shown: what a live stream does with rotation, and with another size."""

from pathlib import Path

import av
import numpy as np
import pytest

from kd_lightning.video.camera import open_stream
from kd_lightning.video.orientation import turns_sides, upright
from tests.video.clips import Clip, write

IMAGE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_phone_clip_is_shown_upright(rotation: int, tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.mp4", Clip(times=(0, 20)))
    source = write(tmp_path / "in.mp4", Clip(rotation=rotation, times=(0, 20)))
    with av.open(str(source)) as file:
        turned = next(file.decode(video=0)).rotation  # degrees, against the clock
    assert abs(turned) == abs(rotation)
    with open_stream(str(plain)) as before, open_stream(str(source)) as after:
        assert after.size == ((24, 32) if rotation == 180 else (32, 24))
        for (_, one), (_, other) in zip(before, after, strict=True):
            assert np.array_equal(other.pixels, np.rot90(one.pixels, turned // 90))
            assert other.size == after.size
        assert after.problems == []


def test_a_mirrored_camera_is_shown_as_it_says() -> None:
    one = 1 << 16
    mirrored, transposed = (-one, 0, 0, 0, one, 0, 0, 0, 1), (0, one, 0, one, 0, 0, 0, 0, 1)
    assert np.array_equal(upright(IMAGE, mirrored), IMAGE[:, ::-1])
    assert np.array_equal(upright(IMAGE, transposed), IMAGE.swapaxes(0, 1))


def test_other_angles_are_shown_as_they_are_stored_and_said(tmp_path: Path) -> None:
    with open_stream(str(write(tmp_path / "in.mp4", Clip(rotation=45)))) as source:
        assert source.size == (24, 32)
        assert next(iter(source))[1].size == (24, 32)
        assert source.problems == ["rotated by no multiple of 90 degrees: shown as it is stored"]
    assert turns_sides((1 << 16, 1 << 15, 0, 1 << 15, 1 << 16)) is None


def test_a_stream_goes_on_where_its_size_changes_and_says_so_at_once(tmp_path: Path) -> None:
    """As calls do where the network becomes slower, or the phone is turned."""
    wide = write(tmp_path / "wide.ts", Clip(height=48, width=64, times=range(0, 200, 20)))
    high = write(tmp_path / "high.ts", Clip(height=64, width=48, times=range(200, 400, 20)))
    source = tmp_path / "in.ts"
    source.write_bytes(wide.read_bytes() + high.read_bytes())
    said = list[str]()
    with open_stream(str(source)) as stream:
        frames = []
        stream.tell = lambda line: said.append(f"{len(frames)}: {line}")
        for _, frame in stream:
            frames.append(frame)
    assert [frame.size for frame in frames] == [(48, 64)] * 20
    assert said == ["10: the size changes to 48x64; shown at 64x48"]
    last = frames[-1].pixels.astype(int)
    assert last[:, :13].max() == 0 == last[:, -13:].max(), "between black bars"
    assert last[:, 16:-16].mean() > 60
    assert stream.problems == []

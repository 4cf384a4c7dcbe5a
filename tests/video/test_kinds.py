"""Frames of another kind in mid-stream: an output cannot have them, and a line says so."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kd_lightning.video.reader import Reader
from tests.video.clips import Clip, write

FIRST = Clip(matrix="bt601", transfer=6)
OTHERS = {
    "matrix": (replace(FIRST, matrix="bt709"), "colours change from bt601, .* to bt709, "),
    "range": (replace(FIRST, full_range=True), "from bt601, limited .* to bt601, full|yuvj420p"),
    "transfer": (replace(FIRST, transfer=1), "transfer 6 to .* transfer 1"),
    "HDR": (replace(FIRST, transfer=16), "transfer 6 to .* transfer 16"),
}


def joined(path: Path, *clips: Clip) -> Path:
    parts = [write(path.with_name(f"{n}.ts"), clip) for n, clip in enumerate(clips)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("name", OTHERS)
def test_colours_that_change_end_the_video_or_are_left_out_and_a_line_says_which(
    name: str, tmp_path: Path
) -> None:
    other, line = OTHERS[name]
    source = joined(tmp_path / "in.ts", FIRST, other, FIRST)
    for on_error, count in (("stop", 10), ("skip", 20)):
        with Reader(source, on_error=on_error) as reader:  # type: ignore[arg-type]
            frames = list(reader)
        assert len(frames) == count
        assert len({frame.color for frame in frames}) == 1
        assert re.search(line, reader.problems[0])


def test_hdr_after_frames_that_did_not_say_their_transfer_is_left_out(tmp_path: Path) -> None:
    source = joined(tmp_path / "in.ts", Clip(), Clip(transfer=16))
    with Reader(source) as reader:
        # FFmpeg gives what the decoder says by then to frames that wait in it and do not say it.
        assert len(list(reader)) in (8, 9, 10)
    assert "HDR" in reader.problems[0]


def test_frames_that_say_later_what_was_understood_before_are_of_one_kind(tmp_path: Path) -> None:
    source = joined(tmp_path / "in.ts", Clip(), FIRST, Clip())
    with Reader(source) as reader:
        assert len(list(reader)) == 30
    assert reader.problems == []


def test_a_live_stream_goes_on_with_each_frames_own_colours(tmp_path: Path) -> None:
    source = joined(tmp_path / "in.ts", FIRST, OTHERS["matrix"][0])
    with Reader(source, any_size=True) as reader:
        assert [frame.color.matrix for frame in reader] == ["bt601"] * 10 + ["bt709"] * 10
    assert reader.problems == []

"""Damage beside the frames: film and sound around it are kept, and one line says what is not."""

from pathlib import Path
from typing import Any

import pytest

from kd_lightning.deploy.backends import Runner
from kd_lightning.video.enhancing import enhanced
from kd_lightning.video.frame import Frame
from kd_lightning.video.pipeline import process
from kd_lightning.video.reader import OnError, Reader
from kd_lightning.video.writer import Encoding, Writer
from tests.video.clips import Clip, packets, times, write
from tests.video.test_streams import CELL, SOUND


def without_a_cell(path: Path) -> None:
    """Take the second half of a packet of sound out of a transport stream, as a network does."""
    cells = [path.read_bytes()[at : at + CELL] for at in range(0, path.stat().st_size, CELL)]
    later = [n for n, c in enumerate(cells) if int.from_bytes(c[1:3], "big") & 0x5FFF == SOUND]
    del cells[later[len(later) // 2]]
    path.write_bytes(b"".join(cells))


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_lost_packet_of_a_transport_stream_loses_one_of_sound_and_no_frame(
    suffix: str, on_error: OnError, tmp_path: Path, identity: Runner
) -> None:
    source = write(tmp_path / "in.ts", Clip(times=range(0, 600, 20), audio=1, sound="aac"))
    (whole,) = packets(source, "audio")
    without_a_cell(source)
    target = tmp_path / f"out{suffix}"
    with (
        Reader(source, on_error=on_error) as reader,
        Writer(target, Encoding("h264"), reader) as writer,
    ):
        process(reader, lambda frames: enhanced(identity, frames), writer)
    assert reader.problems == []
    (problem,) = writer.problems
    assert problem.startswith("a damaged packet of stream 1 at ")
    assert len(times(target)) == 30
    (kept,) = packets(target, "audio")
    assert len(kept) == len(whole) - 1
    assert kept[-1][1][-50:] == whole[-1][1][-50:]


def test_packets_that_a_container_refuses_are_left_out_and_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", Clip(times=range(0, 600, 20), audio=1))
    (whole,) = packets(source, "audio")
    target, count = tmp_path / "out.mp4", 0
    with Reader(source) as reader, Writer(target, Encoding("h264"), reader) as writer:
        for item in reader.items():
            if isinstance(item, Frame):
                writer.write(item)
                continue
            count += 1
            writer.copy(late(item) if count in (20, 30) else item)
    first, more = writer.problems
    assert first.startswith("a damaged packet of stream 1 at ")
    assert more == "2 packets beside the frames left out in all"
    (kept,) = packets(target, "audio")
    assert len(kept) == len(whole) - 2
    assert len(times(target)) == 30


def late(packet: Any) -> Any:
    """Decoded before the one before it, which no container takes."""
    packet.pts = packet.dts = packet.dts - 10_000
    return packet

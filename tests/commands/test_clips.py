"""kd-enhance on videos as a person uses it."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

from kd_lightning.commands import enhance as enhance_cli
from kd_lightning.video.frame import Frame
from kd_lightning.video.pipeline import process
from kd_lightning.video.reader import Reader
from kd_lightning.video.writer import Encoding, Writer
from tests.video.clips import Clip, packets, times, write
from tests.video.test_beside import without_a_cell

FRAMES = 5000  # of a clip that is interrupted


@pytest.fixture
def fixed(fast_weights: Path) -> list[str]:
    return ["--weights", str(fast_weights), "--backend", "torch", "--device", "cpu"]


@pytest.fixture
def call(fixed: list[str]):
    def run(*arguments: object) -> int:
        return enhance_cli.main([*map(str, arguments), *fixed])

    return run


def size(path: Path) -> tuple[int, int]:
    with Reader(path) as reader:
        return reader.info.width, reader.info.height


def test_a_clip_and_its_sound_to_a_clip(tmp_path: Path, call, capsys) -> None:
    source = write(tmp_path / "in.mp4", Clip(audio=1))
    assert call(source, "-o", tmp_path / "out.mp4") == 0
    assert size(tmp_path / "out.mp4") == (64, 48)
    assert times(tmp_path / "out.mp4") == pytest.approx(times(source))
    assert packets(tmp_path / "out.mp4", "audio") == packets(source, "audio")
    assert "10 frames" in capsys.readouterr().err
    assert call(source, "-o", tmp_path / "same.webm", "--scale", 1, "--crf", 30) == 1
    assert "cannot hold the audio stream" in capsys.readouterr().err
    assert call(source, "-o", tmp_path / "same.mkv", "--scale", 1, "--codec", "vp9") == 0
    assert size(tmp_path / "same.mkv") == (32, 24)


def test_a_container_beside_another_ending_is_refused_and_the_same_by_name_taken(
    tmp_path: Path, call, capsys
) -> None:
    source = write(tmp_path / "in.mp4", Clip())
    assert call(source, "-o", tmp_path / "out.mkv", "--format", "mp4") == 2
    assert "out.mkv: --format mp4 is not what .mkv says; leave it out" in capsys.readouterr().err
    assert call(source, "-o", tmp_path / "out.mkv", "--format", "matroska") == 0


class Terminal(io.StringIO):
    """What a person sees."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_speed_position_and_time_left(
    tmp_path: Path, call, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "in.mp4", Clip(times=range(0, 2400, 80)))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    assert call(source, "-o", tmp_path / "out.mp4") == 0
    seen = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(r"in\.mp4 .* \d+\.\d frames/s, at [1-4]\.\d s 0:00:0\d", seen)
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    assert call(source, "-o", tmp_path / "out.mp4", "--force", "--quiet") == 0
    assert "frames/s" not in screen.getvalue()


def test_a_film_that_appears_meanwhile_is_kept_and_all_is_said_of_the_one_beside_it(
    tmp_path: Path, call, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = Clip(times=range(0, 600, 20), options={"g": "10", "preset": "ultrafast"})
    source, out = write(tmp_path / "in.mkv", clip), tmp_path / "new" / "out.mkv"
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])

    def process_and_appear(*arguments: Any) -> Any:
        report = process(*arguments)
        out.write_bytes(b"theirs")
        return report

    monkeypatch.setattr("kd_lightning.video.pipeline.process", process_and_appear)
    assert call(source, "-o", out) == 1
    (beside,) = out.parent.glob("out-*.mkv")
    said = capsys.readouterr().err
    assert f"{out} exists by now and was kept; the result is in {beside}" in said
    assert "before it should" in said or "damaged data" in said
    assert out.read_bytes() == b"theirs"
    assert len(times(beside)) >= 1


def test_folders_and_globs_go_to_a_folder_and_each_clips_trouble_is_its_own(
    tmp_path: Path, call, capsys
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.mp4", "b.mkv", "c.avi"):
        write(folder / name, Clip("mpeg4"))
    (folder / "d.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("nor this")
    assert call(folder, "-o", out) == 1
    said = capsys.readouterr().err
    assert "1 entry left out (1 .txt)" in said
    assert "skipped" in said and "d.mp4: not a video" in said
    assert sorted(path.name for path in out.iterdir()) == ["a.mp4", "b.mkv", "c.mp4"]
    assert call(f"{folder}/*.mkv", "-o", f"{out}/") == 1
    assert "use --force" in capsys.readouterr().err
    assert call(f"{folder}/*.mkv", "-o", f"{out}/", "--skip-existing") == 0
    assert "1 of 1 videos are there already" in capsys.readouterr().err


@pytest.mark.parametrize("inputs", [["a.mp4", "b.png"], ["in", "b.png", "a.mp4"], ["[ab].*"]])
def test_a_video_and_an_image_in_one_command_are_refused_by_name(
    inputs: list[str], tmp_path: Path, call, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.mp4", Clip(times=(0,)))
    Image.new("RGB", (8, 8)).save("b.png")
    Path("in").mkdir()
    assert call(*inputs, "-o", "out/") == 2
    said = capsys.readouterr().err
    assert said == "kd-enhance: a.mp4 is a video and b.png an image; give them in two commands\n"
    assert not Path("out").exists()


def test_a_folder_of_both_is_one_of_images_unless_a_video_is_named(
    tmp_path: Path, call, capsys
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.mp4", Clip(times=(0,)))
    Image.new("RGB", (8, 8)).save(folder / "b.png")
    assert call(folder, "-o", tmp_path / "images") == 0
    assert "1 entry left out (1 .mp4)" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["b.png"]
    clip = write(tmp_path / "c.mp4", Clip(times=(0,)))
    assert call(clip, folder, "-o", tmp_path / "videos") == 0
    assert "1 entry left out (1 .png)" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "videos").iterdir()) == ["a.mp4", "c.mp4"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-o", "out.avi"], "cannot write .avi"),
        (["-o", "-"], "give --format"),
        (["-o", "-", "--format", "nonsense"], "no such container"),
        (["-o", "out.mp4", "--crf", "90"], "takes 0 .* to 51"),
        (["-o", "out.mkv", "--codec", "ffv1", "--crf", "3"], "lossless"),
        (["-o", "out.mp4", "--preview", "2"], "from 0 to 1"),
        (["-o", "out.mp4", "--quality", "9"], "--quality: has a meaning for images alone"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_read(
    options: list[str], reason: str, tmp_path: Path, call, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = write(tmp_path / "in.mp4", Clip(times=(0,)))
    assert call(source, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kd-enhance: ")
    assert re.search(reason, line)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_preview_is_before_left_and_after_right(tmp_path: Path, call) -> None:
    source = write(tmp_path / "in.mkv", Clip("ffv1", "bgr0"))
    plain = ("--codec", "ffv1", "--force")
    assert call(source, "-o", tmp_path / "after.mkv", *plain) == 0
    assert call(source, "-o", tmp_path / "split.mkv", "--preview", 0.5, *plain) == 0
    assert call(source, "-o", tmp_path / "moving.mkv", "--preview", *plain) == 0
    shown = {}
    for name in ("after", "split", "moving"):
        with Reader(tmp_path / f"{name}.mkv") as reader:
            shown[name] = [frame.pixels for frame in reader]
    after, split = shown["after"][3], shown["split"][3]
    assert np.array_equal(split[:, 33:], after[:, 33:])
    assert not np.array_equal(split[:, :31], after[:, :31])
    assert (split[:, 31:33] == 255).all()
    edges = [int((image == 255).all(axis=(0, 2)).argmax()) for image in shown["moving"][2:]]
    assert edges == sorted(edges)


def test_tiles_give_the_same_frames(tmp_path: Path, call) -> None:
    clip = Clip("ffv1", height=75, width=113, times=range(0, 60, 20))
    source = write(tmp_path / "in.mkv", clip)
    frames = {}
    for name, tile in (("whole", ()), ("tiled", ("--tile", 48))):
        target = tmp_path / f"{name}.mkv"
        assert call(source, "-o", target, "--codec", "ffv1", *tile) == 0
        with Reader(target) as reader:
            frames[name] = [frame.pixels for frame in reader]
    assert size(tmp_path / "tiled.mkv") == (226, 150)
    for whole, tiled in zip(frames["whole"], frames["tiled"], strict=True):
        assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_weights_that_only_enlarge_refuse_scale_1_in_one_line(tmp_path: Path, capsys) -> None:
    source = write(tmp_path / "in.mkv", Clip(times=(0,)))
    command = [str(source), "-o", str(tmp_path / "out.mkv"), "--weights", "student_micro"]
    assert enhance_cli.main([*command, "--scale", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("--scale 1: these weights only enlarge by 2")


def test_streams_in_and_out(tmp_path: Path, fixed: list[str]) -> None:
    source = write(tmp_path / "in.mkv", Clip(audio=1))
    command = [sys.executable, "-m", "kd_lightning.commands.enhance", "-", "-o", "-"]
    with source.open("rb") as stdin, (tmp_path / "out.nut").open("wb") as stdout:
        run = subprocess.run(
            [*command, "--format", "nut", *fixed], stdin=stdin, stdout=stdout, check=True
        )
    assert run.returncode == 0
    found, expected = times(tmp_path / "out.nut"), times(source)
    (sound,), (expected_sound,) = packets(tmp_path / "out.nut", "audio"), packets(source, "audio")
    assert [content for _, content in sound] == [content for _, content in expected_sound]
    # NUT has no times before 0: an encoder's lead of sound moves everything alike.
    shift = found[0] - expected[0]
    assert found == pytest.approx([time + shift for time in expected], abs=2e-3)
    moved = [time + shift for time, _ in expected_sound]
    assert [time for time, _ in sound] == pytest.approx(moved, abs=2e-3)


@pytest.fixture
def running(tmp_path: Path, fixed: list[str]):
    """kd-enhance in the middle of a long clip."""
    # Noise fills the buffer of the file, whose growth shows that the middle is reached, at once.
    noise = np.random.default_rng(0).integers(0, 256, (8, 24, 32, 3), np.uint8)
    with Writer(tmp_path / "in.mp4", Encoding("h264")) as writer:
        for number in range(FRAMES):
            writer.write(Frame(noise[number % 8], number, Fraction(1, 30)))
    command = [sys.executable, "-m", "kd_lightning.commands.enhance", str(tmp_path / "in.mp4")]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "out" / "out.mp4"), *fixed],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not any(p.stat().st_size > 1000 for p in (tmp_path / "out").glob(".tmp-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    yield process, tmp_path / "out"
    process.kill()
    process.wait()


@pytest.mark.slow
def test_ctrl_c_finishes_the_file_so_that_it_plays(running) -> None:
    process, out = running
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert "finishing the file" in said
    assert "out.mp4 ends where it was interrupted; remove it before you go on with --skip" in said
    assert "Traceback" not in said
    assert os.listdir(out) == ["out.mp4"]
    assert 1 <= len(times(out / "out.mp4")) < FRAMES


@pytest.mark.slow
def test_one_ctrl_c_ends_the_wait_for_a_stream_that_says_nothing(
    tmp_path: Path, fixed: list[str]
) -> None:
    """There is no file to finish."""
    command = [sys.executable, "-m", "kd_lightning.commands.enhance", "-"]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "out.mp4"), *fixed],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        assert "1 video(s)" in process.stderr.readline()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert "Traceback" not in process.stderr.read()
        assert os.listdir(tmp_path) == []
    finally:
        process.kill()


@pytest.mark.slow
def test_a_kill_leaves_nothing_under_the_final_name(running) -> None:
    process, out = running
    process.kill()
    process.wait()
    (left,) = os.listdir(out)
    assert left.startswith(".tmp-")


def test_time_that_jumps_is_said_and_lost_sound_is_incomplete(tmp_path: Path, call, capsys) -> None:
    part = write(tmp_path / "part.ts", Clip(times=range(0, 400, 20), audio=1, sound="aac"))
    joined, damaged = tmp_path / "joined.ts", tmp_path / "damaged.ts"
    joined.write_bytes(2 * part.read_bytes())
    damaged.write_bytes(part.read_bytes())
    without_a_cell(damaged)
    assert call(joined, "-o", tmp_path / "joined.mp4") == 0
    assert "joined.ts: time jumps back at " in capsys.readouterr().err
    assert len(times(tmp_path / "joined.mp4")) == 40
    assert call(damaged, "-o", tmp_path / "damaged.mp4") == 1
    assert "damaged.ts: a damaged packet of stream 1 at " in capsys.readouterr().err
    assert len(times(tmp_path / "damaged.mp4")) == 20

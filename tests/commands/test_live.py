"""kd-enhance on a live stream, as typed."""

import array
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
import types
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

pytest.importorskip("av")

from kd_lightning import Enhancer
from kd_lightning.commands.enhance import main
from kd_lightning.video import camera
from kd_lightning.video.frame import Frame
from kd_lightning.video.ladder import Ladder, Way
from kd_lightning.video.reader import Reader
from kd_lightning.video.writer import Encoding, Writer
from kd_lightning.yuv import rgb_to_yuv
from tests.runs import ROOT
from tests.video.clips import Clip, write
from tests.video.live_parts import FakeCamera

RATE, FRAMES, HEIGHT, WIDTH = 30, 24, 36, 64


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> str:
    """A pan over a photograph."""
    path = tmp_path_factory.mktemp("clips") / "clip.mkv"
    with Writer(path, Encoding("ffv1")) as writer:
        for number in range(FRAMES):
            view = photo[100 : 100 + HEIGHT, 4 * number : 4 * number + WIDTH]
            writer.write(Frame(rgb_to_yuv(view, "bt601"), number, Fraction(1, RATE)))
    return str(path)


def torch_alone(weights: Path) -> list[str]:
    return ["--weights", str(weights), "--backend", "torch", "--precision", "fp32"]


def test_a_file_as_a_camera_into_a_pipe_with_statistics(
    clip: str, fast_weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pipe, stats = tmp_path / "frames.rgb", tmp_path / "stats.jsonl"
    command = [clip, "--pipe", str(pipe), "--stats", str(stats), *torch_alone(fast_weights)]
    assert main([*command, "--budget-ms", "2000"]) == 0
    lines = [json.loads(line) for line in stats.read_text().splitlines()]
    total = lines[-1]["total"]
    assert total["captured"] == FRAMES == total["shown"] + total["dropped"]
    assert sum(line.get("shown", 0) for line in lines) <= total["shown"]
    assert total["latency_ms"]["p50"] <= total["latency_ms"]["p95"] <= total["latency_ms"]["max"]
    images = np.frombuffer(pipe.read_bytes(), np.uint8).reshape(-1, 2 * HEIGHT, 2 * WIDTH, 3)
    assert len(images) == total["shown"]
    with Reader(clip) as reader:
        last = list(reader)[-1]
    expected = Enhancer(fast_weights, backend="torch", precision="fp32")(last.pixels)
    assert np.array_equal(images[-1], expected)
    said = capfd.readouterr().err
    assert "kd-enhance: 64x36 at 30 frames/s, x2, with fast: " in said
    assert " of 2000 ms a frame" in said
    assert f"{total['shown']} of 24 frames shown, {total['dropped']} dropped; latency p50" in said


@pytest.mark.parametrize("option", ["--pipe", "--stats"])
def test_a_file_that_exists_is_kept_unless_forced(
    option: str,
    clip: str,
    fast_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("precious")
    places = {"--pipe": os.devnull, "--stats": os.devnull} | {option: str(kept)}
    command = [clip, *(word for pair in places.items() for word in pair)]
    command += [*torch_alone(fast_weights), "--budget-ms", "2000"]
    assert main(command) == 2
    assert f"{kept} exists; use --force to overwrite it" in capsys.readouterr().err
    assert kept.read_text() == "precious"
    assert main([*command, "--force"]) == 0
    assert not kept.read_bytes().startswith(b"precious")


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (["--pipe", "{new}", "--stats", "{new}"], "--stats {new}: is taken already"),
        (["--pipe", os.devnull, "--stats", "{clip}"], "--stats {clip}: is taken already"),
        (["--pipe", "{clip}"], "--pipe {clip}: is taken already"),
    ],
)
def test_frames_figures_and_the_input_never_share_a_file(
    places: list[str],
    said: str,
    clip: str,
    fast_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names, before = {"new": str(tmp_path / "new"), "clip": clip}, Path(clip).read_bytes()
    given = [place.format(**names) for place in places]
    assert main([clip, *given, *torch_alone(fast_weights), "--force"]) == 2
    assert said.format(**names) in capsys.readouterr().err
    assert Path(clip).read_bytes() == before
    assert not (tmp_path / "new").exists()


def test_a_change_of_size_is_said_while_the_stream_runs(
    fast_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [
        write(tmp_path / "small.ts", Clip(height=48, width=64)),
        write(tmp_path / "large.ts", Clip(height=72, width=96, times=range(200, 400, 20))),
    ]
    source, pipe = tmp_path / "in.ts", tmp_path / "frames.rgb"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    command = [str(source), "--pipe", str(pipe), "--stats", str(tmp_path / "stats.jsonl")]
    assert main([*command, *torch_alone(fast_weights), "--budget-ms", "2000"]) == 0
    line = "the size changes to 96x72; shown at 64x48"
    assert f"kd-enhance: {line}\n" in capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert line in [each.get("change") for each in lines]
    assert pipe.stat().st_size == lines[-1]["total"]["shown"] * 96 * 128 * 3


RUNGS = {
    1: ["call_fast_x1", "call_tiny_x1"],
    2: ["call_midi_x2", "call_fast_x2", "call_tiny_x2", "call_luma_x2"],
    3: ["call_fast_x2", "call_tiny_x2"],
}


@pytest.mark.parametrize(("scale", "names"), RUNGS.items())
def test_the_students_of_a_call_are_the_rungs_where_none_is_named(
    scale: int, names: list[str], clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def noted(ways: list[Way], *arguments: Any) -> Ladder:
        seen.extend(way.name for way in ways)
        return Ladder(ways, *arguments)

    monkeypatch.setattr("kd_lightning.video.ladder.Ladder", noted)
    pipe = tmp_path / "frames.rgb"
    assert main([clip, "--pipe", str(pipe), "--scale", str(scale), "--budget-ms", "2000"]) == 0
    assert seen[: len(names)] == names
    assert f"{names[-1]} on the middle quarter" in seen
    assert pipe.stat().st_size % (scale**2 * HEIGHT * WIDTH * 3) == 0 < pipe.stat().st_size


def test_a_container_through_pipes_on_both_sides(clip: str, fast_weights: Path) -> None:
    """At a budget that no machine's load exceeds: none of the few frames is passed over."""
    command = [sys.executable, "-m", "kd_lightning.commands.enhance", "-", "--pipe", "-"]
    command += ["--budget-ms", "2000"]
    with Path(clip).open("rb") as file:
        done = subprocess.run(
            [*command, *torch_alone(fast_weights)], stdin=file, capture_output=True, timeout=100
        )
    assert done.returncode == 0
    frame = 2 * HEIGHT * 2 * WIDTH * 3
    assert len(done.stdout) > 0 == len(done.stdout) % frame
    assert b"frames shown" in done.stderr


def test_a_camera_into_a_virtual_camera(
    fast_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FFmpeg's virtual device in place of the system's cameras."""
    device = "testsrc2=size=64x48:rate={}:duration=1,format=yuv420p"
    monkeypatch.setitem(camera.DEVICES, sys.platform, ("lavfi", device, {}))
    module = types.ModuleType("pyvirtualcam")
    monkeypatch.setattr(module, "Camera", FakeCamera, raising=False)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    assert main(["--camera", "25", "--virtual-camera", *torch_alone(fast_weights)]) == 0
    virtual = FakeCamera.last
    assert (virtual.size, virtual.fps) == ((96, 128), 25)
    assert virtual.sent
    assert virtual.closed
    said = capsys.readouterr().err
    assert "other programs find it as /dev/video9" in said
    assert f"{len(virtual.sent)} of 25 frames shown" in said


def test_a_file_in_a_window(
    clip: str,
    fast_weights: Path,
    display: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISPLAY", display)
    assert main([clip, "--show", *torch_alone(fast_weights), "--budget-ms", "2000"]) == 0
    assert "of 24 frames shown" in capfd.readouterr().err


def test_ctrl_c_ends_a_stream_with_its_statistics(clip: str, fast_weights: Path) -> None:
    """Standard input stays open: a camera that goes on for ever."""
    command = [sys.executable, "-m", "kd_lightning.commands.enhance", "-", "--pipe", os.devnull]
    command += ["--stats", "-", *torch_alone(fast_weights)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=False) as running:
        assert running.stdin and running.stderr and running.stdout
        running.stdin.write(Path(clip).read_bytes())
        running.stdin.flush()
        while b"ms a frame" not in (line := running.stderr.readline()):
            assert line, "it ended by itself"
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert b"frames shown" in said
    assert b"Traceback" not in said
    assert running.returncode == 0


@pytest.mark.parametrize(
    ("where", "frames", "presses", "status"),
    [
        (["--pipe", os.devnull], True, 1, 0),
        (["--pipe", os.devnull], False, 1, 130),
        (["-o", "out.mkv"], False, 2, 130),
    ],
    ids=["a stream, after its frames", "a stream, from the start", "a film, given up"],
)
def test_a_source_that_says_nothing_does_not_keep_ctrl_c_waiting(
    where: list[str],
    frames: bool,
    presses: int,
    status: int,
    clip: str,
    fast_weights: Path,
    tmp_path: Path,
) -> None:
    """A thread waits for it in native code, which nothing can wake."""
    command = [sys.executable, "-m", "kd_lightning.commands.enhance", "-", *where]
    command += torch_alone(fast_weights)
    content = Path(clip).read_bytes()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        open(tmp_path / "said", "wb") as said,  # no pipe: it would have to be read meanwhile
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=said, cwd=tmp_path, env=environment
        ) as running,
    ):
        assert running.stdin
        running.stdin.write(content if frames else content[:4])
        running.stdin.flush()
        deadline = time.monotonic() + 100
        while unread(running.stdin) or (frames and b"ms a frame" not in words_of(said)):
            assert running.poll() is None, words_of(said)
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for _ in range(presses):
            time.sleep(0.5)
            running.send_signal(signal.SIGINT)
        try:
            assert running.wait(15) == status, words_of(said)
        finally:
            running.kill()
        assert (b"frames shown" in words_of(said)) == frames
        assert b"Traceback" not in words_of(said)
    assert not (tmp_path / "out.mkv").exists()


def unread(pipe: IO[bytes]) -> int:
    """Bytes that lie in a pipe."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def words_of(file: IO[bytes]) -> bytes:
    return Path(file.name).read_bytes()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--camera", "0"], "no place for the frames: give one of --show"),
        (["--show", "--pipe", "x"], "--show and --pipe: give one of"),
        (["--camera", "0", "--pipe", "x"], "one source"),
        (["--pipe", "x", "-o", "y.mp4"], "-o: has no meaning for a live stream"),
        (["--pipe", "x", "--tile", "64"], "--tile: has no meaning for a live stream"),
        (["--pipe", "x", "--skip-existing"], "--skip-existing: has no meaning for a live"),
        (["--pipe", "x", "--quality", "9"], "--quality: has no meaning for a live stream"),
        (["--pipe", "x", "--codec", "vp9"], "--codec: has no meaning for a live stream"),
        (["--pipe", "x", "--crf", "0"], "--crf: has no meaning for a live stream"),
        (["--pipe", "x", "--on-error", "stop"], "--on-error: has no meaning for a live stream"),
        (["--pipe", "x", "--preview"], "--preview: has no meaning for a live stream"),
        (["--pipe", "x", "--format", "nut"], "--format: has no meaning for a live stream"),
        (["-o", "y.png", "--stats", "x"], "no place for the frames: give one of --show"),
        (["--pipe", "-", "--stats", "-"], "--stats a file"),
        (["--pipe", "x", "--budget-ms", "0"], "--budget-ms 0: give milliseconds above 0"),
        (["--pipe", "x", "--weights", "none_such"], "none_such: no such weights"),
    ],
)
def test_what_cannot_be_had_is_one_line(
    clip: str, words: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [] if words == ["--camera", "0"] else [clip]
    assert main([*inputs, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kd-enhance: ")
    assert answer in line


def test_neither_output_nor_live_stream_is_a_usage_error(
    clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([clip])
    assert "give inputs and -o OUTPUT" in capsys.readouterr().err

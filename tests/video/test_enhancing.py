"""Where planes come straight from the network, and where every pixel keeps a colour of its own."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

pytest.importorskip("openvino")

from kd_lightning.deploy.backends import Runner, from_network
from kd_lightning.deploy.enhance import enhance
from kd_lightning.models.students import StudentFast
from kd_lightning.video.enhancing import in_order
from kd_lightning.video.reader import Reader
from kd_lightning.yuv import Matrix, Plane, Yuv
from tests.video.test_matrix import through

COUNT = 3
HEIGHT, WIDTH = 24, 32


@pytest.fixture(scope="module")
def runner() -> Runner:
    """A student whose frames OpenVINO gives as planes."""
    torch.manual_seed(3)
    network = StudentFast(width=8, depth=3).eval()
    made = from_network(network, "openvino", torch.device("cpu"), "fp32")
    assert made.planes
    return made


def stripes(path: Path, kind: str) -> Path:
    """A file without loss: columns of red and blue, two pixels wide, which move."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("ffv1", rate=30)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, kind
        for number in range(COUNT):
            red = (np.arange(WIDTH) + number) // 2 % 2 == 0
            rgb = np.where(red[:, None], (200, 30, 30), (30, 30, 200)).astype(np.uint8)
            image = np.broadcast_to(rgb, (HEIGHT, WIDTH, 3)).copy()
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=kind)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    return path


def counted(runner: Runner) -> tuple[Runner, list[Plane]]:
    """The runner, and the frames that it is asked for the planes of."""
    asked: list[Plane] = []

    def planes(frame: Plane, matrix: Matrix, full_range: bool) -> Yuv:
        assert runner.planes
        asked.append(frame)
        return runner.planes(frame, matrix, full_range)

    return replace(runner, planes=planes), asked


@pytest.mark.parametrize("kind", ["bgr0", "yuv444p"])
def test_each_pixel_of_rgb_and_444_keeps_its_colour_through_openvino(
    kind: str, tmp_path: Path, runner: Runner
) -> None:
    source, target = stripes(tmp_path / "in.mkv", kind), tmp_path / "out.mkv"
    assert through(source, target, runner) == []
    with Reader(source) as before, Reader(target) as after:
        pairs = list(zip(before, after, strict=True))
        assert after.info.format == kind
    assert len(pairs) == COUNT
    for small, large in pairs:
        expected = enhance(runner, small.pixels).astype(int)
        assert np.abs(large.pixels - expected).max() <= (0 if kind == "bgr0" else 3)


def test_frames_of_half_chroma_become_planes_without_an_rgb_image(
    tmp_path: Path, runner: Runner
) -> None:
    runner, asked = counted(runner)
    through(stripes(tmp_path / "in.mkv", "yuv420p"), tmp_path / "out.mkv", runner)
    assert [frame.shape for frame in asked] == COUNT * [(HEIGHT, WIDTH, 3)]


@pytest.mark.parametrize("at_once", [1, 3])
def test_several_frames_at_the_same_time_come_in_their_order(at_once: int) -> None:
    """The first takes longest; no more than `at_once` are worked on, and one is taken ahead."""
    taken, done, running, most = [], [], 0, 0
    lock = threading.Lock()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.1 if number == 0 else 0.01)
        with lock:
            running -= 1
        return number

    def items() -> Iterator[int]:
        for number in range(8):
            assert len(taken) - len(done) <= at_once
            taken.append(number)
            yield number

    for number in in_order(work, items(), at_once):
        done.append(number)
    assert done == list(range(8))
    assert most == at_once


def test_an_error_in_one_of_several_frames_at_the_same_time_is_raised() -> None:
    results = in_order(lambda number: 1 // number, [1, 2, 0, 3], 2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        list(results)


def test_planes_of_frames_at_the_same_time_equal_those_of_one_by_one(runner: Runner) -> None:
    """Also where sizes and matrices change between them."""
    random = np.random.default_rng(7)
    shapes = [(24, 32), (25, 31)]
    asked = [
        (random.integers(0, 256, (*shapes[n % 2], 3), np.uint8), n % 3 == 0) for n in range(12)
    ]

    def planes(one: tuple[np.ndarray, bool]) -> Yuv:
        assert runner.planes
        return runner.planes(one[0], "bt709" if one[1] else "bt601", one[1])

    for expected, found in zip(map(planes, asked), in_order(planes, asked, 4), strict=True):
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)

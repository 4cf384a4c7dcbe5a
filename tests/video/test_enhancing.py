"""Where planes come straight from the network, and where every pixel keeps a colour of its own."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

pytest.importorskip("openvino")

from kd_lightning.deploy.backends import Runner, from_network
from kd_lightning.deploy.enhance import enhance
from kd_lightning.models.students import StudentFast
from kd_lightning.video.enhancing import enhanced, prepare
from kd_lightning.video.frame import Color, Frame
from kd_lightning.video.reader import Reader
from kd_lightning.yuv import Matrix, Plane, Yuv, rgb_to_yuv, yuv_to_rgb
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


@pytest.fixture(scope="module")
def grey() -> Runner:
    """A student of the same size that restores luma alone, in OpenVINO."""
    torch.manual_seed(3)
    network = StudentFast(scale=1, width=8, depth=3, grey=True).eval()
    made = from_network(network, "openvino", torch.device("cpu"), "fp32")
    assert made.luma
    return made


def noise(height: int, width: int) -> Frame:
    """Of colours that RGB does not clip."""
    rng = np.random.default_rng(0)
    half = (height + 1) // 2, (width + 1) // 2
    y = rng.integers(100, 160, (height, width), np.uint8)
    planes = Yuv(y, *(rng.integers(118, 139, half, np.uint8) for _ in range(2)))
    return Frame(planes, 0, Fraction(1, 30), color=Color("bt601"))


def test_chroma_passes_a_student_of_luma_bit_for_bit_and_no_rgb_image_is_made(
    grey: Runner,
) -> None:
    frame = noise(24, 32)
    prepare(grey, frame)
    (after,) = enhanced(grey, [frame])
    assert "pixels" not in vars(frame)  # the conversion, which a frame keeps
    assert isinstance(after.image, Yuv) and isinstance(frame.image, Yuv)
    assert (after.image.u == frame.image.u).all() and (after.image.v == frame.image.v).all()
    assert (after.image.y != frame.image.y).mean() > 0.5
    rgb = yuv_to_rgb(frame.image, "bt601")
    by_rgb = rgb_to_yuv(enhance(grey, rgb), "bt601")
    # A level of rounding here and there; what is not restored, or out of its place, is far away.
    apart = np.abs(by_rgb.y.astype(int) - after.image.y)
    assert np.abs(by_rgb.y.astype(int) - frame.image.y).mean() > 3 * apart.mean()
    assert apart.max() <= 2


def test_a_file_through_a_student_of_luma_keeps_its_chroma_and_becomes_no_rgb(
    tmp_path: Path, grey: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = stripes(tmp_path / "in.mkv", "yuv420p"), tmp_path / "out.mkv"
    with monkeypatch.context() as patch:
        patch.setattr("kd_lightning.video.frame.yuv_to_rgb", lambda *_: pytest.fail("RGB"))
        assert through(source, target, grey) == []
    with Reader(source) as before, Reader(target) as after:
        pairs = list(zip(before, after, strict=True))
    assert len(pairs) == COUNT
    for one, other in pairs:
        assert isinstance(one.image, Yuv) and isinstance(other.image, Yuv)
        assert (one.image.u == other.image.u).all() and (one.image.v == other.image.v).all()
        assert (one.image.y != other.image.y).any()


@pytest.mark.parametrize("how", ["odd", "split", "tile"])
def test_other_frames_go_through_rgb(grey: Runner, how: str) -> None:
    frame = noise(23, 31) if how == "odd" else noise(24, 32)
    options = {"odd": {}, "split": {"split": 0.5}, "tile": {"tile": 16}}[how]
    prepare(grey, frame, **options)  # type: ignore[arg-type]
    assert "pixels" in vars(frame)
    (after,) = enhanced(grey, [frame], **options)  # type: ignore[arg-type]
    assert after.pixels.shape == (*frame.size, 3)
    if how != "split":
        assert (after.pixels == enhance(grey, frame.pixels)).all()

"""Luma restored on the planes of a video is what the network in torch adds to it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("openvino")

from kd_lightning.deploy.backends import cpu_has_bf16, from_network, open_weights
from kd_lightning.deploy.export import export
from kd_lightning.deploy.parity import WrongBackend, checked
from kd_lightning.models.artifact import save_artifact
from kd_lightning.models.interpolate import upscale
from kd_lightning.models.network import Network
from kd_lightning.models.pretrained import find_weights
from kd_lightning.models.students import StudentCNN, StudentDirect, StudentFast
from kd_lightning.yuv import Matrix, Yuv, black_and_white, yuv_to_rgb

CPU = torch.device("cpu")
GREY = {"scale": 1, "width": 8, "depth": 3, "grey": True}


class Scaled(Network):
    """Begins as the form of a StudentDirect does, and goes on otherwise."""

    scale, takes_lr, radius, multiple_of = 2, True, 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.nn.Conv2d(3, 12, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pixel_shuffle(self.last(x * 255.0 - 100), 2)


def planes_of(height: int, width: int, seed: int = 0) -> Yuv:
    """Noise, which shows any sample that is out of its place."""
    rng = np.random.default_rng(seed)
    half = (height + 1) // 2, (width + 1) // 2
    shapes = (height, width), half, half
    return Yuv(*(rng.integers(0, 256, shape, np.uint8) for shape in shapes))


def smooth_planes(height: int, width: int) -> Yuv:
    """Of luma from 20 to 230, with edges that a student sharpens, and no colour."""
    rows, columns = np.mgrid[:height, :width]
    y = 125 + 60 * np.sin(rows / 5) + 45 * np.sign(np.sin(columns / 4 + rows / 9))
    grey = np.full((height // 2, width // 2), 128, np.uint8)
    return Yuv(y.astype(np.uint8), grey, grey)


@torch.inference_mode()
def by_torch(network: Network, planes: Yuv, matrix: Matrix, full_range: bool) -> np.ndarray:
    rgb = torch.from_numpy(yuv_to_rgb(planes, matrix, full_range)).permute(2, 0, 1)[None] / 255
    detail = (network(rgb) - rgb)[0, 0].numpy()
    luma: np.ndarray = planes.y + (255 if full_range else 219) * detail
    return luma.clip(0, 255).round()


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def precision(request: pytest.FixtureRequest) -> str:
    if request.param == "bf16" and not cpu_has_bf16():
        pytest.skip("a CPU without bf16")
    return str(request.param)


@settings(deadline=None, max_examples=10)
@given(
    half=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    matrix=st.sampled_from(["bt601", "bt709"]),
    full_range=st.booleans(),
    seed=st.integers(0, 99),
)
def test_luma_of_any_even_size_matrix_and_range_is_that_of_torch(
    half: tuple[int, int], matrix: Matrix, full_range: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    network = StudentFast(**GREY, rep=True).eval()
    runner = from_network(network, "openvino", CPU, "fp32")
    planes = planes_of(2 * half[0], 2 * half[1], seed)
    assert runner.luma
    found = runner.luma(planes, matrix, full_range)
    expected = by_torch(network, planes, matrix, full_range)
    assert found.y.shape == planes.y.shape and found.y.dtype == np.uint8
    # One RGB level that is rounded the other way changes detail by less than a level of luma.
    assert np.abs(found.y - expected).max() <= 1
    assert (found.u == planes.u).all() and (found.v == planes.v).all()


@settings(deadline=None, max_examples=10)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    full_range=st.booleans(),
    rep=st.booleans(),
    int8=st.booleans(),
    seed=st.integers(0, 99),
)
def test_luma_of_twice_any_size_and_range_is_that_of_torch(
    size: tuple[int, int], full_range: bool, rep: bool, int8: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    network = StudentDirect(depth=3, rep=rep, int8=int8, grey=True)
    network(torch.rand(1, 3, 32, 32))  # the ranges of its 8 bits
    runner = from_network(network.eval(), "openvino", CPU, "fp32")
    planes = planes_of(*size, seed)
    black, span = black_and_white(full_range)
    assert runner.luma
    found = runner.luma(planes, "bt709", full_range)
    y = torch.from_numpy(planes.y)[None, None].float()
    rgb = ((y - black) * 255 / span).round().clamp(0, 255).repeat(1, 3, 1, 1) / 255
    with torch.inference_mode():
        detail = (network(rgb) - upscale(rgb, 2).clamp(0, 1))[0, 0]
    expected = black + (upscale(y, 2)[0, 0] - black).clamp(0, span) + span * detail
    assert found.y.shape == (2 * size[0], 2 * size[1]) and found.u.shape == found.v.shape == size
    # In 8 bits a last bit may turn the rounding of an activation, which is more than a level.
    apart = np.abs(expected.clamp(0, 255).numpy() - found.y)
    assert np.quantile(apart, 0.99) <= 0.51 and apart.max() <= (2 if int8 else 0.51)


def test_chroma_of_twice_the_size_is_keys_interpolation_at_the_places_of_left_sited_samples() -> (
    None
):
    runner = from_network(StudentDirect(depth=2, grey=True).eval(), "openvino", CPU, "fp32")
    planes = planes_of(14, 18)
    assert runner.luma
    found = runner.luma(planes, "bt709", False)

    def weight(x: float) -> float:
        x = abs(x)
        if x < 1:
            return (1.5 * x - 2.5) * x * x + 1
        return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0

    far = 4  # samples beyond the border, which repeat it
    for small, large in ((planes.u, found.u), (planes.v, found.v)):
        around = np.pad(small, far, mode="edge").astype(float)
        for row, column in np.ndindex(*large.shape):
            # In small luma's columns: (c + 1/2) / 2 - 1/2 for large ones; chroma at the even ones.
            top, left = (row + 0.5) / 2 - 0.5, ((2 * column + 0.5) / 2 - 0.5) / 2
            rows = np.array([weight(top - i + far) for i in range(len(around))])
            columns = np.array([weight(left - j + far) for j in range(around.shape[1])])
            value = min(max(rows @ around @ columns, 0), 255)
            assert abs(value - large[row, column]) <= 0.51


@pytest.mark.parametrize("name", ["call_tiny_x1", "call_fast_x1"])
def test_shipped_students_of_the_same_size_restore_luma_on_planes(
    name: str, precision: str
) -> None:
    path = find_weights(name)
    runner = open_weights(path, "openvino", "cpu", precision)
    plain = open_weights(path, "torch", "cpu", "fp32")
    planes = planes_of(48, 64)
    assert runner.luma
    found = runner.luma(planes, "bt709", False).y
    rgb = torch.from_numpy(yuv_to_rgb(planes, "bt709")).permute(2, 0, 1)[None] / 255
    detail = (plain(rgb) - rgb)[0, 0].numpy()
    expected = (planes.y + 219 * detail).clip(0, 255)
    assert np.abs(expected - found).max() <= (0.51 if precision == "fp32" else 2)


def test_the_shipped_student_of_twice_the_size_restores_luma_on_planes(precision: str) -> None:
    path = find_weights("call_luma_x2")
    runner = open_weights(path, "openvino", "cpu", precision)
    plain = open_weights(path, "torch", "cpu", "fp32")
    planes = smooth_planes(48, 64)
    assert runner.luma
    found = runner.luma(planes, "bt601", False).y
    y = torch.from_numpy(planes.y)[None, None].float()
    rgb = ((y - 16) * 255 / 219).round().repeat(1, 3, 1, 1) / 255
    detail = (plain(rgb) - upscale(rgb, 2).clamp(0, 1))[0, 0]
    apart = (upscale(y, 2)[0, 0].clamp(16, 235) + 219 * detail - torch.from_numpy(found)).abs()
    assert apart.max() <= 1.6 and apart.quantile(0.99) <= 1
    assert detail.abs().max() > 0.01


@pytest.mark.parametrize("weights", ["fp32", "fp16"])
def test_exports_restore_luma_too(tmp_path: Path, weights: str) -> None:
    path, planes = tmp_path / "student.xml", planes_of(24, 32)
    export(find_weights("call_tiny_x1"), path, weights)
    ours = open_weights(path, device="cpu").luma
    theirs = open_weights(find_weights("call_tiny_x1"), "openvino", "cpu").luma
    assert ours and theirs
    pair = (luma(planes, "bt709", False).y.astype(int) for luma in (ours, theirs))
    assert np.abs(np.subtract(*pair)).max() <= 1


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("weights", ["fp32", "fp16", "int8"])
def test_exports_of_students_on_the_lr_image_open_and_restore_luma_where_they_can(
    tmp_path: Path, weights: str, grey: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if weights == "int8":
        pytest.importorskip("nncf")
        monkeypatch.setattr("kd_lightning.deploy.int8.CALIBRATION_TILES", 16)
    shape = {"width": 8, "depth": 3, "grey": grey}
    save_artifact(tmp_path / "s.safetensors", StudentDirect(**shape).eval(), shape, {})
    for number in range(2):
        image = np.random.default_rng(number).integers(0, 256, (256, 256, 3), np.uint8)
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    export(tmp_path / "s.safetensors", tmp_path / "s.xml", weights, tmp_path)
    runner = open_weights(tmp_path / "s.xml", device="cpu")
    assert runner.frame and runner.frame(torch.zeros(1, 9, 7, 3, dtype=torch.uint8)).shape[1] == 18
    # What is quantized after its training goes through RGB.
    assert (runner.luma is not None) == (grey and weights != "int8")


def test_only_networks_that_leave_chroma_alone_restore_luma() -> None:
    coloured = StudentFast(**GREY).eval()
    with torch.no_grad():
        coloured.body[-1] = coloured.body[-1].fuse()  # type: ignore[operator]
        coloured.body[-1].bias[5] += 0.01
    seen, written = (StudentDirect(depth=3, grey=True) for _ in range(2))
    with torch.no_grad():
        seen.body[0] = seen.body[0].fuse()  # type: ignore[operator]
        seen.body[0].weight[3, 2] *= 2
        written.body[-1] = written.body[-1].fuse()  # type: ignore[operator]
        written.body[-1].weight[4, 1, 1, 1] += 0.01
    wide, first = (StudentDirect(depth=3, grey=True) for _ in range(2))
    wide.body[-1] = torch.nn.Conv2d(16, 12, 1)  # a grey, but not by 3x3
    with torch.no_grad():
        for part in wide.body[-1].parameters():
            part.copy_(part[:4].repeat(3, *[1] * (part.ndim - 1)))
    first.body = torch.nn.Sequential(torch.nn.ReLU(), *first.body)
    others: list[Network] = [
        coloured,
        wide,
        first,
        Scaled(),
        seen,
        written,
        StudentDirect(depth=3),
        StudentDirect(scale=3, depth=3, grey=True),
        StudentFast(scale=1, width=8, depth=3),
        StudentFast(**{**GREY, "scale": 2}),
        StudentFast(**{**GREY, "stride": 4}),
        StudentCNN(scale=1, residual=True),
    ]
    for network in others:
        assert from_network(network.eval(), "openvino", CPU, "fp32").luma is None


@pytest.mark.parametrize("network", [StudentFast(**GREY), StudentDirect(depth=2, grey=True)])
def test_wrong_luma_is_refused_before_the_first(network: Network) -> None:
    network = network.eval()
    runner = from_network(network, "openvino", CPU, "fp32")
    right = runner.luma
    assert right

    def darker(planes: Yuv, matrix: Matrix, full_range: bool) -> Yuv:
        found = right(planes, matrix, full_range)
        return found._replace(y=found.y // 2)

    wrong = checked(replace(runner, luma=darker), network, "fp32")
    assert wrong.luma
    with pytest.raises(WrongBackend, match="differs"):
        wrong.luma(planes_of(8, 8), "bt601", False)

"""The kernel of the WASM engine in node, without a browser: against torch, where it is hardest."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import super_resolve, upscale
from kd_lightning.models.network import Network
from tests.web.chromium import WEB
from tests.web.conftest import STUDENTS
from tests.web.exact import exact
from tests.web.test_engines import as_tensor, crops, levels_apart, rounded

WASM = WEB / "src" / "engines" / "student.wasm"
LARGEST_SUM = 65535  # times 32768, the largest input, it stays below 2**31


@dataclass(frozen=True)
class Node:
    """Runs tests/web/kernel.mjs; files go into `folder`."""

    program: str
    folder: Path

    def __call__(
        self, model: Path, frames: list[np.ndarray], scale: int, bands: int = 1, wasm: Path = WASM
    ) -> tuple[list[np.ndarray], int]:
        """The output (h*scale,w*scale,3) of each frame (h,w,3), and the largest sum of weights."""
        job = []
        for index, frame in enumerate(frames):
            height, width = frame.shape[:2]
            source = self.folder / f"{index}.rgba"
            rgba = np.concatenate([frame, np.zeros_like(frame[..., :1])], axis=2)
            source.write_bytes(rgba.tobytes())
            entry = {"model": str(model), "width": width, "height": height, "bands": bands}
            job.append({**entry, "frame": str(source), "output": str(source.with_suffix(".sr"))})
        (self.folder / "job.json").write_text(json.dumps(job))
        script = Path(__file__).with_name("kernel.mjs")
        command = [self.program, str(script), str(wasm), str(self.folder / "job.json")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        ((_, largest),) = json.loads(done.stdout)
        outputs = []
        for entry, frame in zip(job, frames, strict=True):
            rgba = np.frombuffer(Path(entry["output"]).read_bytes(), np.uint8)
            rgba = rgba.reshape(frame.shape[0] * scale, frame.shape[1] * scale, 4)
            assert (rgba[..., 3] == 255).all()
            outputs.append(rgba[..., :3])
        return outputs, largest


@pytest.fixture
def node(tmp_path: Path) -> Node:
    program = shutil.which("node")
    if program is None:
        pytest.skip("no node")
    return Node(program, tmp_path)


def hard_frames() -> list[np.ndarray]:
    """Other ones than the exporter chooses the ranges by: noise, of grey, colours, black and
    white; chessboards; the largest steps."""
    draw = np.random.default_rng(7)
    y, x, c = np.mgrid[:30, :41, :3]
    frames = [draw.integers(0, 256, (33, 22, 3)), 255 * draw.integers(0, 2, (31, 45, 3))]
    frames += [255 * draw.integers(0, 2, (28, 29, 1)).repeat(3, axis=2)]
    frames += [
        255 * ((x // side + y // side + shift * c) % 2) for side in (1, 2, 3) for shift in (0, 1)
    ]
    frames += [255 * (x > 20), 255 * (y + x // 3 > 20), 255 * ((x - 20) ** 2 + (y - 15) ** 2 < 99)]
    frames += [np.zeros((5, 9, 3)), np.full((9, 5, 3), 255)]
    return [frame.astype(np.uint8) for frame in frames]


def climbed(network: Network, layer: int, steps: int = 25, side: int = 20) -> list[np.ndarray]:
    """Frames (side,side,3) that drive the middle of each channel of one layer of the body as high
    as gradient ascent gets it."""
    part = network.body[: layer + 1]  # type: ignore[index]
    channels = part[-1].out_channels
    torch.manual_seed(0)
    frames = nn.Parameter(torch.rand(channels, 3, side, side))
    optimizer = torch.optim.Adam([frames], lr=0.1)
    factor = network.unshuffle_factor

    def heights() -> Tensor:
        x = upscale(frames.clamp(0, 1), network.scale).clamp(0, 1)
        maps = part(nn.functional.pixel_unshuffle(x, factor))
        middle = maps.shape[-1] // 2
        return maps[range(channels), range(channels), middle, middle]

    for _ in range(steps):
        optimizer.zero_grad()
        heights().sum().neg().backward()
        optimizer.step()
        with torch.no_grad():
            frames.clamp_(0, 1)
    levels = (frames.detach() * 255).round().byte()
    return list(levels.permute(0, 2, 3, 1).numpy())


def worst(network: Network, frames: list[np.ndarray], outputs: list[np.ndarray]) -> int:
    with torch.inference_mode():
        expected = [rounded(super_resolve(network, as_tensor(frame))) for frame in frames]
    return max(map(levels_apart, outputs, expected))


@pytest.mark.parametrize("name", STUDENTS)
def test_hard_frames_stay_within_a_level_of_torch_or_in_8_bits_of_exact_arithmetic(
    node: Node, exported: dict[str, Path], photo: np.ndarray, name: str
) -> None:
    network, _ = load_artifact(STUDENTS[name])
    frames = [*hard_frames(), *crops(photo, [(1, 1), (2, 7), (60, 81)])]
    outputs, largest = node(exported[name], frames, network.scale)
    if network.int8:  # torch's float32 may round a sum between two levels the wrong way
        pairs = zip(outputs, (exact(STUDENTS[name], frame) for frame in frames), strict=True)
        assert max(levels_apart(*pair) for pair in pairs) <= 1
    else:
        assert worst(network, frames, outputs) <= 1
    assert largest <= LARGEST_SUM, "sums of products may overflow"


def test_frames_found_by_gradient_ascent_stay_within_a_level_of_torch(
    node: Node, exported: dict[str, Path]
) -> None:
    name = "student_tiny"
    network, _ = load_artifact(STUDENTS[name])
    frames = climbed(network, layer=8) + climbed(network, layer=14)
    outputs, _ = node(exported[name], frames, network.scale)
    assert worst(network, frames, outputs) <= 1


@pytest.mark.parametrize(("name", "scale"), [("student_tiny", 2), ("call_tiny_x1", 1)])
def test_bands_make_the_same_frame(
    node: Node, exported: dict[str, Path], photo: np.ndarray, name: str, scale: int
) -> None:
    (frame,) = crops(photo, [(61, 33)])
    outputs = [node(exported[name], [frame], scale, bands)[0][0] for bands in (1, 2, 3, 31, 61)]
    for one, other in pairwise(outputs):
        assert (one == other).all()


def test_the_kernel_that_is_shipped_is_what_its_source_builds(
    node: Node, exported: dict[str, Path], tmp_path: Path
) -> None:
    if not (shutil.which("clang") and shutil.which("wasm-ld")):
        pytest.skip("no clang for wasm32")
    built = tmp_path / "student.wasm"
    subprocess.run([WEB / "wasm" / "build.sh", built], check=True)
    assert built.stat().st_size < 30_000 and WASM.stat().st_size < 30_000
    frames = hard_frames()[:4]
    ours, theirs = (
        node(exported["student_tiny"], frames, 2, wasm=file)[0] for file in (built, WASM)
    )
    assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))

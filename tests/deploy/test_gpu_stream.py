"""What a GPU runs as one graph is what it runs frame by frame."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from kd_lightning.deploy.backends import from_network
from kd_lightning.deploy.backends.cuda_stream import SLOTS, GpuStream
from kd_lightning.deploy.enhance import enhance, enhance_frames
from kd_lightning.deploy.uint8 import Uint8Model
from kd_lightning.models.network import Network
from kd_lightning.models.students import StudentCNN, StudentDirect, StudentFast

NETWORKS = {
    "full": StudentCNN(residual=True),
    "half": StudentCNN(process="half", residual=True),
    "blocks": StudentFast(width=8, depth=3),
    "8 bits": StudentDirect(width=8, depth=3, int8=True),
}
NETWORKS["8 bits"](torch.rand(1, 3, 24, 24))  # its ranges
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def video(count: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(0)
    for _ in range(count):
        yield generator.integers(0, 256, (18, 32, 3), np.uint8)


@pytest.mark.parametrize("half", [None, torch.bfloat16])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@torch.inference_mode()
def test_the_whole_way_compiles_as_one_graph(network: Network, half: torch.dtype | None) -> None:
    """A break would leave a part outside the fused kernels."""
    whole = Uint8Model(network.eval(), half)
    frame = torch.from_numpy(next(video(1)))[None]
    compiled = torch.compile(whole, fullgraph=True, dynamic=False, backend="aot_eager")
    assert torch.equal(compiled(frame), whole(frame))


@needs_gpu
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_every_frame_comes_out_in_its_place(network: Network, compiled: bool) -> None:
    whole = Uint8Model(network.eval().cuda(), torch.float16)
    stream = GpuStream(whole, 18, 32, compiled)
    count = 3 * SLOTS + 1
    seen = 0
    with torch.inference_mode():
        for frame, sr in zip(video(count), stream(video(count)), strict=True):
            expected = whole(torch.from_numpy(frame)[None].cuda())[0].cpu().numpy()
            assert np.abs(sr.astype(int) - expected).max() <= 1
            seen += 1
    assert seen == count


@needs_gpu
def test_a_video_on_a_gpu_is_within_a_level_of_fp32(fast: StudentFast) -> None:
    gpu = from_network(fast, "torch", torch.device("cuda"), "fp16")
    exact = from_network(fast, "torch", torch.device("cpu"), "fp32")
    for frame, sr in zip(video(5), enhance_frames(gpu, video(5)), strict=True):
        expected = enhance(exact, frame)
        assert np.abs(sr.astype(int) - expected).max() <= 1

"""The form of a network on the LR image that engines run on 8-bit frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kd_lightning.deploy.on_lr import OnLr, balanced
from kd_lightning.models.network import Network
from kd_lightning.models.students import StudentCNN, StudentDirect, StudentFast
from tests.deploy.engine import integer_convolutions


def seen(student: StudentDirect) -> StudentDirect:
    """After a step of training, which an 8-bit student needs for its ranges."""
    student.train()(torch.rand(1, 3, 24, 24))
    return student.eval()


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("grey", [False, True])
@torch.inference_mode()
def test_form_is_exact(scale: int, int8: bool, grey: bool) -> None:
    torch.manual_seed(0)
    student = seen(StudentDirect(scale=scale, width=8, depth=3, rep=True, int8=int8, grey=grey))
    x = torch.rand(1, 3, 13, 21)
    assert OnLr.fits(student)
    # a last bit may turn the rounding of an activation
    assert (OnLr(student)(x) - student(x)).abs().max() <= (1e-2 if int8 else 5e-6)


def test_only_networks_that_say_so_and_scale_with_their_input_fit() -> None:
    assert not any(OnLr.fits(network) for network in (StudentCNN(process="half"), StudentFast()))
    other = StudentDirect(width=8, depth=3)
    other.body[1] = nn.SiLU()
    assert not OnLr.fits(other)


def test_balanced_weights_are_of_bfloat16_and_keep_their_sums() -> None:
    kernel = OnLr(StudentDirect(width=8, depth=2)).skip.numpy()
    found = balanced(kernel)
    assert (torch.from_numpy(found).bfloat16().float().numpy() == found).all()
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), kernel.sum(axis=(1, 2, 3)), atol=1e-6)
    assert np.abs(found - kernel).max() <= 2**-8


def of_frames(student: Network, file: Path | None = None) -> Any:
    """The graph that OpenVINO runs on frames; by way of a `file` with weights in fp16."""
    openvino = pytest.importorskip("openvino")
    from kd_lightning.deploy.onnx_graph import to_onnx
    from kd_lightning.deploy.openvino_graph import frame_graph, read_graph

    read = read_graph(to_onnx(student))
    if file:
        openvino.save_model(read, file, compress_to_fp16=True)
        read = read_graph(file)
    return frame_graph(read, student.scale, "fp32")


@pytest.mark.parametrize("half", [False, True])
def test_engine_multiplies_integers_in_every_layer_of_a_student_in_8_bits(
    tmp_path: Path, half: bool
) -> None:
    file = tmp_path / "half.xml" if half else None
    in_8_bits = seen(StudentDirect(width=16, depth=4, int8=True))
    assert integer_convolutions(of_frames(in_8_bits, file)) == 4
    assert integer_convolutions(of_frames(StudentDirect(width=16, depth=4), file)) == 0

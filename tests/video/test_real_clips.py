"""Real clips through files are what their frames are through arrays."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning import quality
from kd_lightning.deploy.backends import Runner, open_weights
from kd_lightning.deploy.enhance import enhance_frames
from kd_lightning.models.pretrained import find_weights
from kd_lightning.video.enhancing import enhanced
from kd_lightning.video.pipeline import process
from kd_lightning.video.reader import Reader
from kd_lightning.video.writer import Encoding, Writer

FRAMES = 3


@pytest.fixture(scope="module")
def runner() -> Runner:
    return open_weights(find_weights("call_tiny_x2"), "torch", "cpu", "fp32")


def luma_psnr(ours: np.ndarray, truth: np.ndarray) -> float:
    one, other = (torch.tensor(i).permute(2, 0, 1)[None].float() / 255 for i in (ours, truth))
    return float(quality.scores(one, other, 2)["psnr_y"])


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("name", ["Zhling_1280x720.264", "webcam_help_640x480.mkv"])
def test_the_file_route_has_the_psnr_of_the_array_route(
    name: str, scale: int, tmp_path: Path, runner: Runner, shared: Path
) -> None:
    with Reader(shared / "video" / name) as reader:
        frames = list(islice(reader, FRAMES))
    height, width = frames[0].size
    size = width // scale, height // scale
    small = tmp_path / "small.mkv"
    with Writer(small, Encoding("ffv1")) as writer:
        for frame in frames:
            image = Image.fromarray(frame.pixels).resize(size, Image.Resampling.BICUBIC)
            writer.write(frame.with_image(np.asarray(image)))
    with Reader(small) as reader, Writer(tmp_path / "out.nut", Encoding("ffv1"), reader) as writer:
        process(reader, lambda images: enhanced(runner, images, scale), writer)
    with Reader(small) as reader, Reader(tmp_path / "out.nut") as result:
        arrays = enhance_frames(runner, [frame.pixels for frame in reader], scale)
        for by_array, by_file, truth in zip(arrays, result, frames, strict=True):
            assert by_file.size == by_array.shape[:2]
            ours, theirs = (luma_psnr(i, truth.pixels) for i in (by_file.pixels, by_array))
            assert ours == pytest.approx(theirs, abs=0.05)

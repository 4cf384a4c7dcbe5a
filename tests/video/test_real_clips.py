"""Real clips through files are what their frames are through arrays."""

from pathlib import Path

import pytest

pytest.importorskip("av")

from experiments.real_clips import CODINGS, STUDENTS, compare, read
from kd_lightning.deploy.backends import Runner, open_weights
from kd_lightning.models.pretrained import find_weights

FRAMES = 2


@pytest.fixture(scope="module", params=["torch", "openvino"])
def runners(request: pytest.FixtureRequest) -> dict[int, Runner]:
    """By scale. On openvino frames go through as planes."""
    pytest.importorskip(request.param)
    return {
        scale: open_weights(find_weights(name), request.param, "cpu", "fp32")
        for scale, name in STUDENTS.items()
    }


every_clip = pytest.mark.parametrize(
    "name",
    [
        "CiscoVT2people_320x192_12fps.yuv",
        "VID_1920x1080_cabac_temporal_direct.264",
        "Zhling_1280x720.264",
        "webcam_again_640x480.mkv",
        "webcam_help_640x480.mkv",
    ],
)


@pytest.mark.slow
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("scale", STUDENTS)
@every_clip
def test_the_file_route_has_the_psnr_of_the_array_route(
    name: str, scale: int, coding: str, tmp_path: Path, runners: dict[int, Runner], shared: Path
) -> None:
    found = compare(read(shared / "video" / name, FRAMES), coding, runners[scale], tmp_path)
    assert len(found["file"]) == FRAMES
    # Where luma alone is restored, chroma is the decoded one, and nothing passes through RGB.
    luma_alone = runners[scale].luma and coding != "ffv1"
    expected = found["arrays" if luma_alone else "arrays, stored alike"]
    assert found["file"] == pytest.approx(expected, abs=0.05)


@pytest.mark.slow
@every_clip
def test_luma_alone_through_a_file_has_the_psnr_of_the_array_route(
    name: str, tmp_path: Path, shared: Path
) -> None:
    pytest.importorskip("openvino")
    runner = open_weights(find_weights("call_luma_x2"), "openvino", "cpu", "fp32")
    assert runner.luma
    found = compare(read(shared / "video" / name, FRAMES), "h264 crf 28", runner, tmp_path)
    assert found["file"] == pytest.approx(found["arrays"], abs=0.05)

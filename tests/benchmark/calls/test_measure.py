"""kd_lightning.benchmark.calls: what is measured on the frames of a call."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kd_lightning import quality
from kd_lightning.benchmark.calls import report
from kd_lightning.benchmark.calls.__main__ import main
from kd_lightning.benchmark.calls.clips import Clip, read_clip
from kd_lightning.benchmark.calls.measure import (
    CRFS,
    baseline,
    measure,
    points,
    read_clips,
    unsharp,
)
from kd_lightning.benchmark.calls.photos import measure_photos
from kd_lightning.benchmark.quality import pair, to_tensor
from kd_lightning.errors import UserError
from kd_lightning.video.suffixes import READABLE

pytest.importorskip("av", reason="PyAV (extra video) is not installed")


@pytest.fixture(scope="module")
def clip(photo: np.ndarray) -> Clip:
    """A pan over a face, 2 pixels a frame, whose content does not change."""
    frames = [photo[40:168, 140 + 2 * n : 300 + 2 * n] for n in range(12)]
    return Clip("pan", [np.ascontiguousarray(frame) for frame in frames], 30.0)


@pytest.fixture(scope="module")
def found(clip: Clip) -> dict:
    at = [p for p in points() if p.name == "uncoded" or p.name.startswith("h264")]
    return {scale: measure(clip, scale, {}, at) for scale in (1, 2)}


def test_a_point_codes_as_it_says(clip: Clip) -> None:
    small = [pair(frame, 2)[0] for frame in clip.frames]
    rates = {}
    for point in points()[1:]:
        frames, rates[point.name] = point.code(small, clip.rate)
        assert [f.shape for f in frames] == [s.shape for s in small]
    by_crf = [rates[f"h264 crf {crf}"] for crf in CRFS]
    assert by_crf == sorted(by_crf, reverse=True)
    for codec in ("vp8", "vp9"):
        most, middle, least = (rates[f"{codec} {bits} bits a pixel"] for bits in (0.2, 0.1, 0.05))
        assert most > middle > least > 0


def test_frames_lose_more_at_a_higher_crf(found: dict) -> None:
    for scale in (1, 2):
        psnr = [found[scale][f"h264 crf {crf}"]["rows"]["baseline"]["psnr_y"] for crf in CRFS]
        assert psnr == sorted(psnr, reverse=True)


def test_the_baseline_is_the_decoded_frame_and_interpolation(found: dict, clip: Clip) -> None:
    same = found[1]["uncoded"]["rows"]["baseline"]
    assert math.isinf(same["psnr_y"]) and same["ssim_rgb"] == pytest.approx(1, abs=1e-6)
    assert same["flicker"] == same["temporal_error"] == 0
    expected = []
    for number in (3, 11):  # every 8th frame from the 4th
        lr, hr = pair(clip.frames[number], 2)
        expected.append(float(quality.scores(baseline(2)(lr), to_tensor(hr), 2)["psnr_y"]))
    assert found[2]["uncoded"]["rows"]["baseline"]["psnr_y"] == pytest.approx(np.mean(expected))


def test_flicker_is_what_changes_beyond_the_reference(clip: Clip) -> None:
    """A method that adds a level to every other frame adds exactly that to the changes."""
    calls = 0

    def blinking(frame: np.ndarray) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.full((1, 3, *frame.shape[:2]), 0.5) + (calls % 2) * 10 / 255

    still = Clip("still", [clip.frames[0]] * 4, 30.0)
    row = measure(still, 1, {"blinking": blinking}, points()[:1])["uncoded"]["rows"]["blinking"]
    assert row["flicker"] == pytest.approx(10, abs=0.01)
    assert row["temporal_error"] == pytest.approx(10, abs=0.01)


def test_the_unsharp_mask_has_its_best_strength(found: dict) -> None:
    rows = found[2]["uncoded"]["rows"]
    assert rows["unsharp mask"]["psnr_y"] > rows["baseline"]["psnr_y"]


def test_the_report_gives_gains_over_the_baseline(found: dict) -> None:
    result = {
        "clips": {"pan": {"size": "160x128", "scored": 2}},
        "scales": {str(scale): {"pan": found[scale]} for scale in (2, 1)},
    }
    gains = report.gains(result, "2", "psnr_y")
    rows = [found[2][f"h264 crf {crf}"]["rows"] for crf in CRFS]
    assert gains["unsharp mask"] == pytest.approx(
        [row["unsharp mask"]["psnr_y"] - row["baseline"]["psnr_y"] for row in rows]
    )
    assert f"{gains['unsharp mask'][0]:+.2f}" in report.markdown(result)


def test_a_clip_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no clip named talk\*; .* or --clip the beginning"):
        read_clips(tmp_path, ["talk"])
    (tmp_path / "talk.mkv").write_bytes(b"no video")
    with pytest.raises(UserError, match=r"talk\.mkv: not a video"):
        read_clip(tmp_path / "talk.mkv")


def test_clips_are_found_whatever_ending_kd_enhance_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kd_lightning.benchmark.calls.measure.read_clip", lambda path: path)
    for suffix in (*READABLE, ".MP4"):
        path = tmp_path / f"my [talk]{suffix}"
        path.touch()
        assert read_clips(tmp_path, ["my [t"]) == {"my [t": path}
        path.unlink()


def test_results_of_other_clips_need_a_folder_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--clips", str(tmp_path), "--clip", "talk"]) == 2
    assert "-o FOLDER" in capsys.readouterr().err
    assert main(["--clips", str(tmp_path), "--clip", "talk", "-o", str(tmp_path / "new")]) == 2
    assert "no clip named talk" in capsys.readouterr().err


def test_a_full_range_clip_is_read_in_full_range(shared: Path) -> None:
    """The webcam clips say that they are full range; read as limited they would be clipped."""
    clip = read_clip(shared / "video" / "webcam_help_640x480.mkv")
    assert len(clip.frames) == 58 and clip.frames[0].shape == (480, 640, 3)
    assert (clip.frames[0] == 255).mean() < 0.02


def test_same_size_photographs_are_compared_with_what_was_given(
    photo: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(photo[:128, 150:310]).save(tmp_path / "face.png")
    same = measure_photos(tmp_path, {"same": to_tensor})
    assert math.isinf(same["sharp"]["same"])
    assert all(row["same"] == 0 for name, row in same.items() if name != "sharp")
    assert list(same)[1:] == ["JPEG 30", "JPEG 50", "JPEG 75", "JPEG 90", "interpolated by 2"]
    softer = measure_photos(tmp_path, {"soft": lambda f: unsharp(to_tensor(f), -0.5)})
    sharper = measure_photos(tmp_path, {"sharp": lambda f: unsharp(to_tensor(f), 0.5)})
    assert softer["interpolated by 2"]["soft"] < 0 < sharper["interpolated by 2"]["sharp"]

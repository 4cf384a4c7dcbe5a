"""What a sweep's plots show."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd_lightning.sweeps.plots import Point, against, importance, points, settings, write_plots


def rows(count: int = 12) -> list[dict]:
    """A grid over alpha and two seeds: the score is 0.9 + alpha / 100 + seed / 1000."""
    return [
        {
            "job": str(n),
            "overrides": ["experiment=x", f"loss.alpha={a}", f"seed={s}", "+data.fixed=3"],
            "set": "valid",
            "ssim_rgb": 0.9 + a / 100 + s / 1000,
            "psnr_y": 30 + a,
        }
        for n, (a, s) in enumerate((a / 10, s) for a in range(count // 2) for s in (0, 1))
    ]


def test_only_numbers_that_differ_between_jobs_are_drawn() -> None:
    found = settings([*rows(), {"job": "12", "overrides": ["loss.alpha=0.9"], "failed": "so"}])
    assert found["3"] == {"loss.alpha": 0.1, "seed": 1.0, "data.fixed": 3.0}  # 12 lacks it
    assert settings(rows())["3"] == {"loss.alpha": 0.1, "seed": 1.0}


def test_a_key_whose_numbers_all_failed_is_left_out(tmp_path: Path) -> None:
    none = [{**row, "overrides": ["data.subset=null"]} for row in rows(2)]
    failed = {"job": "2", "overrides": ["data.subset=1.0"], "failed": "so"}
    assert write_plots([*none, failed], tmp_path) is None
    assert write_plots([*rows(), {**failed, "job": "12"}], tmp_path)


def test_mean_and_spread_over_seeds_at_each_value() -> None:
    at, means, spreads = against(points(rows(), "valid", "ssim_rgb"), "loss.alpha")
    assert at == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert means == pytest.approx([0.9005 + a / 100 for a in at])
    assert spreads == pytest.approx([np.std([0, 0.001], ddof=1)] * 6)


def test_importance_names_the_key_that_decides() -> None:
    rng = np.random.default_rng(0)
    draws = rng.random((60, 2))
    jobs = [Point({"decides": x, "idle": y}, float(x)) for x, y in draws]
    shares = importance(jobs)
    assert list(shares) == ["decides", "idle"]
    assert shares["decides"] > 0.8
    assert importance(jobs[:5]) == {}


def test_a_figure_is_written_where_something_was_changed(tmp_path: Path) -> None:
    path = write_plots(rows(), tmp_path)
    assert path == tmp_path / "sweep.png"
    with Image.open(path) as image:
        assert np.asarray(image.convert("L")).std() > 5
    assert write_plots(rows()[:2], tmp_path) is None  # only the seed
    assert write_plots([{"job": "0", "overrides": [], "failed": "so"}], tmp_path) is None

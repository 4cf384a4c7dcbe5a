"""experiments/wandb: what can be known of W&B's pages and sweep without an account."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from kd_lightning.config import check_keys
from tests.runs import ROOT, composed

FOLDER = ROOT / "experiments" / "wandb"


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    pytest.importorskip("wandb_workspaces", reason="needs wandb-workspaces")
    spec = importlib.util.spec_from_file_location("pages", FOLDER / "dashboards.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_workspace_shows_what_a_run_logs(pages: ModuleType) -> None:
    content = json.dumps(pages.specification(pages.workspace("me", "p")))
    for name in (
        *("val/ssim", "val/bicubic/psnr_y", "val/to_teacher/ssim", "best/val/ssim"),
        *("train/hr/l1", "train/teacher/ssim", "lr-AdamW", "val/comparison/*", "images"),
        "summary_metrics.best/step",
        *("speed/images", "speed/data_wait", "memory/process_mb", "test/set5/psnr_y"),
    ):
        assert f'"{name}"' in content, name


def test_report_is_of_the_sweep_by_alpha(pages: ModuleType) -> None:
    content = json.dumps(pages.specification(pages.alpha_report("me", "p", "mine")))
    assert '"key": {"section": "run", "name": "group"}, "op": "=", "value": "mine"' in content
    assert "loss.value.alpha" in content
    assert content.count('"Scatter Plot"') == 4


def test_sweep_runs_train_with_keys_that_there_are(tmp_path: Path) -> None:
    sweep = yaml.safe_load((FOLDER / "sweep_alpha.yaml").read_text())
    assert (ROOT / sweep["program"]).is_file()
    assert sweep["metric"] == {"name": "val/ssim", "goal": "maximize"}
    given = [word for word in sweep["command"] if not word.startswith("$")]
    assert sweep["command"][-1] == "${args_no_hyphens}"  # key=value, as Hydra wants them
    for place in (0, -1):
        tried = [f"{key}={entry['values'][place]}" for key, entry in sweep["parameters"].items()]
        check_keys(composed(tmp_path, *given, *tried))

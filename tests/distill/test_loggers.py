"""W&B's own switches decide what goes online."""

from pathlib import Path

import pytest

from kd_lightning.distill.loggers import RunCSVLogger, RunWandbLogger
from kd_lightning.errors import UserError

SWITCHES = {  # what is set: what W&B must do with a key, and without
    (): ("online", "offline"),
    ("WANDB_MODE=online",): ("online", "offline"),
    ("WANDB_MODE=offline",): ("offline", "offline"),
    ("WANDB_MODE=dryrun",): ("offline", "offline"),
    ("WANDB_MODE=disabled",): ("disabled", "disabled"),
    ("WANDB_DISABLED=true",): ("disabled", "disabled"),
    ("WANDB_DISABLED=true", "WANDB_MODE=online"): ("disabled", "disabled"),
    ("WANDB_DISABLED=false",): ("online", "offline"),
    ("wandb/settings: offline",): ("offline", "offline"),
    ("wandb/settings: disabled",): ("disabled", "disabled"),
}


@pytest.mark.parametrize("key", [True, False], ids=["key", "no key"])
@pytest.mark.parametrize("switches", SWITCHES, ids=lambda switches: " ".join(switches) or "none")
def test_nothing_goes_online_that_was_switched_off(
    switches: tuple[str, ...], key: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    for switch in switches:
        if switch.startswith("wandb/settings"):  # what `wandb offline` and `wandb disabled` write
            (tmp_path / "wandb").mkdir()
            mode = switch.rpartition(" ")[2]
            (tmp_path / "wandb" / "settings").write_text(f"[default]\nmode = {mode}\n")
        else:
            monkeypatch.setenv(*switch.split("="))
    logger = RunWandbLogger(str(tmp_path / "run"), project="p")
    expected = SWITCHES[switches][0 if key else 1]
    assert logger._wandb_init["settings"].mode == expected
    assert logger._offline is (expected == "offline")


def test_a_mode_that_wandb_does_not_have_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(UserError, match="WANDB_MODE=ofline"):
        RunWandbLogger(str(tmp_path), project="p")


def test_a_row_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    first = RunCSVLogger(str(tmp_path))
    for step in (3, 4, 12):
        first.log_metrics({"loss": step / 8}, step)
    first.save()
    file = tmp_path / "metrics.csv"
    file.write_text(file.read_text()[:-2])  # the last row says step 1 now
    RunCSVLogger(str(tmp_path), resume_step=10)
    assert file.read_text() == "loss,step\n0.375,3\n0.5,4\n"


def test_rows_are_kept_when_a_new_column_comes(tmp_path: Path) -> None:
    logger = RunCSVLogger(str(tmp_path))
    logger.log_metrics({"loss": 0.5}, 1)
    logger.save()
    logger.log_metrics({"a": 0.25}, 2)
    logger.finalize("success")
    assert (tmp_path / "metrics.csv").read_text() == "a,loss,step\n,0.5,1\n0.25,,2\n"

"""A stopped run goes on with exactly the batches that it has not seen."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from kd_lightning.data.datamodule import TripletDataModule
from kd_lightning.errors import UserError

EPOCHS = 3
BATCHES = 6  # an epoch: samples_per_epoch / batch_size of `make_data`


class Recorder(lightning.LightningModule):
    """Notes what every training batch holds."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 1)
        self.seen: list[tuple[int, int, float]] = []

    def training_step(self, batch: dict, batch_idx: int) -> torch.Tensor:
        place = (self.current_epoch, batch_idx, float(batch["hr"].double().sum()))
        self.seen.append(place)
        return self.layer(batch["lr"]).mean()

    def validation_step(self, batch: dict, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.0)


def trainer(folder: Path, *callbacks: lightning.Callback, **changes: object) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **changes,  # type: ignore[arg-type]
    )


def step_of(file: Path) -> int:
    return torch.load(file, weights_only=True)["global_step"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "when",
    [
        {"every_n_train_steps": 1},
        {"every_n_epochs": 1, "save_on_train_epoch_end": False},  # after validation
        {"every_n_epochs": 1, "save_on_train_epoch_end": True},
    ],
    ids=["every step", "validation end", "epoch end"],
)
def test_a_resumed_run_sees_exactly_the_remaining_batches(
    make_data: Callable[..., TripletDataModule], tmp_path: Path, workers: int, when: dict
) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "ckpt", "{step}-{epoch}", save_top_k=-1, **when)
    whole = Recorder()
    trainer(tmp_path, checkpoint).fit(whole, datamodule=make_data(num_workers=workers))
    assert len({fingerprint for _, _, fingerprint in whole.seen}) == EPOCHS * BATCHES

    files = sorted((tmp_path / "ckpt").glob("*.ckpt"), key=step_of)
    stops = files[::4] + files[BATCHES - 1 : BATCHES] if len(files) > EPOCHS else files[:-1]
    for file in stops:
        resumed = Recorder()
        data = make_data(num_workers=workers)
        trainer(tmp_path).fit(resumed, datamodule=data, ckpt_path=file, weights_only=True)
        assert resumed.seen == whole.seen[step_of(file) :], file.name


@pytest.mark.slow
def test_a_run_killed_mid_epoch_goes_on_where_its_checkpoint_was_written(
    make_data: Callable[..., TripletDataModule], data_root: Path, tmp_path: Path
) -> None:
    whole = Recorder()
    trainer(tmp_path).fit(whole, datamodule=make_data())

    code = f"""
import os, signal, sys
sys.path[:0] = {[str(Path(__file__).parents[2]), str(Path(__file__).parent)]!r}
from pathlib import Path
import kd_lightning.data
from kd_lightning.models.teacher import FolderTeacher
from test_resume import ModelCheckpoint, Recorder, TripletDataModule, trainer

class Killed(Recorder):
    def on_train_batch_start(self, batch, batch_idx):
        if (self.current_epoch, batch_idx) == (1, 3):
            os.kill(os.getpid(), signal.SIGKILL)

root, out = Path({str(data_root)!r}), Path({str(tmp_path)!r})
data = TripletDataModule(
    [str(root / "train_HR")], [str(root / "valid_HR")], teacher=FolderTeacher(), crop_size=32,
    batch_size=4, samples_per_epoch=24, num_workers=0, cache_dir=str(out / "cache"))
saving = ModelCheckpoint(out / "killed", "last", every_n_train_steps=1)
trainer(out, saving).fit(Killed(), datamodule=data)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

    resumed = Recorder()
    last = tmp_path / "killed" / "last.ckpt"
    trainer(tmp_path).fit(resumed, datamodule=make_data(), ckpt_path=last, weights_only=True)
    assert resumed.seen == whole.seen[BATCHES + 3 :]


def test_a_resume_with_other_batches_or_images_is_refused(
    make_data: Callable[..., TripletDataModule],
) -> None:
    state = make_data().train_dataloader().state_dict()  # type: ignore[attr-defined]
    for change, words in (({"batch_size": 8}, "6 batches an epoch"), ({"subset": 4}, "images")):
        loader = make_data(**change).train_dataloader()
        with pytest.raises(UserError, match=words):
            loader.load_state_dict(state)  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_built_before_the_place_is_known_starts_there(
    make_data: Callable[..., TripletDataModule], tmp_path: Path, workers: int
) -> None:
    """As a schedule that asks for the run's length builds it."""
    data = make_data(num_workers=workers)
    data.trainer = trainer(tmp_path)
    batches = iter(data.train_dataloader())
    loop = data.trainer.fit_loop
    loop.epoch_progress.current.processed = 2
    loop.epoch_loop.batch_progress.current.ready = 4
    remaining = [batch["crops"] for batch in batches]

    undisturbed = make_data().train_dataloader()
    undisturbed.sampler.set_epoch(2)  # type: ignore[attr-defined]
    expected = [batch["crops"] for batch in undisturbed][4:]
    assert len(remaining) == len(expected) == BATCHES - 4
    for ours, theirs in zip(remaining, expected, strict=True):
        assert torch.equal(ours, theirs)

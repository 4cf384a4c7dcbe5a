"""The LightningModule: one student, one loss, the protocol's metrics. It never holds a teacher."""

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from kd_lightning.distill.checkpoints import earlier
from kd_lightning.distill.features import FeatureDistillation
from kd_lightning.distill.losses import checked_terms
from kd_lightning.distill.metrics import ImageScores, log_name
from kd_lightning.distill.monitored import check_monitors, logs_others, scored_on, scores_of
from kd_lightning.distill.schedules import check_optimizer, refusals, spans_the_run
from kd_lightning.errors import UserError
from kd_lightning.models.checkpoint import ORIGIN
from kd_lightning.models.network import Network
from kd_lightning.models.tiling import tiled
from kd_lightning.quality import METRICS, Metric

# Its advice for what is logged on one process; scores are means over all of them already.
warnings.filterwarnings("ignore", message="It is recommended to use `self.log.*sync_dist")

Batch = dict[str, Any]
Scores = dict[str, ImageScores]
ROWS = ("bicubic", "student", "teacher")
NEVER = sys.maxsize  # epochs or steps
TO_TEACHER = "to_teacher"  # the student's output scored against the teacher's


class DistillationModule(LightningModule):
    """Trains `student` on triplet crops and scores it on whole images.

    Batches are dicts of (B,3,H,W) float images in [0, 1]: `lr`, `bicubic`, `hr` and, where there
    is one, `teacher`. The same module trains a teacher: a network whose `takes_lr` is true gets
    `lr`, any other `bicubic`.

    Args:
        student: network with the attributes that kd_lightning.models.students describes.
        loss: combines the student's output with `hr` and `teacher`, as
            `kd_lightning.distill.losses.DistillationLoss` does.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the learning-rate schedule from the optimizer; if it takes `total_steps`
            (OneCycleLR), it gets the length of the run, in what `interval` says.
        interval: "epoch" or "step" (of the optimizer): when the schedule advances.
        monitor: the score that a ReduceLROnPlateau follows, at each validation: a `val/...`, or
            what a callback of the user's own has logged by the end of it.
        tile: side in pixels of the network's input of the tiles that whole images are cut into.
        config: the run's resolved configuration, kept in checkpoints and loggers.
        features: a term beside `loss`, made for `student`.
        metrics: what whole images are scored by, name -> metric.
        origin: what an artifact of the student says of this run, kept in checkpoints, of which
            artifacts are made too.
    """

    def __init__(
        self,
        student: Network,
        loss: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        interval: str = "epoch",
        monitor: str | None = None,
        tile: int = 512,
        config: dict[str, Any] | None = None,
        features: FeatureDistillation | None = None,
        metrics: Mapping[str, Metric] = METRICS,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(config or {})
        self.student = student
        self.student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss
        self.features = features
        self.metrics = metrics
        self.origin = dict(origin or {})
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.interval, self.monitor = interval, monitor
        self.tile = tile
        self.val_scores: Scores = {}
        self.test_scores: dict[str, Scores] = {}
        self.baselines_logged = False
        self.scored_on: str | None = None  # the images and metrics of a plateau's best score
        self.batch_size = 0  # crops of a step in this process

    def forward(self, batch: Batch) -> Tensor:
        """The student's output (B,3,H,W) for a batch of crops, unclamped."""
        return self.student(self.input_of(batch))

    def restore(self, batch: Batch) -> Tensor:
        """The student's output for whole images of any size, computed in tiles and in float32
        whatever the training precision, so that scores compare."""
        student = self.student
        with torch.autocast(self.device.type, enabled=False), whole_float32():
            return tiled(
                student,
                self.input_of(batch),
                tile=self.tile,
                halo=student.radius,
                multiple=student.multiple_of,
                scale=student.scale if student.takes_lr else 1,
            )

    def input_of(self, batch: Batch) -> Tensor:
        image = batch["lr"] if self.student.takes_lr else batch["bicubic"]
        return image.contiguous(memory_format=torch.channels_last)

    def on_fit_start(self) -> None:
        check_monitors(self.trainer, self)
        self.scored_on = self.scored_on or scored_on(self.trainer, self)

    def on_train_start(self) -> None:
        self.on_train_epoch_start()  # a run that resumes within an epoch does not start it

    def on_train_epoch_start(self) -> None:
        """The last epoch is validated, whatever `trainer.check_val_every_n_epoch` says: it is what
        a schedule that ends there was for."""
        trainer: Any = self.trainer
        if self.current_epoch + 1 == trainer.max_epochs and trainer.check_val_every_n_epoch:
            trainer.check_val_every_n_epoch = 1

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.batch_size = len(batch["hr"])
        self.seed_step(batch_idx)
        terms = self.terms_of(batch)
        loss = terms.pop("loss")
        if self.features is not None:
            terms["features"] = self.features(batch["lr"])
            loss = loss + self.features.weight * terms["features"]
        if not torch.isfinite(loss):
            raise UserError(
                f"the training loss is {loss.item()} at step {self.global_step}: lower "
                f"optimizer.lr or use precision=fp32{self.earlier_checkpoints()}"
            )
        trainer: Any = self.trainer
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch:
            self.log_step({"loss": loss, **terms})
        return loss

    def terms_of(self, batch: Batch) -> dict[str, Tensor]:
        """What the loss makes of a batch of crops, which it gets in the usual order in memory.
        Raises UserError where that is no scalars by name."""
        images = (self(batch), batch["hr"], batch.get("teacher"))
        terms = self.loss(*(image if image is None else image.contiguous() for image in images))
        return checked_terms(terms, self.loss)

    def seed_step(self, batch_idx: int) -> None:
        """What is random in a network or a loss, such as dropout, is a function of the seed and of
        the step, so that a run that resumes draws what it would have drawn."""
        seed = self.hparams.get("seed", 0)
        words = f"{seed}/{self.current_epoch}/{batch_idx}/{self.global_rank}"
        torch.manual_seed(int(hashlib.sha256(words.encode()).hexdigest()[:15], 16))

    def on_after_backward(self) -> None:
        """Raises UserError where several processes would wait for a gradient that never comes."""
        strategy: Any = self.trainer.strategy
        kwargs = getattr(strategy, "_ddp_kwargs", None)
        allowed = ("find_unused_parameters", "static_graph")
        if kwargs is None or any(map(kwargs.get, allowed)) or self.global_step:
            return
        wanted = (item for item in self.named_parameters() if item[1].requires_grad)
        if unused := [name for name, parameter in wanted if parameter.grad is None]:
            raise UserError(
                f"{unused[0]} gets no gradient, and trainer.strategy=ddp waits for one: remove it, "
                "or give trainer.strategy=ddp_find_unused_parameters_true"
            )

    def log_step(self, terms: dict[str, Tensor]) -> None:
        """Give the loggers a row of this step's losses, means over all processes.

        By Lightning's own way the row would come after the checkpoints of the step, and a run
        that is killed then would lack it for ever.
        """
        self.log("train/loss", terms["loss"].detach(), prog_bar=True, logger=False)
        trainer: Any = self.trainer
        if (self.global_step + 1) % trainer.log_every_n_steps == 0:
            mean = trainer.strategy.reduce
            row = {f"train/{name}": float(mean(terms[name].detach())) for name in sorted(terms)}
            place = {"epoch": self.current_epoch, "images": self.images_seen()}
            for logger in self.loggers:
                logger.log_metrics({**row, **place}, self.global_step)

    def images_seen(self) -> int:
        """Training crops of all processes so far, those of the batch at hand too."""
        trainer: Any = self.trainer
        if not self.is_fitting():
            return 0
        batches = trainer.fit_loop.epoch_loop.batch_progress.total.ready
        return int(batches * self.batch_size * trainer.world_size)

    def is_fitting(self) -> bool:
        """Whether the run is under way, whose length and schedule are known then."""
        state = self.trainer.state
        return state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking

    def earlier_checkpoints(self) -> str:
        """What to tell of the run's checkpoints where it breaks off; nothing if it has none."""
        callback = self.trainer.checkpoint_callback
        return earlier(getattr(callback, "dirpath", None))

    def on_validation_epoch_start(self) -> None:
        rows = ("student",) if self.baselines_logged else ROWS
        self.val_scores = self.new_scores((*rows, TO_TEACHER))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.update_scores(self.val_scores, batch)

    def on_validation_epoch_end(self) -> None:
        for row, scores in self.val_scores.items():
            self.log_scores("val" if row == "student" else f"val/{row}", scores)
        self.log("images", float(self.images_seen()))
        self.follow_plateau()
        self.baselines_logged |= not self.trainer.sanity_checking

    def follow_plateau(self) -> None:
        """Give a ReduceLROnPlateau the score of this validation, before the checkpoints are saved:
        Lightning does it after them, and a run that resumes would lack that step.

        Raises UserError where nothing has logged the score."""
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau) and self.is_fitting():
            if self.scored_on != (now := scored_on(self.trainer, self)):
                scheduler.best = scheduler.mode_worse
                scheduler.num_bad_epochs = scheduler.cooldown_counter = 0
                self.scored_on = now
            value = self.trainer.callback_metrics.get(str(self.monitor))
            # The first process's: what a callback logs may differ, and rates must not.
            score = self.trainer.strategy.broadcast(None if value is None else float(value))
            if score is None:
                raise UserError(
                    f"scheduler.monitor={self.monitor}: nothing has logged it by the end of the "
                    "validation; log it in on_validation_epoch_end of the callback, or before"
                )
            scheduler.step(score)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["baselines_logged"] = self.baselines_logged
        checkpoint["scored_on"] = self.scored_on
        checkpoint[ORIGIN] = self.origin
        for logger in self.loggers:
            logger.save()  # the rows of the steps that the checkpoint has behind it

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.baselines_logged = checkpoint["baselines_logged"]
        self.scored_on = checkpoint.get("scored_on")

    def new_scores(self, rows: Iterable[str] = ROWS) -> Scores:
        scale, device = self.student.scale, self.device
        return {row: ImageScores(scale, self.metrics).to(device) for row in rows}

    def update_scores(self, rows: Scores, batch: Batch) -> None:
        """Score the student's output and the baselines that `batch` holds, if this process is the
        one to do it."""
        if batch.get("stem") == [""]:
            return
        images = {**batch, "student": self.restore(batch)}
        for row, scores in rows.items():
            image, target = ("student", "teacher") if row == TO_TEACHER else (row, "hr")
            if image in images and target in images:
                scores.update(images[image], images[target])

    def log_scores(self, prefix: str, scores: ImageScores) -> None:
        """Log `<prefix>/ssim` (RGB), `<prefix>/psnr_y` and so on for each metric, if any process
        has scored an image."""
        for name, value in scores.means().items():
            key = f"{prefix}/{log_name(name)}"
            self.log(key, value, prog_bar=key in ("val/ssim", "val/psnr_y"))

    def on_test_start(self) -> None:
        self.test_scores = {name: self.new_scores() for name in self.test_names()}

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.update_scores(self.test_scores[self.test_names()[dataloader_idx]], batch)

    def test_results(self) -> dict[str, dict[str, Any]]:
        """Scores of the last test: `{set: {"n": images, row: {metric: value}}}`."""
        results: dict[str, dict[str, Any]] = {}
        for name, rows in self.test_scores.items():
            means = {row: scores.means() for row, scores in rows.items()}
            results[name] = {"n": int(rows["student"].total)}
            for row, values in means.items():
                if values:
                    results[name][row] = {metric: float(value) for metric, value in values.items()}
        return results

    def test_names(self) -> list[str]:
        return list(self.trainer.datamodule.test_names)  # type: ignore[attr-defined]

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule. Raises UserError for a value that they refuse."""
        with refusals("optimizer"):
            optimizer = self.make_optimizer(self.parameters())
        check_optimizer(optimizer)
        length = {}
        if spans_the_run(self.make_scheduler):
            epochs, steps = self.trainer.max_epochs, self.trainer.estimated_stepping_batches
            length = {"total_steps": int(epochs if self.interval == "epoch" and epochs else steps)}
        with refusals("scheduler"):
            scheduler = self.make_scheduler(optimizer, **length)
        schedule = {"scheduler": scheduler, "interval": self.interval}
        if isinstance(scheduler, ReduceLROnPlateau):
            known, others = scores_of(self.trainer, self), logs_others(self.trainer)
            if self.monitor not in known and not (self.monitor and others):
                raise UserError(
                    f"scheduler.monitor={self.monitor}: ReduceLROnPlateau follows one of "
                    f"{', '.join(known)}"
                )
            schedule |= {"monitor": self.monitor, "frequency": NEVER}  # `follow_plateau` does it
        return {"optimizer": optimizer, "lr_scheduler": schedule}


@contextmanager
def whole_float32() -> Iterator[None]:
    """Convolutions of float32 on a GPU in float32: cuDNN by itself takes 10 bits of each number."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before

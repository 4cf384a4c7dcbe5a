"""What Hydra asks before it writes anything, and what becomes of jobs that fail."""

import copy
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.config import fail, reason
from kd_lightning.distill.run import accepted
from kd_lightning.errors import UserError
from kd_lightning.files import write_atomic

FAILED = "failed.txt"  # in the folder of a sweep's job: why it failed


class ResumeCheck(Callback):
    """Refuses, in one line and with exit status 2, to write into a run that cannot go on so.

    Hydra replaces `.hydra/config.yaml` of the run folder before the program proper starts.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.ckpt_path is None:
            return
        try:
            accepted(as_job(config))
        except UserError as error:
            fail(str(error))
        except OmegaConfBaseException:
            return  # the program says it better

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "TORCHELASTIC_RUN_ID" in os.environ:
            fail(
                "torchrun starts the processes of one run: leave -m or torchrun away (trainer=ddp)"
            )
        if config.ckpt_path is not None:
            fail("ckpt_path continues one run, in its folder: leave -m away, or give init_from=")


def as_job(config: DictConfig) -> DictConfig:
    """The configuration as the program will get it: with its run folder, without Hydra's part."""
    HydraConfig.instance().set_config(config)
    folder = os.path.abspath(str(config.hydra.run.dir))
    cfg = copy.deepcopy(config)
    with read_write(cfg), open_dict(cfg):
        cfg.run_folder = folder
        del cfg["hydra"]
    return cfg


class FailedJobs(Callback):
    """A failure is one line. It ends a run with status 2, and leaves a mark in a sweep's job, so
    that the others run on and the sweep's table comes: Hydra's own sweeper would raise the first.
    Other sweepers have their own way with failures.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        hydra = config.hydra
        file = Path(hydra.runtime.output_dir) / FAILED
        if job_return.status == JobStatus.COMPLETED:
            file.unlink(missing_ok=True)
            return
        error = job_return._return_value
        line = reason(error, hydra.job.config_name or "train", sys.argv[1:])
        if hydra.mode == RunMode.RUN and line is not None:
            fail(line)
        if hydra.mode == RunMode.MULTIRUN and hydra.sweeper._target_.endswith(".BasicSweeper"):
            if line is None:  # a bug, so where it is matters
                traceback.print_exception(error)
                line = f"{type(error).__name__}: {error}"
            line = " ".join(line.split())
            print(f"error: job {hydra.job.num}: {line}", file=sys.stderr, flush=True)
            with suppress(Exception):  # the disk may be what is wrong
                write_atomic(file, line.encode())
            job_return.status, job_return.return_value = JobStatus.COMPLETED, None

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
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.distill.marks import FAILED, PRUNED, Busy, Pruned
from kd_lightning.distill.run import accepted
from kd_lightning.errors import UserError
from kd_lightning.explain import fail, reason
from kd_lightning.files import write_atomic

OURS = ("hydra._internal.core_plugins.basic_sweeper.", "hydra_plugins.kd_lightning.")


class ResumeCheck(Callback):
    """Refuses, in one line and with exit status 2, to write into a run that cannot go on so.

    Hydra replaces `.hydra/config.yaml` of the run folder before the program proper starts.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if swept := unswept(config.hydra):
            fail(f"without -m this is one run and sweeps nothing: add -m, or give {swept[0]}=VALUE")
        if named(config):
            with read_write(config), open_dict(config):
                config.hydra.run.dir = config.run_folder  # its .hydra goes there too
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
        if named(config):
            fail("run_folder is of one run: give hydra.sweep.dir=, in which each job has a folder")


def named(config: DictConfig) -> bool:
    """Whether run_folder was given: by itself it is wherever Hydra writes."""
    return not OmegaConf.is_interpolation(config, "run_folder")


def unswept(hydra: DictConfig) -> list[str]:
    """The keys that a choice of `sweep` sweeps over and the command line gives no value: of the
    command that a sweep prints as its best, none."""
    given = {str(word).lstrip("+").partition("=")[0] for word in hydra.overrides.task}
    return [str(key) for key in hydra.sweeper.get("params") or () if str(key) not in given]


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
    Sweepers of other packages have their own way with failures.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        hydra = config.hydra
        if job_return.status == JobStatus.COMPLETED:
            return
        error = job_return._return_value
        line = reason(error, hydra.job.config_name or "train", sys.argv[1:])
        if hydra.mode == RunMode.RUN and isinstance(error, Pruned):
            raise SystemExit(0)  # a process of a job's run: its first one tells
        if hydra.mode == RunMode.RUN and line is not None:
            fail(line)
        if hydra.mode == RunMode.MULTIRUN and hydra.sweeper._target_.startswith(OURS):
            if line is None:  # a bug, so where it is matters
                traceback.print_exception(error)
                line = f"{type(error).__name__}: {error}"
            leave_mark(Path(hydra.runtime.output_dir), error, line, hydra.job.num)
            job_return.status, job_return.return_value = JobStatus.COMPLETED, None


def leave_mark(folder: Path, error: Exception, line: str, job: int) -> None:
    """Say why a sweep's job has no results, on the console and in its folder."""
    line = " ".join(line.split())
    if isinstance(error, Pruned):
        print(f"job {job}: {line}", flush=True)
    else:
        print(f"error: job {job}: {line}", file=sys.stderr, flush=True)
    if not isinstance(error, Busy):  # that folder is another process's
        with suppress(Exception):  # the disk may be what is wrong
            name = PRUNED if isinstance(error, Pruned) else FAILED
            write_atomic(folder / name, line.encode())

"""Several processes that train one run on one machine: started for it, ended with it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Trainer
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
)
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf, read_write

from kd_lightning.errors import UserError
from kd_lightning.process_group import leave, leave_at_exit

RENDEZVOUS = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
COMMAND = "kd_lightning.commands.train"
PATIENCE = 20.0  # seconds that a process gets to end by itself after another has failed


def is_first_process() -> bool:
    """Whether this process is the one that writes, among those of the run."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


def started_outside() -> tuple[str, int, int] | None:
    """Who has started this process, how many of them, and on how many machines; None where a run
    starts its own. torchrun comes first: SLURM may have started it."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        started, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        return "torchrun", started, started // here
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    machines = int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
    return ("srun", tasks, machines) if tasks > 1 else None


def cluster() -> list[ClusterEnvironment]:
    """Under srun, Lightning's environment of SLURM without its own way of starting again: that
    would save other checkpoints, and prefer them to the one that the run says it continues. One
    process in a job of SLURM starts the others of its run itself.

    Raises:
        UserError: options of srun that Lightning does not take.
    """
    outside = started_outside()
    if outside is None:
        return [LightningEnvironment()] if SLURMEnvironment.detect() else []
    if outside[0] != "srun":
        return []
    if not SLURMEnvironment.detect():
        raise UserError("srun: tasks of an interactive job have no ranks: add --job-name=train")
    try:
        return [SLURMEnvironment(auto_requeue=False)]
    except RuntimeError as error:
        raise UserError(f"srun: {error}") from None


def refuse_other_count(devices: Any, nodes: int, on_cpu: bool) -> None:
    """Refuse more processes of torchrun or srun than the run has, which would be its doubles, or
    fewer, which would wait for the others.

    Args:
        devices: of Lightning's trainer; only numbers are checked, and "auto" on a CPU, which is 1.
        nodes: machines.
        on_cpu: whether the run is on the CPU.

    Raises:
        UserError: another number than has been started, or as `cluster`.
    """
    if devices == "auto" and on_cpu:
        devices = 1
    outside = started_outside()
    if outside is not None and isinstance(devices, int) and devices > 0:
        who, started, machines = outside
        if devices * nodes != started:
            several = f" trainer.num_nodes={machines}" if machines > 1 else ""
            raise UserError(
                f"{who} has started {started} processes, and the run has {devices * nodes}: give "
                f"trainer=ddp trainer.devices={max(1, started // machines)}{several}"
            )
    cluster()


class JobLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher, for one job of a sweep too, and with a word on why a run ends.

    Lightning starts the other processes with this command's own arguments, which in a sweep would
    be the sweep again; and it kills the first process, silently, when another one fails.

    Args:
        words: what the command of a sweep's job has beside its overrides.
    """

    def __init__(self, *args: Any, words: tuple[str, ...] = ()) -> None:
        super().__init__(*args)
        self.words = words

    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("trainer", None)
        self.cluster_environment.validate_settings(self.num_processes, self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            with arguments_of_this_job(self.words):
                self._call_children_scripts()
            threading.Thread(target=self.watch, daemon=True).start()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        kwargs.pop("trainer")
        return function(*args, **kwargs)

    def failed(self) -> str | None:
        """The first of the other processes that has failed, and how; None while all is well."""
        for rank, process in enumerate(self.procs, start=1):
            if code := process.poll():
                how = f"was killed (signal {-code})" if code < 0 else "ended; it has said why above"
                return f"process {rank} of the run {how}"
        return None

    def watch(self) -> None:
        """End this process where it hangs in an exchange with one that has failed."""
        while any(process.poll() is None for process in self.procs) or self.failed():
            if self.failed():
                time.sleep(PATIENCE)
                if self.procs and (failed := self.failed()):
                    print(f"error: {failed}", file=sys.stderr, flush=True)
                    self.end()
                    os._exit(2)
            time.sleep(0.5)

    def end(self) -> None:
        """End the other processes."""
        for process in self.procs:
            process.kill()
            process.wait()
        self.procs = []


@contextmanager
def processes(trainer: Trainer, checkpoint: str | None = None) -> Iterator[None]:
    """What `trainer` does inside may take several processes; afterwards there is one again, in
    the environment from before, so that the next job of a sweep can start its own.

    Args:
        checkpoint: what the run continues; a sweep's job finds it by itself.

    Raises:
        UserError: another process has failed.
    """
    lightnings = trainer.strategy.launcher
    launcher = None
    if isinstance(lightnings, _SubprocessScriptLauncher):
        launcher = JobLauncher(
            lightnings.cluster_environment,
            lightnings.num_processes,
            lightnings.num_nodes,
            words=(f'ckpt_path="{checkpoint}"',) if checkpoint else (),
        )
        trainer.strategy._launcher = launcher
    before = {name: os.environ.get(name) for name in RENDEZVOUS}
    leave_at_exit()  # for processes that others have started
    try:
        yield
        if launcher is not None:
            for process in launcher.procs:
                process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        pass  # all is written; `end` ends it
    except RuntimeError as error:
        if not lost_a_process(error):
            raise
        raise UserError(ended(launcher)) from None
    finally:
        if launcher is not None and launcher.procs:
            launcher.end()
            leave()
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def lost_a_process(error: RuntimeError) -> bool:
    """Whether an exchange between processes failed, because one of them is gone."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()


def ended(launcher: JobLauncher | None) -> str:
    """Why an exchange failed: a process that ends takes a moment to be gone."""
    until = time.monotonic() + PATIENCE
    while launcher is not None and time.monotonic() < until:
        if failed := launcher.failed():
            return failed
        time.sleep(0.05)
    return "another process of the run has ended; if it has not said why, it was killed"


def is_override(argument: str) -> bool:
    """Whether a command-line argument is one of Hydra's overrides, not an option or its value."""
    return not argument.startswith("-") and ("=" in argument or argument.startswith(("~", "+")))


@contextmanager
def arguments_of_this_job(words: tuple[str, ...] = ()) -> Iterator[None]:
    """In a sweep, make this command's arguments those of one job and `words`, in its own folder."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        yield
        return
    config, arguments = HydraConfig.get(), sys.argv
    program: Any = sys.modules["__main__"]
    spec = program.__spec__  # `python -m` of a launcher's own program, submitit's: not the command
    flags = [a for a in arguments[1:] if a not in ("-m", "--multirun") and not is_override(a)]
    if spec is not None and spec.name != COMMAND:
        sources = (s.path for s in config.runtime.config_sources if s.provider == "command-line")
        flags = [f"--config-dir={path.removeprefix('file://')}" for path in sources]
    overrides: Any = OmegaConf.to_container(config.overrides, resolve=False)
    hydra = [o for o in overrides["hydra"] if not o.startswith(("hydra.mode", "hydra.sweep"))]
    sys.argv = [arguments[0], *flags, *hydra, *overrides["task"], *words]
    folder = config.run.dir
    node: Any = config.run  # read-only, until now
    with read_write(node):
        node.dir = config.runtime.output_dir
        program.__spec__ = spec and find_spec(COMMAND)
        try:
            yield
        finally:
            program.__spec__ = spec
            node.dir = folder
            sys.argv = arguments

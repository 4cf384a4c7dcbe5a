"""One job of Hydra: a new run, or what an earlier try left of it."""

import os
from contextlib import nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from kd_lightning.config import check_parts
from kd_lightning.distill.lock import sole_writer
from kd_lightning.distill.marks import unmark
from kd_lightning.distill.processes import is_first_process, refuse_other_count
from kd_lightning.distill.results import config_hash
from kd_lightning.distill.resume import read_checkpoint
from kd_lightning.distill.run import is_on_cpu, precision_for_device, resolved, tell, train
from kd_lightning.errors import UserError
from kd_lightning.models.artifact import load_artifact

RESTARTS = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")  # of this very job, earlier


def job(cfg: DictConfig) -> float | None:
    """`train`, as the one process that writes into the run folder.

    A job of a sweep, and one that SLURM or torchrun has started again, finds in its folder what its
    earlier try left: it is done when that is done, and else goes on from the last checkpoint. Any
    other new run wants a folder that holds no run.

    Raises:
        UserError: as `train`; a group was taken out; the folder holds another run; torchrun or
            srun has started another number of processes.
        Busy: another process writes into the run folder.
    """
    check_parts(cfg)
    devices, nodes = (cfg.trainer.get(key, 1) for key in ("devices", "num_nodes"))
    refuse_other_count(devices, nodes, is_on_cpu(cfg))
    folder = Path(cfg.run_folder)
    with sole_writer(folder) if is_first_process() else nullcontext():
        if cfg.ckpt_path is None and starts_again():
            if finished(cfg, folder):
                if is_first_process():
                    unmark(folder)
                tell(f"done before: {folder}")
                return objective(folder)
            go_on(cfg, folder)
        elif cfg.ckpt_path is None:
            refuse_used(folder)
        if is_first_process():
            unmark(folder)
        return train(cfg)


def starts_again() -> bool:
    """Whether the run folder may hold an earlier try of this very job."""
    in_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    return in_sweep or any(int(os.environ.get(name, "0")) > 0 for name in RESTARTS)


def last_checkpoint(folder: Path) -> Path:
    """Of the run in `folder`, whether there is one or not."""
    return folder / "checkpoints" / "last.ckpt"


def go_on(cfg: DictConfig, folder: Path) -> None:
    """Have `cfg` continue from the last checkpoint in `folder`, if there is one."""
    if (last := last_checkpoint(folder)).is_file():
        with open_dict(cfg):
            cfg.ckpt_path = str(last)


def refuse_used(folder: Path) -> None:
    """Raises UserError where `folder` holds a run, whose files a new one would replace one by one
    and take for its own."""
    last, rest = last_checkpoint(folder), "another run_folder, or remove this one"
    if last.is_file():
        raise UserError(f"{folder} holds a run: ckpt_path={last} continues it; or give {rest}")
    if (folder / "student.safetensors").is_file():
        raise UserError(f"{folder} holds a finished run: give {rest}")


def finished(cfg: DictConfig, folder: Path) -> bool:
    """Whether `folder` holds the whole run of this configuration: the artifact comes last. One that
    is damaged is no end: its last checkpoint makes it again.

    Raises:
        UserError: the artifact is damaged, and there is no checkpoint.
    """
    artifact = folder / "student.safetensors"
    if not artifact.is_file():
        return False
    cfg = cfg.copy()
    precision_for_device(cfg, say=False)
    instantiate(cfg.student)  # which imports the class that the artifact names
    try:
        _, metadata = load_artifact(artifact)
    except UserError:
        if last_checkpoint(folder).is_file():
            return False
        raise
    return bool(metadata.get("config_sha256") == config_hash(resolved(cfg)))


def objective(folder: Path) -> float | None:
    """The best value of what the checkpoints of the run monitor; None where there is none."""
    try:
        best, last = (folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
        states = read_checkpoint(best if best.is_file() else last)["callbacks"].values()
    except UserError:
        return None
    scores = (state["best_model_score"] for state in states if state.get("monitor"))
    return next((float(score) for score in scores if score is not None), None)

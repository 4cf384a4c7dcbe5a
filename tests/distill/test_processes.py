"""Two processes (gloo) train one run: the same as one, resumed too, and not left behind by a dead
one."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from kd_lightning.distill.processes import cluster, refuse_other_count
from kd_lightning.distill.run import train
from kd_lightning.errors import UserError
from tests.distill.test_resume import SMALL, assert_same_run
from tests.runs import ROOT, TINY, tiny_run

pytestmark = pytest.mark.slow

OPTIONS = (
    *(*SMALL, "scheduler=onecycle", "callbacks=ema", "data.samples_per_epoch=16"),
    "data.batch_size=2",
)
TWO = ("trainer=ddp", "trainer.accelerator=cpu")
AT_EXIT = "+callbacks.at_exit={_target_: tests.distill.planted.ThreadsAtExit}"


def start(
    folder: Path, photos: Path, *options: str, launcher: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """train.py in a folder of its own, as a user starts it."""
    folder.mkdir(exist_ok=True)
    words = ["data=photos", "teacher=folder", *TINY, *OPTIONS, f"data.root={photos}", *TWO]
    words += options
    words.sort(key=lambda word: word != "-m")
    out, err = folder / "stdout", folder / "stderr"  # a pipe would wait for orphans
    with out.open("w") as stdout, err.open("w") as stderr:
        result = subprocess.run(
            [sys.executable, *launcher, str(ROOT / "train.py"), *words],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            cwd=folder,
            stdout=stdout,
            stderr=stderr,
            timeout=900,
        )
    return subprocess.CompletedProcess([], result.returncode, out.read_text(), err.read_text())


def assert_no_thread_is_left(said: str) -> None:
    """Two processes had no thread of their group at their end: one may abort it."""
    assert said.count("threads at exit:") == 2, said[-3000:]
    assert "gloo" not in said, said[-3000:]


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def assert_close(ours: Path, theirs: Path) -> None:
    """Test scores within 1e-6, and the same rows of the same columns."""
    (mine, his) = (json.loads((run / "metrics.json").read_text()) for run in (ours, theirs))
    assert mine.keys() == his.keys()
    for name in his:
        assert mine[name].pop("n") == his[name].pop("n")
        for method, scores in his[name].items():
            assert mine[name][method] == pytest.approx(scores, abs=1e-6)
    ours_rows, theirs_rows = rows(ours), rows(theirs)
    assert [row["step"] for row in ours_rows] == [row["step"] for row in theirs_rows]
    for one, other in zip(ours_rows, theirs_rows, strict=True):
        assert {name for name in one if one[name]} == {name for name in other if other[name]}
        for name in filter(other.get, other):
            assert float(one[name]) == pytest.approx(float(other[name]), abs=1e-4, rel=1e-4)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


@pytest.fixture(scope="module")
def two(cases: Path, photos: Path) -> Path:
    """The run of two processes, with the loggers of every run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KD_LIGHTNING_HOME", str(cases / "home"))
        patch.setenv("WANDB_MODE", "offline")
        result = start(cases, photos, "hydra.run.dir=two")
    assert result.returncode == 0, result.stderr
    return cases / "two"


def test_two_processes_train_as_one_of_twice_the_batch(
    two: Path, photos: Path, tmp_path: Path
) -> None:
    one = tmp_path / "one"
    train(tiny_run(one, photos, *OPTIONS, "data.batch_size=4"))
    assert_close(two, one)


def test_two_processes_leave_one_run_folder_and_one_wandb_run(two: Path) -> None:
    assert {path.name for path in two.parent.iterdir()} == {"two", "home", "stdout", "stderr"}
    assert len(list((two / "wandb").glob("offline-run-*"))) == 1


def test_a_killed_run_of_two_processes_resumes_to_the_same_result(
    two: Path, cases: Path, photos: Path, tmp_path: Path
) -> None:
    dies = "+callbacks.dies={_target_: tests.distill.planted.Dies, rank: 0, step: 5}"
    run = tmp_path / "run"
    killed = start(tmp_path, photos, f"hydra.run.dir={run}", dies)
    assert killed.returncode == -signal.SIGKILL
    until = time.monotonic() + 60
    while "\nerror: " not in (said := f"\n{(tmp_path / 'stderr').read_text()}"):
        assert time.monotonic() < until, "the second process lives on"
        time.sleep(0.2)
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: another process of the run")
    last = run / "checkpoints" / "last.ckpt"
    result = start(tmp_path, photos, f"ckpt_path={last}")
    assert result.returncode == 0, result.stderr
    assert "resumes at step 4" in result.stdout
    assert "is not empty" not in result.stderr  # Lightning, of the run's own folder
    assert_same_run(run, two)


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "error"])
def test_a_dead_process_ends_the_others_with_its_reason(
    tmp_path: Path, photos: Path, kill: bool
) -> None:
    dies = f"{{_target_: tests.distill.planted.Dies, rank: 1, step: 3, kill: {kill}}}"
    result = start(tmp_path, photos, "hydra.run.dir=run", f"+callbacks.dies={dies}", "logger=csv")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    if kill:
        assert said == ["error: process 1 of the run was killed (signal 9)"]
    else:
        assert said[0] == "error: planted: this process has a reason"
        assert said[1:] == ["error: process 1 of the run ended; it has said why above"]


def test_a_parameter_without_a_gradient_is_named_with_the_strategy_that_allows_it(
    tmp_path: Path, photos: Path
) -> None:
    idle = ("student._target_=tests.distill.planted.Idle", "logger=csv")
    result = start(tmp_path, photos, "hydra.run.dir=run", *idle)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "error: student.idle gets no gradient" in result.stderr
    allowed = "trainer.strategy=ddp_find_unused_parameters_true"
    assert allowed in result.stderr
    static = "{_target_: lightning.pytorch.strategies.DDPStrategy, static_graph: true}"
    for number, words in enumerate(
        [(allowed,), ("~trainer.strategy", f"+trainer.strategy={static}")]
    ):
        result = start(tmp_path, photos, f"hydra.run.dir={number}", *idle, *words)
        assert result.returncode == 0, result.stderr


def test_torchrun_starts_one_run_and_one_teacher_pass_over_its_processes(
    two: Path, tmp_path: Path, photos: Path
) -> None:
    (tmp_path / "weights").touch()
    teacher = (
        *("teacher=swinir_bundled", f"teacher.weights={tmp_path}/weights", "name=torchrun"),
        "teacher.load._target_=tests.distill.planted.load",
    )
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
    result = start(tmp_path, photos, "logger=csv", *teacher, AT_EXIT, launcher=launcher)
    assert result.returncode == 0, result.stderr
    assert_no_thread_is_left(result.stdout)
    (run,) = (tmp_path / "logs" / "torchrun").iterdir()
    assert len(rows(run)) == len(rows(two))


@pytest.mark.parametrize(
    ("devices", "nodes", "started", "here", "said"),
    [
        (1, 1, 2, 2, "the run has 1: give trainer=ddp trainer.devices=2"),
        ("auto", 1, 2, 2, "the run has 1: give trainer=ddp trainer.devices=2"),
        (4, 1, 2, 2, "the run has 4: give trainer=ddp trainer.devices=2"),
        (4, 1, 8, 4, "the run has 4: give trainer=ddp trainer.devices=4 trainer.num_nodes=2"),
        (4, 2, 8, 4, ""),
        (2, 1, 2, 2, ""),
    ],
)
def test_processes_of_torchrun_that_a_run_does_not_have_are_refused(
    devices: int | str,
    nodes: int,
    started: int,
    here: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_other_count(devices, nodes, on_cpu=True)  # without torchrun
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", str(started))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(here))
    with pytest.raises(UserError, match=said) if said else nullcontext():
        refuse_other_count(devices, nodes, on_cpu=True)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A job of SLURM's, before srun."""
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    return monkeypatch


@pytest.mark.parametrize(
    ("devices", "nodes", "tasks", "machines", "said"),
    [
        (1, 1, 2, 1, "srun has started 2 processes, and the run has 1: give .* trainer.devices=2$"),
        (4, 1, 8, 2, "give trainer=ddp trainer.devices=4 trainer.num_nodes=2$"),
        (4, 2, 8, 2, ""),
        (2, 1, 1, 1, ""),  # which starts its own second process
        (1, 1, 1, 1, ""),
    ],
)
def test_tasks_of_srun_that_a_run_does_not_have_are_refused(
    devices: int, nodes: int, tasks: int, machines: int, said: str, slurm: pytest.MonkeyPatch
) -> None:
    slurm.setenv("SLURM_STEP_NUM_TASKS", str(tasks))
    slurm.setenv("SLURM_STEP_NUM_NODES", str(machines))
    with pytest.raises(UserError, match=said) if said else nullcontext():
        refuse_other_count(devices, nodes, on_cpu=True)


def test_only_tasks_of_srun_take_their_ranks_from_slurm(slurm: pytest.MonkeyPatch) -> None:
    assert [type(found) for found in cluster()] == [LightningEnvironment]  # a batch script's
    slurm.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert [type(found) for found in cluster()] == [SLURMEnvironment]
    slurm.setenv("TORCHELASTIC_RUN_ID", "1")
    slurm.setenv("WORLD_SIZE", "4")
    slurm.setenv("LOCAL_WORLD_SIZE", "2")
    assert cluster() == []
    refuse_other_count(2, 2, on_cpu=True)
    with pytest.raises(UserError, match="torchrun has started 4 processes"):
        refuse_other_count(2, 1, on_cpu=True)


def test_tasks_that_lightning_does_not_take_are_one_line_before_the_data(
    slurm: pytest.MonkeyPatch,
) -> None:
    slurm.setenv("SLURM_STEP_NUM_TASKS", "2")
    slurm.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(UserError, match="Use `--ntasks-per-node=2` instead"):
        refuse_other_count(2, 1, on_cpu=True)
    slurm.setenv("SLURM_JOB_NAME", "interactive")  # as within salloc
    with pytest.raises(UserError, match="add --job-name=train"):
        refuse_other_count(2, 1, on_cpu=True)


def test_torchrun_without_as_many_devices_is_one_line_before_the_data_are_prepared(
    tmp_path: Path, photos: Path
) -> None:
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
    options = ("name=doubled", "trainer.devices=1")
    result = start(tmp_path, photos, *options, launcher=launcher)
    assert result.returncode != 0
    assert "error: torchrun has started 2 processes, and the run has 1: give" in result.stderr
    assert result.stdout == ""


def test_jobs_of_a_sweep_have_two_processes_each_and_one_folder_wandb_run_and_teacher_pass(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "weights").touch()
    options = (
        *("-m", "hydra.sweep.dir=sweep", "loss.alpha=0.5,0.85"),
        *("teacher=swinir_bundled", f"teacher.weights={tmp_path}/weights", "trainer.max_epochs=1"),
        "teacher.load._target_=tests.distill.planted.load",
    )
    result = start(tmp_path, photos, *options)
    assert result.returncode == 0, result.stderr
    folders = {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()}
    assert folders == {"0", "1"}
    assert not (tmp_path / "logs").exists()
    for job in ("0", "1"):
        run = tmp_path / "sweep" / job
        assert len(list((run / "wandb").glob("offline-run-*"))) == 1
        assert (run / "student.safetensors").is_file()
        assert (run / "train_ddp_process_1.log").is_file()  # its second process wrote here
    assert len({*(tmp_path / "loaded_by").read_text().splitlines()}) == 1  # process

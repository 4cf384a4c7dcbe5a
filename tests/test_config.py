"""What `python train.py` says to a user who got something wrong: one line, exit status 2."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import ConfigIndexError, InterpolationKeyError

from kd_lightning.commands.prepare import prepare
from kd_lightning.distill.job import job
from kd_lightning.distill.run import resolved
from kd_lightning.errors import UserError
from kd_lightning.explain import FULL_ERROR, NO_OPTION, reason
from tests.runs import CONF, ROOT, composed

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def program() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.refusing"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:  # type: ignore[call-overload]
        yield process
        process.stdin.close()


@pytest.fixture
def refused(tmp_path: Path, program: subprocess.Popen[str]) -> Refused:
    """What `train.py` says last about what it is given; it must refuse it."""

    def refuse(*words: str) -> str:
        assert program.stdin and program.stdout
        print(json.dumps([str(tmp_path), *words]), file=program.stdin, flush=True)
        status, said = json.loads(program.stdout.readline())
        assert status == 2, said
        assert "Traceback" not in said
        return str(said.strip().splitlines()[-1])

    return refuse


def test_a_refusal_is_the_exit_status_of_the_program(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), "loss.alhpa=0.5"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last == "error: unknown key loss.alhpa; did you mean loss.alpha?"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("+loss.teacher_wait=1", "did you mean loss.teacher_weight?"),
        ("student=studnet_fast", "did you mean student_fast?"),
        ("loss.alpha=1.5", "loss.alpha=1.5 is outside [0, 1]"),
        ("data=photos", "data.root"),
        ("experiment=kd_call_x1", "data.source.photos has no value: "),
        ("scale=9", "scale=9"),
        ("run_folder.x=1", "unknown key run_folder.x"),
        ("weights=pretrained", "weights is now teacher.weights=FILE, the teacher's, or init_from="),
        ("+initial=x.ckpt", "initial is now init_from"),
        ("loss.gradient_weight=1", "loss.gradient_weight is now loss=hybrid_gradient"),
        ("student._target_=no.such.Net", "student: there is no no.such.Net"),
        ("loss=null", "loss=null names no option: there are hybrid, hybrid_fourier"),
        ("sweep=null", "sweep=null names no option: there are alpha, optuna"),
        ("precision=null", "precision=null names no option: there are bf16, "),
        ("scheduler=3", "scheduler=3 names no option: there are onecycle, "),
        (
            "data.test={mine: here}",
            "error: data.test.mine is not there yet: +data.test.mine=... adds",
        ),
        (
            "data.test.mine=here",
            "error: data.test.mine is not there yet: +data.test.mine=... adds it",
        ),
        (
            "data.test=[here]",
            "data.test holds values by name: give +data.test.NAME=VALUE",
        ),
        (
            "data.train={a: b}",
            "data.train is a list: give 'data.train=[VALUE]'",
        ),
        ("loss.extra_terms={a: {weight: 1}}", "+loss.extra_terms.a=... adds it"),
        ("metrics.extra.a.label=x", "+metrics.extra.a=... adds it"),
        ("callbacks.progres=null", "+callbacks.progres=... adds it; did you mean progress?"),
        ("trainer.accumulate_grad_batches=2", "with a plus, +trainer.accumulate_grad_batches=..."),
        ("trainer={limit_val_batches: 0}", "with a plus, +trainer.limit_val_batches=..."),
        ("callbacks.best.save_top_k=2", "with a plus, +callbacks.best.save_top_k=..."),
        ("optimizer.fused=true", "with a plus, +optimizer.fused=..."),
        ("hydra.sweeper.n_trials=3", "is of sweep=optuna alone: give that too, and -m"),
        ("data.root=photos/a=b", "quote the value twice, 'data.root=\"photos/a=b\"'"),
    ],
)
def test_a_wrong_setting_is_one_line(refused: Refused, override: str, expected: str) -> None:
    last = refused(override, "teacher=none", "logger=csv", "hydra.run.dir=.")
    assert last.startswith("error: ")
    assert expected in last


def test_a_key_that_refers_to_none_is_named_with_its_remedy(tmp_path: Path) -> None:
    """As one-cycle's with an optimizer of one's own, whose learning rate has another name."""
    cfg = composed(tmp_path, "scheduler=onecycle", "~optimizer.lr", "data.root=.", "teacher=none")
    with pytest.raises(InterpolationKeyError) as error:
        resolved(cfg)
    assert reason(error.value, "train", []) == (
        "scheduler.make.max_lr is taken from optimizer.lr, which there is not: "
        "give scheduler.make.max_lr=VALUE"
    )


def groups_of_every_run() -> list[str]:
    """Those that `train.yaml` gives an option, but for Hydra's own."""
    choices = OmegaConf.load(CONF / "train.yaml").defaults
    chosen = {
        group: option for line in choices if line != "_self_" for group, option in line.items()
    }
    return [group for group in chosen if chosen[group] and group != "hydra"]


@pytest.mark.parametrize("group", groups_of_every_run())
def test_a_group_that_every_run_needs_cannot_be_taken_out(group: str) -> None:
    cfg = composed(Path("x"), f"~{group}")
    with pytest.raises(UserError, match=rf"^~{group} takes out what every run needs: give "):
        job(cfg)
    with pytest.raises(UserError, match=rf"^~{group} takes out what every run needs: give "):
        prepare(cfg)


def test_a_key_of_a_group_that_is_taken_out_is_one_line(refused: Refused) -> None:
    last = refused("~data", "data.root=x", "hydra.run.dir=.")
    assert last == "error: data.root is given, and ~data takes it out: leave out one of them"


@pytest.mark.parametrize(
    "words", [("scale=2", "--config-dir", "mine"), ("--config-dir=mine",)], ids=["after", "first"]
)
def test_a_wrong_option_lists_those_of_a_users_folder_too(
    tmp_path: Path, refused: Refused, words: tuple[str, ...]
) -> None:
    (tmp_path / "mine" / "student").mkdir(parents=True)
    (tmp_path / "mine" / "student" / "narrow.yaml").write_text("_target_: torch.nn.Identity\n")
    last = refused(*words, "student=narow")
    assert last.startswith("error: no student=narow; did you mean narrow?")
    assert "student_tiny" in last


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("sweep=alpha",), "loss.alpha"),
        (("sweep=optuna", "loss.alpha=0.5"), "loss.teacher_weight"),
    ],
)
def test_a_sweep_that_is_not_started_as_one_is_refused_before_anything_is_written(
    words: tuple[str, ...], key: str, tmp_path: Path, refused: Refused
) -> None:
    last = refused(*words, "teacher=none")
    assert last == (
        f"error: without -m this is one run and sweeps nothing: add -m, or give {key}=VALUE"
    )
    assert not [*tmp_path.iterdir()]


def test_the_best_configuration_of_a_sweep_is_a_run_by_itself(refused: Refused) -> None:
    """Its words have the choice of the sweep, and a value for each key that this swept."""
    assert "alpha=7 is outside" in refused("sweep=alpha", "loss.alpha=7", "data.root=.")


@pytest.mark.parametrize(
    "words",
    [
        ("loss=hybrid,hybrid_fourier", "callbacks=[default,ema]", "logger=null"),
        ("student='student_tiny'", "logger=null,csv"),
    ],
)
def test_of_many_groups_that_which_is_given_no_name_is_blamed(words: tuple[str, ...]) -> None:
    line = reason(ValueError(f"{NO_OPTION} a string or a list."), "train", [*words])
    assert line and line.startswith(f"{words[-1]} names no option: there are csv, ")


def test_missing_data_is_one_line_with_the_remedy(tmp_path: Path, refused: Refused) -> None:
    words = (f"data.root={tmp_path}/nowhere", "teacher=none", "loss.teacher_weight=0", "logger=csv")
    assert "prepare.py data=div2k" in refused(*words)
    assert not list(tmp_path.glob("**/*.ckpt"))


def test_a_run_folder_that_is_named_gets_all_of_the_run(tmp_path: Path, refused: Refused) -> None:
    """The configuration too, also where the run fails."""
    refused("run_folder=mine", f"data.root={tmp_path}/nowhere", "teacher=none")
    assert (tmp_path / "mine" / ".hydra" / "config.yaml").is_file()
    assert not (tmp_path / "logs").exists()


def test_one_run_folder_for_many_runs_is_refused(tmp_path: Path, refused: Refused) -> None:
    last = refused("-m", "run_folder=mine", "loss.alpha=0,1", "teacher=none")
    assert last.startswith("error: run_folder is of one run")
    assert not (tmp_path / "mine").exists()


class Fails:
    """A part of one's own: its constructor raises."""

    def __init__(self, error: str) -> None:
        raise {
            "IndexError": IndexError("list index out of range"),
            "KeyError": KeyError("box"),
            "AttributeError": AttributeError("'Fails' object has no attribute 'x'"),
            "AssertionError": AssertionError(),
            "ConfigIndexError": ConfigIndexError(
                "out of range\n    full_key: [1]\n    object=list"
            ),
        }[error]


@pytest.mark.parametrize("group", ["degradation", "student", "data.source"])
@pytest.mark.parametrize(
    "error", ["IndexError", "KeyError", "AttributeError", "AssertionError", "ConfigIndexError"]
)
def test_a_constructor_of_ones_own_that_fails_is_named_with_its_key(
    group: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed(Path("x"), "data=photos", "data.root=.")
    OmegaConf.update(
        cfg,
        group,
        {"_target_": f"{__name__}.Fails", "error": error},
        merge=False,
        force_add=True,
    )
    with pytest.raises(InstantiationException) as raised:
        instantiate(cfg.student if group == "student" else cfg.data)
    monkeypatch.setenv(FULL_ERROR, "0")
    line = reason(raised.value, "train", [])
    assert line and line.startswith(f"{group}: {__name__}.Fails raised {error}: ")
    assert line.endswith("; correct it, HYDRA_FULL_ERROR=1 shows where")
    monkeypatch.setenv(FULL_ERROR, "1")
    assert reason(raised.value, "train", []) is None


def test_a_bug_in_a_class_of_the_projects_own_keeps_its_traceback() -> None:
    error = InstantiationException(
        "Error in call to target 'kd_lightning.data.x.X':\nKeyError(1)\nfull_key: data"
    )
    error.__cause__ = KeyError(1)
    assert reason(error, "train", []) is None

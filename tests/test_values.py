"""Values of the wrong type or range are refused by the key that the user wrote."""

from pathlib import Path

import pytest
from hydra.utils import instantiate

from kd_lightning.errors import UserError
from kd_lightning.values import check_values
from tests.runs import CONF, composed

CHOICES = [
    f"{group.name}={file.stem}"
    for group in sorted(CONF.iterdir())
    if group.is_dir() and group.name not in ("hydra", "sweep")
    for file in sorted(group.glob("*.yaml"))
    if file.stem != "base"
]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_value_that_ships_has_the_type_of_its_parameter(choice: str) -> None:
    cfg = composed(Path("x"), choice)
    check_values(cfg)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.batch_size=foo", "data.batch_size=foo: give a whole number"),
        ("data.batch_size=1.5", "data.batch_size=1.5: give a whole number"),
        ("data.num_workers=x", "data.num_workers=x: give a whole number or auto"),
        ("data.augment=perhaps", "data.augment=perhaps: give true or false"),
        ("trainer.max_epochs=abc", "trainer.max_epochs=abc: give a whole number"),
        ("trainer.max_epochs=-1", "trainer.max_epochs=-1: give at least 1"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: give at least 1"),
        ("optimizer.lr=abc", "optimizer.lr=abc: give a number"),
        ("loss.alpha=abc", "loss.alpha=abc: give a number"),
        ("seed=abc", "seed=abc: give a whole number"),
        ("scale=two", "scale=two: give a whole number"),
        ("scale=0", "scale=0: give at least 1"),
        ("eval_tile=0", "eval_tile=0: give at least 1"),
        ("seed=-1", "seed=-1: give at least 0"),
        ("data.val=[]", "data.val=[]: a run validates; give data.val=[FOLDER], or data.split="),
        ("data.subset=0", "data.subset=0: give at least 1"),
        ("data.train_downscale=0", "data.train_downscale=0: give at least 1"),
        (
            "+trainer.accumulate_grad_batches=0",
            "trainer.accumulate_grad_batches=0: give at least 1",
        ),
        ("+trainer.max_steps=-2", "trainer.max_steps=-2: give at least -1"),
        ("+trainer.num_nodes=0", "trainer.num_nodes=0: give at least 1"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: give at least 0"),
        ("trainer.num_sanity_val_steps=-2", "trainer.num_sanity_val_steps=-2: give at least -1"),
        ("trainer.check_val_every_n_epoch=0", "trainer.check_val_every_n_epoch=0: give at least 1"),
        (
            "callbacks.pictures.every_n_epochs=0",
            "callbacks.pictures.every_n_epochs=0: give at least 1",
        ),
        ("trainer.precision=bf16-true", "trainer.precision=bf16-true: give precision=fp32, bf16"),
        ("precision.lightning=64-true", "precision.lightning=64-true: give precision=fp32, bf16"),
        ("trainer.precision=16-mixed", "trainer.precision=16-mixed: give precision= alone"),
        ("+trainer.overfit_batches=1", "trainer.overfit_batches=1 is not possible here: debug="),
        ("student._target_=my_packge.MyStudent", "student: there is no my_packge.MyStudent"),
    ],
)
def test_a_wrong_value_is_named_as_the_user_wrote_it(override: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        check_values(composed(Path("x"), override))
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.batch_size=0", "data.batch_size=0: give at least 1"),
        ("data.batch_size=-1", "data.batch_size=-1: give at least 1"),
        ("data.num_workers=-1", "data.num_workers=-1: give at least 0"),
        ("data.crop_size=8", "data.crop_size=8: give at least 12"),
        ("data.samples_per_epoch=0", "data.samples_per_epoch=0: give at least 1"),
    ],
)
def test_a_value_out_of_range_is_named(override: str, said: str) -> None:
    cfg = composed(Path("x"), "data=div2k", override)
    check_values(cfg)
    with pytest.raises(Exception, match=said):
        instantiate(cfg.data, teacher=None)

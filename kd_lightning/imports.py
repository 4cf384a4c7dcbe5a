"""`--import MODULE` of the commands.

kd-train and kd-prepare have it beside Hydra's options; the environment carries the names to the
processes of jobs and devices, wherever a launcher starts them.
"""

import os
from argparse import ArgumentParser
from collections.abc import Sequence

from kd_lightning.errors import UserError

OPTION = "--import"
VARIABLE = "KD_LIGHTNING_IMPORT"  # names of modules, with spaces between


def add_option(parser: ArgumentParser) -> None:
    """Give `parser` the option, again and again; the names become `imports`."""
    what = "module with the class of the weights' network, where it is not one of kd_lightning"
    parser.add_argument(
        OPTION, dest="imports", action="append", default=[], metavar="MODULE", help=what
    )


def without_imports(words: Sequence[str]) -> list[str]:
    """The command line `words` without `--import MODULE`, whose modules `named` has from now on.

    Raises:
        UserError: the last word is --import.
    """
    rest: list[str] = []
    modules = named()
    left = iter(words)
    for word in left:
        option, equals, module = word.partition("=")
        if option != OPTION:
            rest.append(word)
            continue
        module = module if equals else next(left, "")
        if not module:
            raise UserError(f"{OPTION}: name a module after it, {OPTION} my_package")
        modules.append(module)
    if modules:
        os.environ[VARIABLE] = " ".join(dict.fromkeys(modules))
    return rest


def named() -> list[str]:
    """The modules that this command, or the one that has started this process, is to import."""
    return os.environ.get(VARIABLE, "").split()


def options(modules: Sequence[str]) -> list[str]:
    """The words of a command line that name `modules`."""
    return [f"{OPTION}={module}" for module in modules]

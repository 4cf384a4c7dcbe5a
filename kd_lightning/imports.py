"""`--import MODULE` of kd-train and kd-prepare, whose other options are Hydra's.

The environment carries the names to the processes of jobs and devices, wherever a launcher starts
them.
"""

import os
from collections.abc import Sequence

from kd_lightning.errors import UserError

OPTION = "--import"
VARIABLE = "KD_LIGHTNING_IMPORT"  # names of modules, with spaces between


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

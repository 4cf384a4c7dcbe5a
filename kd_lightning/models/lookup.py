"""The class of a network, from the name that a file or a configuration gives it.

A file may name any class, so nothing that it names is imported but the modules of this package: the
networks of others are known if the program, or `--import` on a command line, has imported them.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from torch import nn

from kd_lightning import models
from kd_lightning.compat import patch_torchvision
from kd_lightning.errors import UserError
from kd_lightning.models import students, swinir
from kd_lightning.models.network import Network

OURS = (students, swinir)


def import_modules(names: Iterable[str]) -> None:
    """Import what a person names, so that the classes in it are known.

    Raises:
        UserError: there is no such module, or it fails.
    """
    for name in names:
        try:
            patch_torchvision()  # before lightning, which the module may import, imports it
            import_module(name)
        except Exception as error:
            raise UserError(
                f"--import {name}: {type(error).__name__}: {error}; install the package, or put "
                "its folder into PYTHONPATH"
            ) from None


def qualified_name(network: nn.Module) -> str:
    """module.Class, as `find_class` takes it."""
    return f"{type(network).__module__}.{type(network).__qualname__}"


def find_class(name: str, source: Path | str) -> type[nn.Module]:
    """The class `name`; `source` is named in errors.

    Args:
        name: module.Class, or a bare name of a class in kd_lightning.models (as the first
            artifacts have it).

    Raises:
        UserError: no such class of ours, nor of a module that is imported.
    """
    module, _, attribute = name.rpartition(".")
    if not module:
        for ours in OURS:
            found = vars(ours).get(attribute)
            if isinstance(found, type) and issubclass(found, Network):
                return found
        raise UserError(f"{source}: unknown architecture {name!r}; kd_lightning has none such")
    if module in _own_modules():
        import_module(module)
    found = _attribute(name)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    package = module.partition(".")[0]
    if package == "kd_lightning":
        remedy = "this version of kd_lightning has none such"
    else:
        remedy = f"import {module} before, or on the command line: --import {module}"
    raise UserError(f"{source}: its network is a {name}, which is not known here; {remedy}")


def _own_modules() -> set[str]:
    """The modules of this package that hold networks; nothing else is imported for a file."""
    return {f"{models.__name__}.{module.name}" for module in iter_modules(models.__path__)}


def _attribute(name: str) -> object:
    """What `name` means in the modules that are imported; None for nothing."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        found: object = sys.modules.get(".".join(parts[:length]))
        if found is None:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None

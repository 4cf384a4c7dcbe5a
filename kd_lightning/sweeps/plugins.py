"""This project's Hydra plugins, made known to Hydra.

Hydra takes plugins only from the package `hydra_plugins`, which it scans as folders; it does not
see an editable installation there. So the classes live in this package, and are entered by hand
under the names that `conf/hydra/sweeper` uses.
"""

from hydra.core.plugins import Plugins

PREFIX = "hydra_plugins.kd_lightning."


def register() -> None:
    """Let `hydra.sweeper._target_` name the sweepers of this project."""
    known = Plugins.instance().class_name_to_class
    # Only now: Hydra's scan defines its own sweeper, from which one of ours derives, once more.
    from kd_lightning.sweeps.grid import GridSweeper
    from kd_lightning.sweeps.study import OptunaSweeper

    known.update({PREFIX + plugin.__name__: plugin for plugin in (GridSweeper, OptunaSweeper)})

"""The command lines."""

from kd_lightning import __version__

VERSION = f"kd_lightning {__version__}"

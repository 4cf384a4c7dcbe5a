"""Distil large image-restoration networks into tiny real-time ones."""

from kd_lightning.compat import mend_torchvision

__version__ = "0.1.0"

mend_torchvision()  # before torchmetrics and lightning import it

"""Training a student: losses, metrics, the Lightning module, the run."""

from kd_lightning.compat import mend_torchvision

mend_torchvision()  # before lightning and torchmetrics import it

"""Training a student: losses, metrics, the Lightning module, the run."""

from kd_lightning.compat import patch_torchvision

patch_torchvision()  # before lightning and torchmetrics import it

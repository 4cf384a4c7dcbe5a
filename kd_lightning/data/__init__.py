"""Images to triplets: pairing, degradation, preparation, the decoded store, batches."""

from kd_lightning.compat import patch_torchvision

patch_torchvision()  # before lightning and torchmetrics import it

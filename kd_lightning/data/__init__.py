"""Images to triplets: pairing, degradation, preparation, the decoded store, batches."""

from kd_lightning.compat import mend_torchvision

mend_torchvision()  # before lightning and torchmetrics import it

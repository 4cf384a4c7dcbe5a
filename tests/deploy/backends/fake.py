"""A backend of one file: torch under another name."""

import torch

from kd_lightning.deploy.backends.backend import Runner
from kd_lightning.deploy.backends.pytorch import Torch
from kd_lightning.models.network import Network


class Fake(Torch):
    name = "fake"
    extra = "fake"

    def open(self, network: Network, device: torch.device, precision: str) -> Runner:
        runner = super().open(network, device, precision)
        return Runner(**{**vars(runner), "name": "fake cpu fp32"})


BACKEND = Fake()

"""The configuration that ships with kd_lightning, for Hydra: `pkg://kd_lightning.conf`."""

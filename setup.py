"""What pyproject.toml cannot say: conf/ is installed as the package kd_lightning.conf."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["kd_lightning*"]), "kd_lightning.conf"],
    package_dir={"kd_lightning.conf": "conf"},
)

"""Images and files of a run, for whichever of its loggers can take them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from PIL import Image


@runtime_checkable
class TakesImages(Protocol):
    """A logger with the method that Lightning's W&B logger has."""

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        """Show PIL images under `key`; `step` is the optimizer step."""


@runtime_checkable
class TakesFiles(Protocol):
    """A logger that keeps a run's artifact."""

    def log_file(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Keep the file, with JSON values that describe it."""


@runtime_checkable
class TakesData(Protocol):
    """A logger that keeps what a run learns from."""

    def use_data(self, files: Mapping[str, Path]) -> None:
        """Note the files, by name, as inputs of the run."""


@runtime_checkable
class TakesSummary(Protocol):
    """A logger that keeps single values of a run beside its curves."""

    def log_summary(self, values: Mapping[str, float]) -> None:
        """Keep the values; later ones replace those of the same name."""


def log_image(loggers: Iterable[Any], key: str, image: Image.Image, step: int) -> None:
    """Hand `image` to each logger that takes images."""
    for logger in loggers:
        if isinstance(logger, TakesImages):
            logger.log_image(key, [image], step=step)


def log_file(loggers: Iterable[Any], path: Path, metadata: Mapping[str, Any]) -> None:
    """Hand the file to each logger that takes files."""
    for logger in loggers:
        if isinstance(logger, TakesFiles):
            logger.log_file(path, metadata)


def use_data(loggers: Iterable[Any], files: Mapping[str, Path]) -> None:
    """Hand the manifests of the data to each logger that keeps inputs."""
    for logger in loggers:
        if isinstance(logger, TakesData):
            logger.use_data(files)


def log_summary(loggers: Iterable[Any], values: Mapping[str, float]) -> None:
    """Hand single values to each logger that keeps them."""
    for logger in loggers:
        if isinstance(logger, TakesSummary):
            logger.log_summary(values)

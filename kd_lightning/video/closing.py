"""`with` for what is closed at its end, whatever happened before."""

from types import TracebackType
from typing import Self


class Closing:
    """A base of classes that have `close`."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

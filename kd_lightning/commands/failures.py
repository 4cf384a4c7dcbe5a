"""What the commands say where something went wrong: one line, and where it was for --debug."""

import sys
import traceback
from collections.abc import Callable

from kd_lightning.stages import leave


def say(line: str) -> None:
    """Print one line to standard error, whatever characters a file name brought into it."""
    print(line.replace("\r", "\\r").replace("\n", "\\n"), file=sys.stderr)


def one_line(error: BaseException) -> str:
    """What went wrong, for people. Of an error that nobody foresaw, its kind too."""
    from kd_lightning.errors import UserError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return "needs more memory than there is; close programs, or give a smaller --tile"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or ''}: {error.strerror}".removeprefix(": ")
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]} (unforeseen; --debug shows where)"


def exit_status(program: str, debug: bool, run: Callable[[], int]) -> int:
    """What `run` returns; 130 where it is interrupted, 2 after any error, which is said. With it
    the program is to end."""
    try:
        status = run()
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        say(f"{program}: {one_line(error)}")
        if debug:
            show(error)
        status = 2
    leave(status)
    return status


def show(error: BaseException) -> None:
    """The traceback, with what led to it."""
    traceback.print_exception(error)

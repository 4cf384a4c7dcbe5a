"""Quality and speed measurements."""

import sys
from collections.abc import Callable

from kd_lightning.errors import UserError


def exit_status(run: Callable[[], object]) -> int:
    """0 where `run` returns, 2 after a `UserError`, which is said in one line."""
    try:
        run()
    except UserError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0

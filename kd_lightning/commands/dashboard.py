"""kd-dashboard: one self-contained page of many runs, made from their folders alone."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kd_lightning.commands import VERSION
from kd_lightning.commands.failures import exit_status, say
from kd_lightning.errors import UserError

if TYPE_CHECKING:
    from kd_lightning.runs.benchmark import Method

SECONDS = 10  # between two pages of --watch


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 written, 2 refused."""
    parser = argparse.ArgumentParser("kd-dashboard", description=__doc__)
    add = parser.add_argument
    add(
        "paths",
        nargs="*",
        type=Path,
        default=[Path("logs")],
        help="folders with run folders below them, and a benchmark.json that lies elsewhere",
    )
    add("-o", "--output", type=Path, default=Path("dashboard.html"), help="the page")
    add("--watch", action="store_true", help=f"write it every {SECONDS} seconds, until Ctrl-C")
    add("--version", action="version", version=VERSION)
    add("--debug", action="store_true", help="show where in the program an error arose")
    options = parser.parse_args(arguments)
    return exit_status("kd-dashboard", options.debug, lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from kd_lightning.files import write_atomic
    from kd_lightning.runs.dashboard import page

    folders = [path for path in options.paths if path.is_dir()]
    for path in options.paths:
        if not path.exists():
            raise UserError(f"{path}: no such folder; name one that holds run folders, like logs")
    given = [method for path in options.paths if path.is_file() for method in _methods(path)]
    if options.output.is_dir():
        raise UserError(f"{options.output}: is a folder; name a file, like dashboard.html")

    def write(watch: int) -> None:
        methods = given or [method for folder in folders for method in _found(folder)]
        write_atomic(options.output, page(folders, methods, watch).encode())

    write(SECONDS if options.watch else 0)
    print(f"{options.output} written; open it in a browser", flush=True)
    if options.watch:
        say(f"kd-dashboard: written again every {SECONDS} seconds; Ctrl-C ends it")
        try:
            while True:
                time.sleep(SECONDS)
                write(SECONDS)
        except KeyboardInterrupt:
            write(0)  # a page that nobody writes again need not load again
    return 0


def _methods(path: Path) -> "list[Method]":
    from kd_lightning.runs.benchmark import read_benchmark

    try:
        return read_benchmark(path)
    except ValueError as error:
        raise UserError(
            f"{error}; name a folder, or the benchmark.json of make benchmark"
        ) from None


def _found(folder: Path) -> "list[Method]":
    """The first benchmark below `folder`; others may be of another machine, or another kind."""
    from kd_lightning.runs.benchmark import read_benchmark

    for path in sorted(folder.glob("**/benchmark.json")):
        try:
            return read_benchmark(path)
        except (OSError, ValueError):
            continue
    return []


if __name__ == "__main__":
    sys.exit(main())

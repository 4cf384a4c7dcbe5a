"""kd-export: write a trained student as safetensors, ONNX, OpenVINO or for a browser or mpv,
checked against torch."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kd_lightning.commands import VERSION
from kd_lightning.commands.failures import exit_status
from kd_lightning.commands.jobs import refuse_existing
from kd_lightning.errors import UserError
from kd_lightning.imports import add_option
from kd_lightning.models.pretrained import find_weights

OUTPUT = "name.safetensors, .onnx, .xml, .kdw (browser; a folder takes NAME.kdw) or .glsl (mpv)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 written, 2 refused."""
    parser = argparse.ArgumentParser("kd-export", description=__doc__)
    add = parser.add_argument
    add("source", help="name of a student of the package, student.safetensors, or a .ckpt")
    add("-o", "--output", required=True, help=OUTPUT)
    add("--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="fp16, int8: .xml")
    add("--calibration", type=Path, help="folder of HR images for int8")
    add_option(parser)
    add("--force", action="store_true", help="overwrite existing files")
    add("--version", action="version", version=VERSION)
    add("--debug", action="store_true", help="show where in the program an error arose")
    options = parser.parse_args(arguments)
    return exit_status("kd-export", options.debug, lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    source = find_weights(options.source)
    target = _target(options.output, source)
    if options.calibration and options.precision != "int8":
        raise UserError("--calibration has a meaning for --precision int8 alone; leave it out")
    for file in _written(target):
        refuse_existing(file, options.force)
    from kd_lightning.deploy.export import export
    from kd_lightning.models.lookup import import_modules

    import_modules(options.imports)
    measured = export(source, target, options.precision, options.calibration)
    facts = ", ".join(f"{name} {value:.3g}" for name, value in measured.items())
    print(f"{target} written" + (f" ({facts})" if facts else ""))
    return 0


def _target(output: str, source: Path) -> Path:
    """The file that `output` names; for a folder, which exists as one, ends with a slash or has no
    ending, the browser's file in it."""
    path = Path(output)
    is_folder = path.is_dir() or output.endswith("/") or not path.suffix
    if is_folder and path.exists() and not path.is_dir():
        raise UserError(f"{output} is no folder; end a file's name in {OUTPUT}")
    return path / f"{source.stem}.kdw" if is_folder else path


def _written(output: Path) -> list[Path]:
    """The files of an export: OpenVINO keeps the weights beside the graph."""
    return [output, output.with_suffix(".bin")] if output.suffix == ".xml" else [output]


if __name__ == "__main__":
    sys.exit(main())

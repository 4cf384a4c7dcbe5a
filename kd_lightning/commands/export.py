"""kd-export: write a trained student as safetensors, ONNX or OpenVINO, checked against torch."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kd_lightning.errors import UserError
from kd_lightning.models.pretrained import find_weights


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 written, 2 refused."""
    parser = argparse.ArgumentParser("kd-export", description=__doc__)
    add = parser.add_argument
    add("source", help="name of a student of the package, student.safetensors, or a .ckpt")
    add("-o", "--output", type=Path, required=True, help="name.safetensors, .onnx or .xml")
    add("--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="fp16, int8: .xml")
    add("--calibration", type=Path, help="folder of HR pictures for int8")
    add("--force", action="store_true", help="overwrite existing files")
    options = parser.parse_args(arguments)
    try:
        if options.output.exists() and not options.force:
            raise UserError(f"{options.output} exists; use --force to overwrite it")
        from kd_lightning.deploy.export import export

        source = find_weights(options.source)
        measured = export(source, options.output, options.precision, options.calibration)
    except UserError as error:
        print(f"kd-export: {error}", file=sys.stderr)
        return 2
    facts = ", ".join(f"{name} {value:.3g}" for name, value in measured.items())
    print(f"{options.output} written" + (f" ({facts})" if facts else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Make web/dist, the page as any file server serves it: `python -m web.build`.

The modules of web/src are copied as they are, with the policy and a version (a hash of the sources)
filled in, and the students of the package are exported into models/.
"""

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from kd_lightning.deploy.export import export
from kd_lightning.errors import UserError
from kd_lightning.models.pretrained import shipped
from web.policy import POLICY

WEB = Path(__file__).parent
SOURCES = WEB / "src"
DIST = WEB / "dist"
FILLED_IN = {".html", ".js"}


def build(dist: Path = DIST, students: dict[str, Path] | None = None) -> Path:
    """Write the page to `dist`, replacing it as a whole, and return it.

    Args:
        students: name -> artifact; those of the package by default, without the ones that no
            browser engine runs (web/README.md).

    Raises:
        UserError: none of the students can be exported.
    """
    chosen = shipped("*.safetensors") if students is None else students
    dist.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".dist-", dir=dist.parent) as folder:
        part = Path(folder) / "dist"
        _copy_sources(part, {"{{policy}}": POLICY, "{{version}}": version()})
        _export_students(part / "models", chosen)
        shutil.rmtree(dist, ignore_errors=True)
        part.rename(dist)
    return dist


def version() -> str:
    """Eight letters that change with the sources."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.relative_to(SOURCES).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:8]


def sources() -> list[Path]:
    return sorted(path for path in SOURCES.rglob("*") if path.is_file())


def stale(dist: Path = DIST) -> bool:
    """Whether `dist` lacks something, or is older than what it is made of."""
    index = dist / "models" / "index.json"
    if not index.is_file():
        return True
    made_of = [*sources(), WEB / "policy.py", WEB / "build.py", *shipped("*.safetensors").values()]
    return any(path.stat().st_mtime > index.stat().st_mtime for path in made_of)


def _copy_sources(target: Path, values: dict[str, str]) -> None:
    for path in sources():
        copy = target / path.relative_to(SOURCES)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        if path.suffix in FILLED_IN:
            text = path.read_text(encoding="utf-8")
            for key, value in values.items():
                text = text.replace(key, value)
            copy.write_text(text, encoding="utf-8")


def _export_students(models: Path, students: dict[str, Path]) -> None:
    """NAME.kdw of each, and index.json, which the page makes its choice of."""
    models.mkdir()
    index, refusals = [], []
    for name, source in students.items():
        target = models / f"{name}.kdw"
        try:
            export(source, target)
        except UserError as error:  # a network without a plain body: the teacher
            refusals.append(str(error))
            continue
        stated = _stated(target)
        index.append(
            {
                "name": name,
                "file": target.name,
                "scale": stated["scale"],
                "call": str(stated["degradation"]).startswith("call"),
                "parameters": stated["parameters"],
            }
        )
    if not index:
        raise UserError("no student for the browser: " + ("; ".join(refusals) or "none was given"))
    # Clean images first, small networks first: the first of a scale is what the page starts with.
    index.sort(key=lambda entry: (entry["call"], entry["parameters"]))
    (models / "index.json").write_text(json.dumps(index, indent=1))


def _stated(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    stated: dict[str, Any] = json.loads(header["__metadata__"]["kd_web"])
    return stated


if __name__ == "__main__":
    try:
        print(f"{build()} built")
    except UserError as error:
        sys.exit(f"error: {error}")

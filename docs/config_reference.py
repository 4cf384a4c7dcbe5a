"""The configuration's keys, defaults and comments, read from the yaml files themselves.

`python docs/config_reference.py` writes `train.schema.json`, a JSON schema for editors, beside this
file; the documentation site takes its reference page from here.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
SCHEMA = Path(__file__).with_name("train.schema.json")
# In this order: a bool is an int.
TYPES = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
INTERPOLATION = {"type": "string", "pattern": r"\$\{.*\}"}


@dataclass(frozen=True)
class Key:
    """One key of a file: dotted name, value as written, its parsed value, comment."""

    name: str
    text: str
    value: Any
    comment: str


@dataclass(frozen=True)
class Option:
    """One file: what its first comment says, what it builds on, its own keys."""

    name: str
    about: str
    builds_on: list[str]
    keys: list[Key]


def read_option(path: Path) -> Option:
    """The option that a yaml file of the configuration is."""
    source = path.read_text()
    lines = source.splitlines()
    head = []
    for line in lines:
        if not line.startswith("#"):
            break
        head.append(line.lstrip("# "))
    about = " ".join(line for line in head if not line.startswith("@package"))
    node, content = yaml.compose(source), yaml.safe_load(source) or {}
    keys = list(_leaves(node, lines, content, "")) if isinstance(node, yaml.MappingNode) else []
    return Option(path.stem, about, _bases(content), keys)


def _bases(content: dict[str, Any]) -> list[str]:
    """Entries of the defaults list other than the file itself."""
    found = []
    for entry in content.get("defaults", []):
        if isinstance(entry, dict):
            found += [f"{key.removeprefix('override ')}={value}" for key, value in entry.items()]
        elif entry != "_self_":
            found.append(entry)
    return found


def _leaves(
    node: yaml.MappingNode, lines: list[str], content: Any, prefix: str, above: str = ""
) -> Iterator[Key]:
    """Keys below `node`; one without a comment of its own has that of the mapping it is in."""
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if name == "defaults":
            continue
        inner = content[yaml.safe_load(key.value)]
        comment = _comment(lines, key.start_mark.line) or above
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield from _leaves(value, lines, inner, f"{name}.", comment)
        else:
            yield Key(name, _written(inner), inner, "" if key.value == "_target_" else comment)


def _comment(lines: list[str], row: int) -> str:
    """At the end of the line, or in the lines above it that hold nothing else."""
    _, mark, comment = lines[row].rpartition(" # ")
    if mark:
        return comment
    above = []
    while row and lines[row - 1].lstrip().startswith("#"):
        row -= 1
        above.insert(0, lines[row].lstrip("# "))
    return " ".join(above) if row else ""  # the file's first comment is about all of it


def _written(value: Any) -> str:
    """A value on one line of yaml."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def groups() -> dict[str, list[Option]]:
    """Options by group, in the order of `train.yaml`; groups of Hydra's own are left out."""
    order = [next(iter(entry)) for entry in _defaults() if isinstance(entry, dict)]
    return {
        group: [read_option(path) for path in sorted((CONF / group).rglob("*.yaml"))]
        for group in order
        if (CONF / group).is_dir() and group != "hydra"
    }


def _defaults() -> list[Any]:
    return list(yaml.safe_load((CONF / "train.yaml").read_text())["defaults"])


def reference() -> str:
    """The page: each group with its options, keys, defaults and comments, as Markdown."""
    chosen = {k: v for entry in _defaults() if isinstance(entry, dict) for k, v in entry.items()}
    parts = [
        "# Every key\n",
        "Generated from the files under `conf/`. A key of a group is set as `group.key=value` "
        "on the command line.\n",
        "## Whole run\n",
        _table(read_option(CONF / "train.yaml").keys),
    ]
    for group, options in groups().items():
        default = chosen.get(group)
        parts.append(f"## {group}\n")
        parts.append(f"Default: `{group}={default}`.\n" if default else "Default: none.\n")
        for option in options:
            parts.append(f"### {group}={option.name}\n")
            if option.about:
                parts.append(f"{_prose(option.about)}\n")
            if option.builds_on:
                parts.append(f"Builds on {', '.join(f'`{base}`' for base in option.builds_on)}.\n")
            if option.keys:
                parts.append(_table(option.keys))
    return "\n".join(parts)


def _prose(text: str) -> str:
    """Plain text as Markdown that shows it."""
    return re.sub(r"([*<|\[\]_])", r"\\\1", text)


def _table(keys: list[Key]) -> str:
    rows = []
    for key in keys:
        text, comment = key.text.replace("|", "\\|"), _prose(key.comment)
        rows.append(f"| `{key.name}` | {f'`{text}`' if text else ''} | {comment} |")
    return "\n".join(["| key | default | |", "|---|---|---|", *rows]) + "\n"


def schema() -> dict[str, Any]:
    """A JSON schema of what a run is composed of: files of `conf/experiment`, and one's own."""
    root: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A run of kd_lightning",
        "type": "object",
        "additionalProperties": False,
        "properties": {"defaults": {"type": "array", "description": "what the file builds on"}},
    }
    for key in read_option(CONF / "train.yaml").keys:
        _add(root, key)
    for group, options in groups().items():
        names = [option.name for option in options]
        if group in ("experiment", "sweep", "debug"):
            continue
        node = {"type": "object", "description": f"{group}: one of {', '.join(names)}"}
        root["properties"][group] = node
        for option in options:
            for key in option.keys:
                _add(node, key)
    root["properties"]["hydra"] = {"type": "object"}
    return root


def _add(node: dict[str, Any], key: Key) -> None:
    """Enter a key with its comment and type; another option's default of another type widens it."""
    *path, last = key.name.split(".")
    for name in path:
        node = node.setdefault("properties", {}).setdefault(name, {"type": "object"})
    leaf = node.setdefault("properties", {}).setdefault(last, {"anyOf": [INTERPOLATION]})
    if key.comment:
        leaf.setdefault("description", key.comment)
    kind = _type(key)
    if kind is None:
        leaf.pop("anyOf", None)
    elif "anyOf" in leaf and {"type": kind} not in leaf["anyOf"]:
        leaf["anyOf"].append({"type": kind})


def _type(key: Key) -> str | None:
    """The JSON type that a key takes, going by its default; None where that does not say."""
    if key.value is None or key.text == "???" or key.text.startswith(("${", '"${')):
        return None
    return next(name for kind, name in TYPES.items() if isinstance(key.value, kind))


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(schema(), indent=1) + "\n")

"""What a lab has of its own, found by name after the built-in presets: methods that were saved, tasks that were imported.

LAB_HOME/presets/methods/<name>.yaml
LAB_HOME/tasks/<name>/task.yaml, data.csv     written by lab.tasks.importing
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.design.plain.boundary import home_folder
from lab.design.plain.documents import read as read_yaml
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal

KINDS = ("methods", "tasks")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
TASK = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")


def folder(kind: str) -> Path:
    """Where a lab keeps its own presets of a kind; it need not exist."""
    return home_folder() / "tasks" if kind == "tasks" else home_folder() / "presets" / kind


def names(kind: str) -> tuple[str, ...]:
    """Own presets, sorted by name; files whose name could not have been given are left out."""
    if kind == "tasks":
        return tuple(sorted(path.parent.name for path in folder(kind).glob("*/task.yaml") if TASK.fullmatch(path.parent.name) and path.is_file()))
    found = folder(kind).glob("*.yaml") if kind in KINDS else ()
    return tuple(sorted(path.stem for path in found if NAME.fullmatch(path.stem) and path.is_file()))


def read(kind: str, name: str) -> dict[str, Any]:
    """An own preset as a plain document, a task with the whole path of its data. Raises Refusal where it is not plain YAML with a group of options."""
    path = folder(kind) / name / "task.yaml" if kind == "tasks" else folder(kind) / f"{name}.yaml"
    try:
        document = read_yaml(path.read_text(encoding="utf-8"), f"The task.yaml of '{name}'" if kind == "tasks" else path.name, kind[:-1])
    except (OSError, ValueError) as error:
        raise error if isinstance(error, Refusal) else Refusal("{path} cannot be read.", kind[:-1], path=path) from None
    if not isinstance(document, dict):
        raise Refusal("{path} must hold a group of options.", kind[:-1], path=path)
    if kind == "tasks" and isinstance(document.get("source"), dict) and isinstance(document["source"].get("file"), str):
        file = str(path.parent / Path(document["source"]["file"]).name)  # the data lie beside it, wherever LAB_HOME is now
        document = {**document, "source": {**document["source"], "file": file}}
    return document


def save(kind: str, name: str, document: Mapping[str, Any], taken: tuple[str, ...] = ()) -> Path:
    """Write an own preset, whole or not at all. Raises Refusal for a name that cannot be one or is `taken`."""
    if not NAME.fullmatch(name):
        raise Refusal("A preset's name has small letters, digits, dots, dashes and underscores, begins with a letter or digit, and is at most 80 long.", "name")
    if name in taken:
        raise Refusal("There is already a {kind} '{name}': give another name.", "name", kind=word(kind[:-1]), name=name)
    path = folder(kind) / f"{name}.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8", suffix=".part") as file:
            yaml.safe_dump(dict(document), file, sort_keys=False, allow_unicode=True, width=130)
        os.replace(file.name, path)
    except OSError as error:
        raise Refusal("{path} cannot be written ({reason}).", "name", path=path, reason=word(error.strerror)) from None
    return path

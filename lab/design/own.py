"""Presets of one's own: YAML files under LAB_HOME/presets/<kind>, found by name after the built-in ones."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.design.documents import read as read_yaml
from lab.design.refusal import Refusal

KINDS = ("methods",)
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


def folder(kind: str) -> Path:
    """Where a lab keeps its own presets of a kind; it need not exist."""
    return Path(os.environ.get("LAB_HOME") or "lab-home").expanduser() / "presets" / kind


def names(kind: str) -> tuple[str, ...]:
    """Own presets, sorted by name; files whose name could not have been given are left out."""
    found = folder(kind).glob("*.yaml") if kind in KINDS else ()
    return tuple(sorted(path.stem for path in found if NAME.fullmatch(path.stem) and path.is_file()))


def read(kind: str, name: str) -> dict[str, Any]:
    """An own preset as a plain document. Raises Refusal where the file is not plain YAML with a group of options."""
    path = folder(kind) / f"{name}.yaml"
    try:
        document = read_yaml(path.read_text(encoding="utf-8"), f"{name}.yaml", kind[:-1])
    except (OSError, ValueError) as error:
        raise error if isinstance(error, Refusal) else Refusal(f"{path} cannot be read.", kind[:-1]) from None
    if not isinstance(document, dict):
        raise Refusal(f"{path} must hold a group of options.", kind[:-1])
    return document


def save(kind: str, name: str, document: Mapping[str, Any], taken: tuple[str, ...] = ()) -> Path:
    """Write an own preset, whole or not at all. Raises Refusal for a name that cannot be one or is `taken`."""
    if not NAME.fullmatch(name):
        raise Refusal("A preset's name has small letters, digits, dots, dashes and underscores, begins with a letter or digit, and is at most 80 long.", "name")
    if name in taken:
        raise Refusal(f"There is already a {kind[:-1]} '{name}': give another name.", "name")
    path = folder(kind) / f"{name}.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8", suffix=".part") as file:
            yaml.safe_dump(dict(document), file, sort_keys=False, allow_unicode=True, width=130)
        os.replace(file.name, path)
    except OSError as error:
        raise Refusal(f"{path} cannot be written ({error.strerror}).", "name") from None
    return path

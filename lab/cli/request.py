"""From flags to a RunSpec: shorthands (`--lr`), overrides (`--set path=value`), spec files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab import continuing
from lab.blocks import filled
from lab.design.plain.documents import read
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.design.spec.sweep import apply, assignments

FILE_BYTES = 256 * 1024
TRAINING, BUILT_ON = "training.", "built_on."  # how the shorthand flags of these groups are named among the arguments


def read_document(path: str) -> dict[str, Any]:
    """A mapping from a YAML or JSON file of at most 256 KiB."""
    file = Path(path).expanduser()
    try:
        if file.stat().st_size > FILE_BYTES:
            raise Refusal("{path} has more than {most} KiB, which no method or spec needs.", "spec", path=path, most=FILE_BYTES // 1024)
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise Refusal("{path} cannot be read ({reason}).", "spec", path=path, reason=word(error.strerror)) from None
    except ValueError:  # not UTF-8, or a NUL in the path
        raise Refusal("{path} is not YAML or JSON in UTF-8.", "spec", path=path) from None
    document = read(text, path, "spec")
    if not isinstance(document, dict):
        raise Refusal("{path} must hold a group of options, such as model: minilm-l6.", "spec", path=path)
    return document


def method_document(name: str) -> Any:
    """What --method names: a preset, or a YAML or JSON file with a method of one's own."""
    return read_document(name) if is_document(name) else name


def is_document(name: str) -> bool:
    """Whether a word is the path of a YAML or JSON file, by its ending; others are names of presets."""
    return name.endswith((".yaml", ".yml", ".json"))


def document_of(arguments: argparse.Namespace, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The plain spec that the flags describe; `more` are further changes by path (one point of a sweep), which win."""
    given = vars(arguments)
    document: dict[str, Any] = read_document(given["spec"]) if given.get("spec") else {}
    changes: dict[str, Any] = {}
    for key in ("model", "quantisation", "seed", "name"):
        if given.get(key) is not None:
            changes[key] = given[key]
    if given.get("task"):
        changes["task"], *further = given["task"]
        changes["further"] = further
    if given.get("method") is not None:
        changes["method"] = method_document(given["method"])
    changes |= {path: value for path, value in given.items() if path.startswith((TRAINING, BUILT_ON))}
    if given.get("tag"):
        document["tags"] = [*(document.get("tags") or ()), *given["tag"]]
    changes |= assignments(given.get("set"))
    changes |= more or {}
    if any(path.split(".")[0] in ("model", "task", "further") or path == "training.probe" for path in changes):
        document.pop("origins", None)  # they are of the model or task that the file names
    document = filled(document, str(changes.get(f"{BUILT_ON}start_from") or ""))
    return apply(continuing.filled(document, str(changes.get(f"{BUILT_ON}continues") or "")), changes)

"""From flags to a RunSpec: shorthands (`--lr`), overrides (`--set path=value`), spec files, and the grid of a sweep."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.design import catalogue
from lab.design.documents import read
from lab.design.options import override, parse_value
from lab.design.refusal import Refusal
from lab.design.spec import RunSpec, Training

FILE_BYTES = 256 * 1024
TRAINING = "training."  # how the shorthand flags of training are named among the arguments


def assignments(pairs: Sequence[str] | None, flag: str = "--set") -> dict[str, str]:
    """{path: text} from `path=value` texts."""
    changes: dict[str, str] = {}
    for pair in pairs or ():
        path, equals, value = pair.partition("=")
        if not equals or not path.strip():
            raise Refusal(f"Write {flag} path=value, as in {flag} deltas.0.rank=16; '{pair[:80]}' is not of that form.", "set")
        changes[path.strip()] = value
    return changes


def read_document(path: str) -> dict[str, Any]:
    """A mapping from a YAML or JSON file of at most 256 KiB."""
    file = Path(path).expanduser()
    try:
        if file.stat().st_size > FILE_BYTES:
            raise Refusal(f"{path} has more than {FILE_BYTES // 1024} KiB, which no method or spec needs.", "spec")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise Refusal(f"{path} cannot be read ({error.strerror}).", "spec") from None
    except ValueError:  # not UTF-8, or a NUL in the path
        raise Refusal(f"{path} is not YAML or JSON in UTF-8.", "spec") from None
    document = read(text, path, "spec")
    if not isinstance(document, dict):
        raise Refusal(f"{path} must hold a group of options, such as model: minilm-l6.", "spec")
    return document


def method_document(name: str) -> Any:
    """What --method names: a preset, or a YAML or JSON file with a method of one's own."""
    return read_document(name) if name.endswith((".yaml", ".yml", ".json")) else name


def document_of(arguments: argparse.Namespace, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The plain spec that the flags describe; `more` are further changes by path (one point of a sweep), which win."""
    given = vars(arguments)
    document: dict[str, Any] = read_document(given["spec"]) if given.get("spec") else {}
    changes: dict[str, Any] = {}
    for key in ("model", "task", "seed", "name"):
        if given.get(key) is not None:
            changes[key] = given[key]
    if given.get("method") is not None:
        changes["method"] = method_document(given["method"])
    changes |= {path: value for path, value in given.items() if path.startswith(TRAINING)}
    if given.get("tag"):
        document["tags"] = [*(document.get("tags") or ()), *given["tag"]]
    changes |= assignments(given.get("set"))
    return apply(document, {**changes, **(more or {})})


def apply(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The document with changes by path. Paths that do not begin with a field of the spec address its method."""
    whole = {path: value for path, value in changes.items() if path in RunSpec.model_fields}
    document = {**document, **{path: value if path in ("model", "name") else parse_value(value) for path, value in whole.items()}}
    inside: dict[str, Any] = {}
    of_method: dict[str, Any] = {}
    for path, value in changes.items():
        first, _, rest = path.partition(".")
        if path in whole:
            continue
        if first == "method":
            of_method[rest] = value
        elif first in RunSpec.model_fields:
            inside[path] = value
        elif first in Training.model_fields and "." not in path:
            raise Refusal(f"A method has no option '{path}'; for the training option write --set training.{path}=....", path)
        else:
            of_method[path] = value
    if any(path.startswith("task.") for path in inside) and isinstance(document.get("task"), str):
        document["task"] = catalogue.read("tasks", document["task"])
    if of_method:
        document["method"] = _changed_method(document.get("method"), of_method)
    return override(document, inside)


def _changed_method(method: Any, changes: Mapping[str, Any]) -> Any:
    if method is None:
        raise Refusal("'method' is missing: give --method, a preset such as lora or a YAML file.", "method")
    if isinstance(method, str):
        return {"preset": method, "set": dict(changes)}
    if isinstance(method, dict) and set(method) <= {"preset", "set"}:
        return {**method, "set": {**(method.get("set") or {}), **changes}}
    return override(method, changes)


def points(over: Sequence[str] | None, listed: bool) -> list[dict[str, Any]]:
    """The points of a sweep from `path=v1,v2` texts: their grid, or with `listed` the first of each, the second of each, ..."""
    axes = {path: _values(path, text) for path, text in assignments(over, "--over").items()}
    if not axes:
        raise Refusal("A sweep needs at least one --over path=v1,v2, as in --over deltas.0.rank=4,8,16.", "over")
    if listed:
        lengths = {len(values) for values in axes.values()}
        if len(lengths) > 1:
            raise Refusal("With --list every --over must have the same number of values.", "over")
        rows = list(zip(*axes.values(), strict=True))
    else:
        rows = list(itertools.product(*axes.values()))
    return [dict(zip(axes, row, strict=True)) for row in rows]


def _values(path: str, text: str) -> list[Any]:
    try:
        values = read(f"[{text}]")
    except Refusal:
        raise Refusal(f"The values of {path} must be a list such as 4,8,16; '{text[:80]}' is not.", "over") from None
    if not values:
        raise Refusal(f"--over {path} has no values; write --over {path}=v1,v2.", "over")
    return [parse_value(value) for value in values]

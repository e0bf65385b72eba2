"""From a spec and changes by path to specs: one change of a document, and the grid or list of a sweep."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from lab.design.plain.documents import read
from lab.design.plain.options import override, parse_value
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue, tables
from lab.design.spec.run import RunSpec, Training, spec_of

LARGEST_SWEEP = 1000
LETTERS = "abcdefghjkmnpqrstvwxyz"


def assignments(pairs: Sequence[str] | None, flag: str = "--set") -> dict[str, str]:
    """{path: text} from `path=value` texts."""
    changes: dict[str, str] = {}
    for pair in pairs or ():
        path, equals, value = pair.partition("=")
        if not equals or not path.strip():
            raise Refusal("Write {flag} path=value, as in {flag} deltas.0.rank=16; '{text}' is not of that form.", "set", flag=flag, text=pair[:80])
        changes[path.strip()] = value
    return changes


def apply(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The document with changes by path. Paths that do not begin with a field of the spec address its method."""
    changes = {"quantisation" if path == "model.quantisation" else path: value for path, value in changes.items()}
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
            raise Refusal("A method has no option '{path}'; for the training option write --set training.{path}=....", path, path=path)
        else:
            of_method[path] = value
    if any(path.startswith("task.") for path in inside):
        document["task"] = written_out(document.get("task"))
    changed = {path.split(".")[1] for path in inside if path.startswith("further.") and path.count(".") > 1}
    if changed and isinstance(document.get("further"), (list, tuple)):
        document["further"] = [written_out(task) if str(number) in changed else task for number, task in enumerate(document["further"])]
    if of_method:
        document["method"] = _changed_method(document.get("method"), of_method)
    return override(document, inside)


def written_out(task: Any) -> Any:
    """A preset as the document that it stands for, so that something in it can be changed."""
    return {**catalogue.read("tasks", task), "name": task} if isinstance(task, str) else task


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
        raise Refusal("The values of {path} must be a list such as 4,8,16; '{text}' is not.", "over", path=path, text=text[:80]) from None
    if not values:
        raise Refusal("--over {path} has no values; write --over {path}=v1,v2.", "over", path=path)
    return [parse_value(value) for value in values]


def label() -> str:
    """A fresh tag for the runs of one sweep."""
    return "sweep-" + "".join(secrets.choice(LETTERS) for _ in range(4))


def specs(document: Mapping[str, Any], chosen: Sequence[Mapping[str, Any]], tag: str) -> list[RunSpec]:
    """The spec of every point, named by what varies and tagged. Raises Refusal: too many, or one of them is not valid."""
    if len(chosen) > LARGEST_SWEEP:
        raise Refusal("This sweep has {count:,} runs; the queue takes {most:,}, so take fewer values.", "over", count=len(chosen), most=LARGEST_SWEEP)
    return [spec_at(apply(document, point), point, tag) for point in chosen]


def spec_at(document: Mapping[str, Any], point: Mapping[str, Any], tag: str) -> RunSpec:
    """The spec of a document that is one point of a sweep."""
    document = {**document, "tags": [*(document.get("tags") or ()), tag]}
    spec = spec_of(document)
    if document.get("name"):
        return spec
    row = (
        f"{spec.method.name} · {spec.model.rstrip('/').rsplit('/', 1)[-1]}" if isinstance(point.get("method"), Mapping) else spec.name
    )  # a paper's row has a name of its own
    return spec.model_copy(update={"name": " · ".join(filter(None, (row, varied(point))))[:120]})


def table_points(rows: Sequence[tables.Row], over: Sequence[str] | None, listed: bool) -> list[dict[str, Any]]:
    """The rows of a paper's table, each at every point of the other axes. Raises Refusal: no row, or methods as an axis too."""
    if not rows:
        raise Refusal("Choose at least one row of the table.", "table")
    if any(text.partition("=")[0].strip() == "method" for text in over or ()):
        raise Refusal("The table's rows are the methods: take 'method' out of the options.", "over")
    return [{"method": row.document(), **point} for row in rows for point in (points(over, listed) if over else [{}])]


def varied(point: Mapping[str, Any]) -> str:
    """What a point has of its own, in words: `rank 8, seed 1`. Its method and model are left to the name of the run."""
    return ", ".join(f"{path.removeprefix('training.').rsplit('.', 1)[-1]} {_short(value)}" for path, value in point.items() if path not in ("method", "model"))


def _short(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)

"""The search's form: what it starts with, and the spec that its fields say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lab.design.method.named import method_of
from lab.design.plain import numbers
from lab.design.plain.documents import read
from lab.design.plain.options import fields
from lab.design.plain.refusal import Refusal
from lab.design.spec import search
from lab.design.spec.run import RunSpec
from lab.design.spec.search import Axis, SearchSpec

FIRST = ("deltas.0.rank", "training.lr", "deltas.0.at", "deltas.0.form", "deltas.0.insertion", "deltas.0.composition", "method")
PLAIN = ("budget", "sampler", "trials", "minutes", "seeds", "name")  # fields that are written as they are


def paths() -> list[str]:
    """Options that a search may vary, the usual ones first."""
    known = [field.path for field in fields(RunSpec) if field.path.startswith("training.") and field.path not in search.OUTSIDE]
    return list(dict.fromkeys([*FIRST, *known, *[f"deltas.0.{name}" for name in method_of("lora").deltas[0].model_dump()]]))


def presets() -> list[dict[str, Any]]:
    """The searches that come with the lab, as the form has them."""
    return [{"name": name, **fields_of(search.load(name))} for name in search.names()]


def fields_of(found: SearchSpec) -> dict[str, Any]:
    """A search as the fields of the form."""
    return {
        "title": {"en": found.title, "zh": found.title_zh},
        "base": {"model": found.model, "task": found.task if isinstance(found.task, str) else found.task.model_dump(mode="json"), "method": found.method,
                 "quantisation": found.quantisation, "training": dict(found.training)},
        "axes": [{"path": path, "values": values_text(axis), "when": axis.when} for path, axis in found.space.items()],
        "anchors": ", ".join(anchor.method if not anchor.set else json.dumps(anchor.model_dump(mode="json"), ensure_ascii=False) for anchor in found.anchors),
        "budget": budget_text(found), "objectives": list(found.objectives), "sampler": found.sampler, "trials": found.trials, "minutes": found.minutes,
        "seeds": found.seeds, "steps": found.steps, "rungs": found.rungs, "finalists": found.finalists, "baselines": found.baselines, "seed": found.seed,
    }  # fmt: skip


def values_text(axis: Axis) -> str:
    """What an axis may be, as one writes it: 1..64 log, or values with commas."""
    if axis.choices:
        return ", ".join(value if isinstance(value, str) else json.dumps(value) for value in axis.choices)
    return f"{_bound(axis, axis.low)}..{_bound(axis, axis.high)}{' log' if axis.log else ''}"


def _bound(axis: Axis, value: float | None) -> str:
    return f"{int(value or 0)}" if axis.integer else repr(value)


def budget_text(found: SearchSpec) -> str:
    """A budget as one writes it."""
    bounds = found.budget
    parts = [f"{bounds.percent:g} % weights" if bounds.percent is not None else "", f"{bounds.weights} weights" if bounds.weights is not None else "",
             numbers.memory(bounds.memory) if bounds.memory is not None else ""]  # fmt: skip
    return ", ".join(filter(None, parts))


def spec_of_form(asked: Any) -> SearchSpec:
    """The search that the form says. Raises Refusal with the field."""
    if not isinstance(asked, Mapping) or not isinstance(asked.get("base"), Mapping):
        raise Refusal("A search starts from a model, a task and a method.", "base")
    base, axes = asked["base"], [axis for axis in asked.get("axes") or () if isinstance(axis, Mapping) and str(axis.get("path", "")).strip()]
    if base.get("further") or base.get("built_on"):
        raise Refusal("A search trains one task from scratch: leave further tasks and earlier runs out.", "base")
    training = {key: value for key, value in dict(base.get("training") or {}).items() if value is not None and key not in ("until", "test", "epochs")}
    steps = _number(asked.get("steps")) or training.get("steps")
    rungs = asked.get("rungs") if isinstance(asked.get("rungs"), list) and asked["rungs"][-1:] == [steps] else []
    given = {name: asked[name] for name in PLAIN if asked.get(name) not in (None, "")}
    document = {
        **{name: base[name] for name in ("model", "task", "method", "quantisation") if base.get(name)}, "training": {**training, "steps": steps}, "rungs": rungs,
        "space": {str(axis["path"]).strip(): _axis(str(axis["path"]).strip(), axis) for axis in axes},
        "anchors": _anchors(str(asked.get("anchors") or "")), "objectives": asked.get("objectives") or ["metric"],
        **{name: asked[name] for name in ("finalists", "baselines", "seed") if asked.get(name) is not None}, **given,
    }  # fmt: skip
    if len(document["space"]) < len(axes):
        raise Refusal("An option stands twice among the axes: write all its values in one line.", "space")
    return search.search_of(document)


def _axis(path: str, axis: Mapping[str, Any]) -> dict[str, Any]:
    found = search.space_of([f"{path}={axis.get('values', '')}"])[path]
    when = axis.get("when")
    return {**({"range": found} if isinstance(found, str) else {"choices": found}), **({"when": when} if isinstance(when, Mapping) else {})}


def _anchors(text: str) -> list[Any]:
    found = read(f"[{text}]", "The list of anchors", "anchors")
    return [one for one in found if one]


def _number(value: Any) -> int | None:
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool)
        else int(value)
        if isinstance(value, str) and value.isascii() and value.isdigit()
        else None
    )

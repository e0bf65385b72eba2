"""Cost curves on demand: the peak memory of a method at a batch, and its trained weights at many ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.design.method.count import count_on
from lab.design.method.delta import Method
from lab.design.method.forms import FORMS
from lab.design.method.named import method_of
from lab.design.method.rules import problems
from lab.design.plain.refusal import Refusal
from lab.models import resolve
from lab.planning import devices
from lab.planning.advice import usable
from lab.ui.bench import assessment
from lab.ui.shell import planner
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked

BATCHES, RANKS = (1, 4, 16, 64), (1, 2, 4, 8, 16, 32, 64, 128, 256)
PRESETS = ("lora", "lora-fa", "lamda", "adapter-houlsby", "prefix-tuning", "full")  # beside the design on the bench


def point(asked: Any) -> dict[str, Any]:
    """{"bytes", "room"} at the peak for {"draft", "method": a preset or "" for the draft's own, "batch", "device"}; {"wrong": sentence} where there is none."""
    asked = asked if isinstance(asked, Mapping) else {}
    device, kernels = devices.chosen(str(asked.get("device") or ""))
    try:
        if asked.get("batch") not in BATCHES:
            raise Refusal("This is none of the batches of the curve.", "batch")
        spec = assessment.design_of({**dict(asked.get("draft") or {}), **_method(asked)})
        found = planner.client().plan({"spec": spec.document(), "batch": asked["batch"], **({"device": kernels} if kernels else {})})
    except Refusal as problem:
        return {"wrong": refused(language_asked(asked), problem)}
    except (TypeError, ValueError):
        return {"wrong": refused(language_asked(asked), "This is no design of the bench.")}
    return {"bytes": found["peak_reserved_bytes"], "room": usable(device["total_bytes"], device["kind"])}


def _method(asked: Mapping[str, Any]) -> dict[str, Any]:
    name = asked.get("method")
    if not name:
        return {}
    if name not in PRESETS:
        raise Refusal("This is none of the methods of the curve.", "method")
    return {"method": method_of(name).document()}


def counts(asked: Any) -> dict[str, Any]:
    """{"curves": {method: [[rank, trained weights], ...]}} for {"draft"}: the draft's own as "" and the presets that have a rank."""
    draft = dict(asked.get("draft") or {}) if isinstance(asked, Mapping) else {}
    found = assessment.assess(draft)
    if found.body is None:
        return {"curves": {}}
    inventory = resolve(str(found.draft.get("model", ""))).inventory
    methods = {"": found.method, **{name: method_of(name) for name in PRESETS}}
    curves = {name: _over_ranks(method, found.body, inventory) for name, method in methods.items() if method is not None and inventory}
    return {"curves": {name: curve for name, curve in curves.items() if curve}}


def _over_ranks(method: Method, body: Any, inventory: Any) -> list[list[int]]:
    """Every delta that has a width at the same rank; nothing for a method without one."""
    document = method.document()
    wide = [FORMS[delta["form"]].has_rank for delta in document["deltas"]]
    if not any(wide):
        return []
    curve = []
    for rank in RANKS:
        deltas = [{**delta, **_at(delta, rank)} if one else delta for delta, one in zip(document["deltas"], wide, strict=True)]
        try:
            changed = method_of({**document, "deltas": deltas})
        except Refusal:
            continue
        if not any(problems(changed, body)):
            curve.append([rank, count_on(changed, body, inventory).trainable])
    return curve


def _at(delta: Mapping[str, Any], rank: int) -> dict[str, Any]:
    """A delta's rank, its schedule's and its allocation's ranks in proportion."""
    found: dict[str, Any] = {"rank": rank}
    for name in ("schedule", "allocation"):
        group = delta.get(name)
        if isinstance(group, Mapping):
            found[name] = {key: _scaled(value, rank / delta["rank"]) if "rank" in key else value for key, value in group.items()}
    return found


def _scaled(value: Any, by: float) -> Any:
    return value * by if isinstance(value, float) else max(1, round(value * by)) if isinstance(value, int) else value

"""What pages ask of the bin: put something into it, list it, bring something back, delete it for good. It decides nothing: lab.bin does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lab import bin as bins
from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked


def throw(asked: Any) -> dict[str, Any]:
    """Put {"kind", "id"} into the bin: {"kind", "place": its id there, "days": how long it stays} or {"wrong": sentence}."""

    def work(kind: str, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        place = bins.put(kind, name)
        return {"kind": kind, "place": place, "days": numbers.number(bins.binned.days())}

    return _tried(asked, work)


def binned(asked: Any) -> dict[str, Any]:
    """{"entries": [{"kind", "id", "name", "size", "left": days}], "size": of all} of {"kind"}, or {"wrong": sentence}."""

    def work(kind: str, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        found = bins.entries(kind)
        rows = [{"kind": one.kind, "id": one.id, "name": one.name, "size": numbers.memory(one.bytes), "left": _days(one.until)} for one in found]
        return {"entries": rows, "size": numbers.memory(sum(one.bytes for one in found))}

    return _tried(asked, work)


def restored(asked: Any) -> dict[str, Any]:
    """Bring {"kind", "id", "name": another one or ""} back: {"back": its id or name} or {"wrong": sentence}."""
    return _tried(asked, lambda kind, place, asked: {"back": bins.restore(kind, place, str(asked.get("name") or "").strip())})


def purged(asked: Any) -> dict[str, Any]:
    """Delete {"kind", "id"} in the bin for good, "" as id: all of the kind. {"gone": how many} or {"wrong": sentence}."""

    def work(kind: str, place: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        if not place:
            return {"gone": len(bins.empty(kind))}
        bins.delete(kind, place)
        return {"gone": 1}

    return _tried(asked, work)


def _days(until: float) -> int:
    return max(0, round((until - time.time()) / 86_400))


def _tried(asked: Any, work: Any) -> dict[str, Any]:
    asked = asked if isinstance(asked, Mapping) else {}
    try:
        kind = str(asked.get("kind") or "")
        if kind not in bins.KINDS:
            raise Refusal("The bin holds runs, tasks and methods.", "kind")
        return work(kind, str(asked.get("id") or ""), asked)
    except Refusal as problem:
        return {"wrong": refused(language_asked(asked), problem)}


FUNCTIONS = [throw, binned, restored, purged]

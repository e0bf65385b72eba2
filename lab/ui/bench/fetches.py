"""What of the chosen model and task is on this machine, and fetching what is not: what bench/fetches.js draws. lab.fetches decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.fetches import FETCHES, Availability, available, elsewhere, size
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked

FIELDS = {"model": "models", "task": "tasks"}  # of a draft: the kind that it names


def fetching(asked: Any) -> dict[str, Any]:
    """{"field": model or task, "name", "act": start, cancel, size or ""}: do it and say how it stands (`document`), or {"state": "wrong", "sentence"}."""
    asked = asked if isinstance(asked, Mapping) else {}
    language, path, name = language_asked(asked), str(asked.get("field") or ""), str(asked.get("name") or "")[:500]
    kind, act = FIELDS.get(path, ""), asked.get("act")
    bytes_known = None
    try:
        if act == "start":
            FETCHES.start(kind, name)
        elif act == "cancel":
            FETCHES.cancel(kind, name)
        elif act == "size":
            bytes_known = size(kind, name)
        return document(path, name, available(kind, name), language, bytes_known)
    except Refusal as problem:
        return {"field": path, "name": name, "state": "wrong", "sentence": refused(language, problem)}


def document(path: str, name: str, there: Availability, language: str, bytes_known: int | None = None) -> dict[str, Any]:
    """{"field", "name", "state": here, fetchable, absent, going, wrong or cancelled, "words", "sentence", "size", "done", "share": None where it is not known}."""
    job = FETCHES.standing(FIELDS[path], name) if there.state == "fetchable" else None
    job = job or {"state": there.state, "done": 0, "total": 0, "words": there.words, "sentence": ""}
    state, total = (there.state if job["state"] == "done" else job["state"]), bytes_known or job["total"] or there.bytes
    return {
        "field": path, "name": name, "state": state, "words": refused(language, job["words"]), "sentence": refused(language, job["sentence"]),
        "size": numbers.memory(total) if total else "", "done": numbers.memory(job["done"]), "share": 100 * job["done"] / total if total else None,
    }  # fmt: skip


def of_draft(draft: Mapping[str, Any], there: Mapping[str, Availability], language: str) -> dict[str, dict[str, Any]]:
    """{field: `document`} of what a draft names."""
    return {path: document(path, str(draft[path]), there[path], language) for path in FIELDS if path in there and isinstance(draft.get(path), str)}


def marks() -> dict[str, dict[str, str]]:
    """{"models", "tasks": {name: fetchable or absent}} of the presets that are not here."""
    return {kind: elsewhere(kind) for kind in FIELDS.values()}

"""What goes back to the browser when a knob is turned: one document with only the parts that the page does not already show.

The page says which parts it has by a short print of each, so turning the rank sends a count and a figure, but no table and no notes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from lab import blocks
from lab.design.figure.figure import figure
from lab.design.plain.refusal import Refusal
from lab.runs import default
from lab.ui.bench import assessment, fetches, views
from lab.ui.bench.schema import own_methods, own_tasks
from lab.ui.shell.draft import start
from lab.ui.shell.method_words import equations
from lab.ui.shell.method_words import near as near_words
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked

KEPT = ("model", "quantisation", "task", "further", "method", "built_on", "training", "seed", "tags")


def turn(asked: Any) -> dict[str, Any]:
    """The answer to {"draft", "seq", "changed", "language", "have": {part: print}}: what `bench/knobs.js` and `bench.js` put into the page.

    Returns {"seq", "document" (where the server changed the draft), "errors", "reasons", "modified", "near", "hints", "there": see lab.ui.bench.fetches,
    "parts": {name: [print, HTML, Markdown, or the lab's own methods and tasks]}}.
    """
    asked = asked if isinstance(asked, Mapping) else {}
    draft = asked.get("draft") if isinstance(asked.get("draft"), Mapping) else {}
    language = language_asked(asked)
    have = asked.get("have") if isinstance(asked.get("have"), Mapping) else {}
    found = assessment.assess({**of_run(draft), **({} if draft.get("run") else {"changed": asked.get("changed", "")})})
    parts = {name: [_print(text), text] for name, text in _parts(found, language).items()}
    mine = {"methods": own_methods(language), "tasks": own_tasks(language), "runs": blocks.choices(str(found.draft.get("model", ""))), "there": fetches.marks()}
    parts["own"] = [_print(json.dumps(mine)), mine]
    return {**form_state(found, language), "seq": asked.get("seq", 0), "parts": {name: part for name, part in parts.items() if have.get(name) != part[0]}}


def form_state(found: assessment.Assessment, language: str) -> dict[str, Any]:
    """What the knobs themselves must know."""
    near = near_words(found.method, language) if found.method and found.modified else ""
    own = found.method.training if found.method else ()  # what a run takes where a field is left empty
    hints = {f"training.{name}": f"{value:g}" for name, value in own if value is not None}
    errors = [(path, refused(language, sentence)) for path, sentence in found.errors]
    reasons = {path: {choice: refused(language, why) for choice, why in choices.items()} for path, choices in found.reasons.items()}
    return {"document": found.document, "errors": errors, "reasons": reasons, "modified": found.modified,
            "near": near, "hints": hints, "there": fetches.of_draft(found.draft, found.there, language)}  # fmt: skip


def of_run(draft: Mapping[str, Any]) -> dict[str, Any]:
    """A draft that only names a run becomes that run's own spec (a link from its page)."""
    if not draft.get("run"):
        return dict(draft)
    try:
        spec = default().store.get(str(draft["run"])).spec
    except Refusal:
        spec = {}
    kept = {key: spec[key] for key in KEPT if key in spec}
    if isinstance(kept.get("method"), Mapping):  # what it stands on is named beside it
        kept["method"] = {**kept["method"], "deltas": [delta for delta in kept["method"].get("deltas") or () if not delta.get("frozen_from")]}
    return {**start(), **kept, "name": "", "changed": "run"}


def _parts(found: assessment.Assessment, language: str) -> dict[str, str]:
    parts = {"costs": views.costs(found, language)}
    if found.method and found.whole:
        parts |= {"figure": figure(found.whole, found.body, language), "equation": equations(found.whole, found.body),
                  "table": views.table(found.whole, language), "notes": views.notes(found.method, language)}  # fmt: skip
    return parts


def _print(text: str) -> str:
    return f"{zlib.crc32(text.encode('utf-8', 'replace')):x}"

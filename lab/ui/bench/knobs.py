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
from lab.design.method.delta import MethodTraining
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue
from lab.design.spec.links import link_of, parts_of
from lab.design.spec.run import EPOCHS
from lab.design.spec.task import TaskSpec
from lab.runs import default
from lab.ui.bench import assessment, fetches, views
from lab.ui.bench.exchange import exchanged
from lab.ui.bench.schema import own_methods, own_tasks
from lab.ui.shell.draft import start
from lab.ui.shell.method_words import equations
from lab.ui.shell.method_words import near as near_words
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked, say

KEPT = ("model", "quantisation", "task", "further", "method", "built_on", "training", "seed", "tags")


def turn(asked: Any) -> dict[str, Any]:
    """The answer to {"draft", "seq", "changed", "before", "language", "have": {part: print}}: what `bench/knobs.js` and `bench.js` put into the page.

    `before`: the method that another one was chosen in place of. Returns {"seq", "document" (where the server changed the draft), "errors", "reasons", "modified",
    "near", "hints", "exchange" (what of `before` came along), "link" (the parameters of the design's address, {} where it is none), "refused" (why an address was not
    opened), "there": see lab.ui.bench.fetches, "parts": {name: [print, HTML, Markdown, or the lab's own methods and tasks]}}.
    """
    asked = asked if isinstance(asked, Mapping) else {}
    draft = asked.get("draft") if isinstance(asked.get("draft"), Mapping) else {}
    language = language_asked(asked)
    have = asked.get("have") if isinstance(asked.get("have"), Mapping) else {}
    draft, refusal = of_address({"changed": asked.get("changed", ""), **draft})
    draft, words = exchanged(draft, asked.get("before"), language)
    found = assessment.assess(draft)
    parts = {name: [_print(text), text] for name, text in _parts(found, language).items()}
    mine = {"methods": own_methods(language), "tasks": own_tasks(language), "runs": blocks.choices(str(found.draft.get("model", ""))), "there": fetches.marks()}
    parts["own"] = [_print(json.dumps(mine)), mine]
    return {**form_state(found, language), "exchange": words, "refused": say(language, "bench.link.refused", why=refused(language, refusal)) if refusal else "",
            "link": link_of(found.spec, str(found.draft.get("name") or "")) if found.spec else {}, "seq": asked.get("seq", 0),
            "parts": {name: part for name, part in parts.items() if have.get(name) != part[0]}}  # fmt: skip


def form_state(found: assessment.Assessment, language: str) -> dict[str, Any]:
    """What the knobs themselves must know."""
    near = near_words(found.method, language) if found.method and found.modified else ""
    errors = [(path, refused(language, sentence)) for path, sentence in found.errors]
    reasons = {path: {choice: refused(language, why) for choice, why in choices.items()} for path, choices in found.reasons.items()}
    return {"document": found.document, "errors": errors, "reasons": reasons, "modified": found.modified,
            "near": near, "hints": _hints(found), "there": fetches.of_draft(found.draft, found.there, language)}  # fmt: skip


def _hints(found: assessment.Assessment) -> dict[str, str]:
    """What a run takes where a field is left empty: of the method, of the task, or by default."""
    asked: Any = found.spec or (found.method.training if found.method else None)
    hints = {f"training.{name}": f"{value:g}" for name in MethodTraining.model_fields if (value := getattr(asked, name, None)) is not None}
    if found.spec and found.spec.training.steps is None and found.spec.training.epochs is None:
        hints["training.epochs"] = f"{EPOCHS:g}"
    task = found.draft.get("task")
    if isinstance(task, str) and task in catalogue.names("tasks"):
        hints["training.max_length"] = str(catalogue.read("tasks", task).get("max_length", TaskSpec.model_fields["max_length"].default))
    return hints


def of_address(draft: Mapping[str, Any]) -> tuple[dict[str, Any], Refusal | None]:
    """A draft with what the page's address says: `run`, of which it becomes the spec, or `link`, the parameters of a design.

    A link that is a whole design (`link=1`) leaves nothing of the draft; another one only what it does not name. A refused one leaves the draft as it was.
    """
    kept = {key: value for key, value in of_run(draft).items() if key != "link"}
    if not draft.get("link"):
        return kept, None
    try:
        parts = parts_of(draft["link"])
    except Refusal as problem:
        return {**kept, "changed": "run"}, problem
    usual = {**start(), "training": {}} if "link" in draft["link"] else kept
    return {**usual, **parts, "changed": "run"}, None


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

"""Taking a design away from the bench: as text, or as a preset of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue, own
from lab.design.spec import writing
from lab.ui.bench import assessment
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked


def _spec(asked: Any) -> Any:
    draft = asked.get("draft") if isinstance(asked, Mapping) else None
    return assessment.spec_for(dict(draft) if isinstance(draft, Mapping) else {})


def write(asked: Any) -> dict[str, str]:
    """{"yaml", "command", "python"} of {"draft"}; {"wrong": sentence} where it may not run."""
    try:
        spec = _spec(asked)
    except Refusal as problem:
        return {"wrong": refused(language_asked(asked), problem)}
    return {"yaml": writing.as_yaml(spec), "command": writing.as_command(spec), "python": writing.as_python(spec)}


def save(asked: Any) -> dict[str, str]:
    """Keep the method of {"draft", "name"} under LAB_HOME/presets/methods: {"saved": name}, or {"wrong": sentence}.

    A name of a built-in method is refused, and one of an own preset unless the design started from it.
    """
    try:
        method = _spec(asked).method
        method = method.model_copy(update={"deltas": method.own})  # a preset stands on no runs
        name = str(asked.get("name") or "")
        taken = {*catalogue.names("methods"), *own.names("methods")} - {method.preset if method.preset not in catalogue.names("methods") else ""}
        document = {**writing.brief(method), "name": name, "family": "free", "branch": ""}
        document.pop("preset", None)
        own.save("methods", name, document, tuple(taken))
    except Refusal as problem:
        return {"wrong": refused(language_asked(asked), problem)}
    return {"saved": name}

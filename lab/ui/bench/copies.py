"""Taking a design away from the bench: as text, or as a preset of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue, own
from lab.design.spec import writing
from lab.design.spec.links import link_of
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


def link(asked: Any) -> dict[str, Any]:
    """{"link": the parameters of the address} of {"draft"}, whether or not it can run here; {"wrong": sentence} where it is no design."""
    draft = asked.get("draft") if isinstance(asked, Mapping) else None
    found = assessment.assess(dict(draft) if isinstance(draft, Mapping) else {})
    if found.spec is None:
        return {"wrong": refused(language_asked(asked), found.errors[0][1])}
    return {"link": link_of(found.spec, str(found.draft.get("name") or ""))}


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

"""Another method in place of one that somebody changed: the draft with what of it came along, and a sentence that says what did not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.design.body.anatomy import anatomy
from lab.design.method.carrying import carried
from lab.design.method.delta import Delta, Method
from lab.design.method.named import method_of
from lab.design.plain.options import fields, override, validate
from lab.design.plain.refusal import Refusal
from lab.design.spec.misfits import misfits
from lab.design.spec.run import RunSpec
from lab.models import resolve
from lab.ui.words.table import TABLE, say, titled


def exchanged(draft: dict[str, Any], before: Any, language: str) -> tuple[dict[str, Any], str]:
    """The draft, whose method is a name that was chosen just now, with the changes of the method `before` it; and what to say of them ("" where there were none)."""
    name = draft.get("method")
    if not isinstance(name, str) or not isinstance(before, Mapping):
        return draft, ""
    try:
        found = carried(validate(Method, before, "method."), method_of(name), _anatomy(draft.get("model")))
    except Refusal:
        return draft, ""  # of a method that was no method nothing can come along, and a name that there is not is refused at its field
    lost = misfits(found.method, draft)
    draft = override(draft, lost)
    kept, dropped = (
        (", " if language == "en" else "、").join(_label(option, language) for option in options) for options in (found.kept, (*found.dropped, *lost))
    )
    words = [say(language, "bench.carried", kept=kept)] if kept else []
    words += [say(language, "bench.dropped", dropped=dropped, method=titled(language, found.method.name))] if dropped else []
    return ({**draft, "method": found.method.document(), "changed": "run"} if kept else draft), " ".join(words)


def _anatomy(model: Any) -> Any:
    try:
        return anatomy(resolve(str(model or "")).config)
    except Refusal:
        return None


def _label(option: str, language: str) -> str:
    """An option of a delta, or a path in the draft, as its field is labelled."""
    if option in ("deltas", "select"):
        return say(language, f"bench.changed.{option}")
    field = next((field for field in (*fields(Delta), *fields(RunSpec)) if field.path == option), None)
    if field is None:
        return say(language, f"bench.{option}")  # a schedule, an allocation: groups of options
    chinese = field.zh or TABLE.get(f"label.{field.path.rpartition('.')[2]}", ["", ""])[1]
    return (chinese if language == "zh" else "") or field.label

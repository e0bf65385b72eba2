"""Methods by name: a preset, changed by path where one wants, or a whole method of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.design.method.delta import Method
from lab.design.plain.options import override, validate
from lab.design.plain.refusal import Refusal
from lab.design.presets.catalogue import read


def load_method(name: str, overrides: Mapping[str, Any] | None = None) -> Method:
    """A method preset, with options changed by path: `load_method("mam", {"deltas.0.rank": 16})`."""
    document = read("methods", name)
    return validate(Method, override({**document, "preset": name}, overrides or {}))


def method_of(value: Any) -> Method:
    """A method from whatever a spec may hold: a preset's name, {"preset": name, "set": {...}}, or a whole method."""
    if isinstance(value, Method):
        return value
    if isinstance(value, str):
        return load_method(value)
    if isinstance(value, Mapping) and set(value) <= {"preset", "set"} and value.get("preset"):
        changes = value.get("set") or {}
        if not isinstance(changes, Mapping):
            raise Refusal("'set' must be a group of options by path, such as {deltas.0.rank: 16}.", "set")
        return load_method(str(value["preset"]), changes)
    return validate(Method, value)

"""The presets: YAML files under presets/, and the lab's own (lab.design.own), read by name. An unknown name is refused with the nearest ones there are."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.design import own
from lab.design.method import Method
from lab.design.options import override, validate
from lab.design.refusal import Refusal

PRESETS = Path(__file__).resolve().parents[2] / "presets"
KINDS = ("architectures", "methods", "models", "tasks", "recipes", "papers", "sweeps")


@functools.cache
def names(kind: str) -> tuple[str, ...]:
    """The built-in presets of a kind, sorted by name."""
    return tuple(sorted(path.stem for path in (PRESETS / kind).glob("*.yaml")))


def read(kind: str, name: str) -> dict[str, Any]:
    """A preset as a plain document: a built-in one, else one of the lab's own. Raises `Refusal` for a name that there is not."""
    if name not in names(kind):
        if name in (saved := own.names(kind)):
            return own.read(kind, name)
        near = difflib.get_close_matches(name, (*names(kind), *saved), n=3, cutoff=0.5) or names(kind)
        raise Refusal(f"There is no {kind[:-1]} preset '{name[:80]}'; there are {', '.join(near)}.", kind[:-1])
    return _parse(PRESETS / kind / f"{name}.yaml", (PRESETS / kind / f"{name}.yaml").stat().st_mtime_ns)


@functools.lru_cache(maxsize=512)
def _parse(path: Path, _changed: int) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


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

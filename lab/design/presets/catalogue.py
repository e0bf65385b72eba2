"""The presets: YAML files under presets/, and the lab's own (lab.design.presets.own), read by name. An unknown name is refused with the nearest ones there are."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Any

import yaml

from lab.design.plain.refusal import Refusal
from lab.design.presets import own

_LAB = Path(__file__).resolve().parents[2]
PRESETS = _LAB / "presets" if (_LAB / "presets").is_dir() else _LAB.parent / "presets"  # as a wheel has them, or a checkout
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

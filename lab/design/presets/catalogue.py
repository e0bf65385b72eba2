"""The presets: YAML files under presets/ and of installed packages (lab.design.plain.plugins), and the lab's own (lab.design.presets.own), read by name. An unknown name is refused with the nearest ones there are."""

from __future__ import annotations

import difflib
import functools
import sys
from pathlib import Path
from typing import Any

from lab.design.plain import plugins
from lab.design.plain.documents import bundled
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.design.presets import own

_LAB = Path(__file__).resolve().parents[2]
PRESETS = _LAB / "presets" if (_LAB / "presets").is_dir() else _LAB.parent / "presets"  # as a wheel has them, or a checkout
KINDS = ("architectures", "methods", "models", "tasks", "recipes", "papers", "sweeps", "searches", "boards")


@functools.cache
def names(kind: str) -> tuple[str, ...]:
    """The built-in presets of a kind, and those of installed packages, sorted by name."""
    return tuple(sorted(_files(kind)))


@functools.cache
def _files(kind: str) -> dict[str, Path]:
    """{name: file}. A name that is taken stays whose it was, which is said."""
    found = {path.stem: path for path in (PRESETS / kind).glob("*.yaml")}
    for plugin in plugins.of_group("presets"):
        for path in sorted((plugin.folder / kind).glob("*.yaml")) if plugin.folder else ():
            if found.setdefault(path.stem, path) != path:
                print(f"[lab] The preset {kind}/{path.name} of {plugin.of} was left out: its name is taken.", file=sys.stderr, flush=True)
    return found


def read(kind: str, name: str) -> dict[str, Any]:
    """A preset as a plain document: a built-in one, else one of the lab's own. Raises `Refusal` for a name that there is not."""
    if name not in names(kind):
        if name in (saved := own.names(kind)):
            return own.read(kind, name)
        near = difflib.get_close_matches(name, (*names(kind), *saved), n=3, cutoff=0.5) or names(kind)
        singular = "search" if kind == "searches" else kind[:-1]
        raise Refusal("There is no {kind} preset '{name}'; there are {near}.", singular, kind=word(singular), name=name[:80], near=", ".join(near))
    file = _files(kind)[name]
    return _parse(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=512)
def _parse(path: Path, _changed: int) -> dict[str, Any]:
    return bundled(path)

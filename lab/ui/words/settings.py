"""Settings of a run in words: what pages show in place of a spec's path where the reader's language is not the spec's."""

from __future__ import annotations

import functools
import re

from lab.design.method.delta import Delta
from lab.design.plain.options import fields
from lab.design.spec.run import RunSpec, Training
from lab.ui.words.table import TABLE, say

_DELTA = re.compile(r"(?:method\.)?deltas\.(\d+)\.")


def setting_name(language: str, path: str) -> str:
    """`method.deltas.0.rank` as it stands in a spec, without `method.`; in Chinese by its words, those of a second delta with its number."""
    if path in ("method", "model", "task"):
        return say(language, f"bench.{path}")
    if language != "zh":
        return path.removeprefix("method.")
    name = path.rpartition(".")[2]
    words = _chinese().get(name)
    delta = _DELTA.match(path)
    return path.removeprefix("method.") if not words else f"Δ{int(delta[1]) + 1} {words}" if delta and delta[1] != "0" else words


@functools.cache
def _chinese() -> dict[str, str]:
    found = {field.path.rpartition(".")[2]: field.zh for group in (RunSpec, Training, Delta) for field in fields(group) if field.zh}
    return {name: pair[1] for key, pair in TABLE.items() for kind, _, name in [key.partition(".")] if kind == "label" and "." not in name} | found

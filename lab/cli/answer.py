"""What a command answers, and how tables read in a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """`document` is printed with --json, `text()` without. `ok=False` gives exit status 1."""

    document: Any
    text: Callable[[], str]
    ok: bool = True


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Aligned columns under their names; those named in `right` are aligned to the right. Wide (CJK) letters count as two."""
    lines = [list(columns), *([" ".join(str(cell).splitlines()) for cell in row] for row in rows)]
    widths = [max(_width(line[i]) for line in lines) for i in range(len(columns))]

    def cell(text: str, index: int) -> str:
        space = " " * (widths[index] - _width(text))
        return space + text if columns[index] in right else text + space

    return "\n".join("  ".join(cell(text, i) for i, text in enumerate(line)).rstrip() for line in lines)


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Lines of `name  value`, values aligned; pairs without a value are left out."""
    kept = [(name, value) for name, value in pairs if value]
    width = max((_width(name) for name, _ in kept), default=0)
    return "\n".join(f"{name}{' ' * (width - _width(name))}  {value}" for name, value in kept)


def shorten(text: str, letters: int) -> str:
    """At most so many letters, the last one … where something was cut."""
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

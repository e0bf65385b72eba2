"""The name that the lab's command goes by in this process, which is the one that every sentence and page names: delta-lab, or python -m lab."""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path

from lab.design.plain import installed

INSTALLED, MODULE = "delta-lab", "python -m lab"


def program() -> str:
    """What somebody types to come here: as this process was started; in a notebook or a child, by what is installed beside its Python."""
    started = Path(sys.argv[0] if sys.argv else "")
    if started.stem == INSTALLED:
        return INSTALLED
    if (started.parent.name, started.name) == ("lab", "__main__.py") or installed.from_checkout():
        return MODULE
    return INSTALLED if _beside(sys.executable) else MODULE


@functools.cache
def _beside(python: str) -> bool:
    """Whether the console script stands beside a Python, as pip puts it there."""
    return bool(python) and any((Path(python).parent / name).is_file() for name in (INSTALLED, f"{INSTALLED}.exe"))


def as_called(text: str) -> str:
    """A text with the command as it is called here: with pipx there is no `python` that has the lab."""
    return re.sub(rf"{MODULE}(?![.\w])", INSTALLED, text) if program() == INSTALLED else text

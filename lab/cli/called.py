"""The name that the command was called by, which is the one that every sentence names: delta-lab where it is installed, else python -m lab."""

from __future__ import annotations

import re
import sys
from pathlib import Path

INSTALLED, MODULE = "delta-lab", "python -m lab"


def program() -> str:
    """What somebody typed to come here."""
    return INSTALLED if Path(sys.argv[0]).stem == INSTALLED else MODULE


def as_called(text: str) -> str:
    """A text with the command as it was called: with pipx there is no `python` that has the lab."""
    return re.sub(rf"{MODULE}(?![.\w])", INSTALLED, text) if program() == INSTALLED else text

"""The starts of low-rank parts by name. A new one is one file in this folder with a subclass of `Start`; nothing else lists it."""

from __future__ import annotations

from lab.design.method.starts.base import LOOKS, UNKNOWN, SiteView, Start
from lab.design.plain.folder import classes

__all__ = ["LOOKS", "STARTS", "UNKNOWN", "SiteView", "Start", "starts_of"]

ORDER = ("lora", "code", "normal", "zero-core", "vectors", "spectral", "spectral-minor", "spectral-random", "spectral-zero-core")  # of display
STARTS: dict[str, Start] = {name: one() for name, one in classes(__name__, __path__, Start, ORDER).items()}


def starts_of(form: str) -> dict[str, Start]:
    """The starts that a form takes, by name."""
    return {name: start for name, start in STARTS.items() if form in start.forms}

"""The insertion forms by name. A new one is one file in this folder with a subclass of `Insertion`; nothing else lists it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.design.method.insertions.base import Insertion
from lab.design.plain.folder import classes

if TYPE_CHECKING:
    from lab.design.method.forms import Form

__all__ = ["INSERTIONS", "Insertion", "taken"]

ORDER = ("parallel", "sequential", "input")  # of display
INSERTIONS: dict[str, Insertion] = {name: one() for name, one in classes(__name__, __path__, Insertion, ORDER).items()}


def taken(form: Form) -> tuple[str, ...]:
    """The insertion forms that a form goes with: those that it names, and those that name it."""
    return (*form.insertions, *(name for name, one in INSERTIONS.items() if form.name in one.forms and name not in form.insertions))

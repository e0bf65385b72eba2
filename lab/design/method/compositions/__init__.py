"""The composition functions by name. A new one is one file in this folder with a subclass of `Composition`; nothing else lists it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.design.method.compositions.base import Composition
from lab.design.plain.folder import classes

if TYPE_CHECKING:
    from lab.design.method.forms import Form

__all__ = ["COMPOSITIONS", "Composition", "taken"]

ORDER = ("add", "scaled", "gated", "learned-gate", "rescale")  # of display
COMPOSITIONS: dict[str, Composition] = {name: one() for name, one in classes(__name__, __path__, Composition, ORDER).items()}


def options() -> tuple[str, ...]:
    """The fields of a delta that belong to compositions."""
    return tuple(dict.fromkeys(option for one in COMPOSITIONS.values() for option in one.options))


def taken(form: Form) -> tuple[str, ...]:
    """The compositions that a form goes with: those that it names, and those that name it."""
    return (*form.compositions, *(name for name, one in COMPOSITIONS.items() if form.name in one.forms and name not in form.compositions))

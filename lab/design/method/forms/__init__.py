"""The functional forms by name. A new form is one file in this folder with a subclass of `Form`; nothing else lists it."""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.plain.folder import classes

__all__ = ["FORMS", "Form", "Part"]

ORDER = ("bottleneck", "lowrank", "slots", "scale", "bias", "tokens")  # of display
FORMS: dict[str, Form] = {name: one() for name, one in classes(__name__, __path__, Form, ORDER).items()}

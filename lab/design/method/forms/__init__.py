"""The functional forms by name. A new form is one file in this folder with a subclass of `Form`; nothing else lists it."""

from __future__ import annotations

import importlib
import pkgutil

from lab.design.method.forms.base import Form, Part

__all__ = ["FORMS", "Form", "Part"]


def _load() -> dict[str, Form]:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return {form.name: form() for form in sorted(_subclasses(Form), key=lambda form: ORDER.get(form.name, 99))}


def _subclasses(base: type[Form]) -> list[type[Form]]:
    return [deeper for form in base.__subclasses__() for deeper in (form, *_subclasses(form))]


ORDER = {"bottleneck": 0, "lowrank": 1, "slots": 2, "scale": 3, "bias": 4, "tokens": 5}  # of display; a new form comes last
FORMS: dict[str, Form] = _load()

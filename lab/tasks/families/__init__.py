"""The families of tasks by name. A new one is one file in this folder with a subclass of `Family` that has a name; nothing else lists it."""

from __future__ import annotations

import importlib
import pkgutil

from lab.design.plain import plugins
from lab.design.plain.folder import subclasses
from lab.design.spec import families as declared
from lab.tasks.family import Family

ORDER = ("classification", "multi_label", "regression", "summarization", "translation", "language_modelling", "math_reasoning", "commonsense", "instruction")
FAMILIES: dict[str, type[Family]] = declared.FAMILIES  # type: ignore[assignment]  # what is registered here are families in full


def register(family: type[Family]) -> type[Family]:
    """Let there be tasks of this family, as the files of this folder are registered; also a decorator. Raises ValueError for what cannot be one."""
    declared.register(family)
    return family


def _load() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    found = {family.name: family for family in subclasses(Family) if family.name and family.__module__.startswith(__name__)}
    for name in (*ORDER, *sorted(found.keys() - set(ORDER))):  # a new family comes last
        register(found[name])
    for module in plugins.modules("families"):
        for family in subclasses(Family):
            if family.__module__ == module.__name__ and family.name:
                try:
                    register(family)
                except ValueError as error:
                    plugins.leave_out("families", module.__name__, str(error).rstrip("."))


_load()

"""Objects found by folder: one file each, with a subclass of the folder's base; nothing else lists them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from typing import Any


def classes(package: str, path: Iterable[str], base: type, order: Sequence[str]) -> list[Any]:
    """The subclasses of `base` in the modules of a package that have a `name`, those named in `order` first, new ones behind them by name."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
    found = [one for one in _subclasses(base) if isinstance(getattr(one, "name", None), str)]
    return sorted(found, key=lambda one: (order.index(one.name) if one.name in order else len(order), one.name))


def _subclasses(base: type) -> list[type]:
    return [deeper for one in base.__subclasses__() for deeper in (one, *_subclasses(one))]

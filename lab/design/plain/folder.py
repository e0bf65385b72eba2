"""Classes found by folder: one file each, with a subclass of the folder's base; nothing else lists them."""

from __future__ import annotations

import importlib
import operator
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def classes(package: str, path: Iterable[str], base: type, order: Sequence[str], name: Callable[[Any], str] = operator.attrgetter("name")) -> dict[str, Any]:
    """{name: class} of the subclasses of `base` in a package's modules: those in `order` first, others behind them by name."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
    found = {name(one): one for one in _subclasses(base)}
    return {each: found[each] for each in sorted(found, key=lambda each: (order.index(each) if each in order else len(order), each))}


def _subclasses(base: type) -> list[type]:
    direct: list[type] = base.__subclasses__()
    return [deeper for one in direct for deeper in (one, *_subclasses(one))]

"""Classes found by folder: one file each, with a subclass of the folder's base; nothing else lists them. Those of plug-ins come behind."""

from __future__ import annotations

import importlib
import operator
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lab.design.plain import plugins


def classes(package: str, path: Iterable[str], base: type, order: Sequence[str], name: Callable[[Any], str] = operator.attrgetter("name")) -> dict[str, Any]:
    """{name: class} of the subclasses of `base` in a package's modules: those in `order` first, others behind them by name.

    Plug-ins of the group that is called as the package's last part add theirs (lab.design.plain.plugins); a name that is taken stays whose it was.
    """
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
    found = {name(one): one for one in subclasses(base)}
    group = package.rpartition(".")[2]
    for plugin in plugins.modules(group):
        for one in (one for one in subclasses(base) if one.__module__ == plugin.__name__):
            if found.setdefault(name(one), one) is not one:
                plugins.leave_out(group, one.__module__, f"its {one.__name__} has the name '{name(one)}', which is taken")
    return {each: found[each] for each in sorted(found, key=lambda each: (order.index(each) if each in order else len(order), each))}


def subclasses(base: type) -> list[type]:
    """Those of `base`, and theirs."""
    direct: list[type] = base.__subclasses__()
    return [deeper for one in direct for deeper in (one, *subclasses(one))]

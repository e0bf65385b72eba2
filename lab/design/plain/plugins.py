"""What people add without touching the package: forms, task families, methods, ... of installed packages, and of their own in LAB_HOME/plugins.

A package that is installed says so in its metadata, by entry points of the groups below:

    [project.entry-points."delta_lab.forms"]
    kronecker = "my_package.kronecker"      # a module, or a class in one
    [project.entry-points."delta_lab.presets"]
    mine = "my_package"                      # a package with folders methods/, tasks/, models/, architectures/ of YAML files

A file LAB_HOME/plugins/forms/kronecker.py says the same of one's own, where LAB_PLUGINS=1 switches that folder on. It is code that runs
with the rights of whoever starts the lab, so nothing there is read unless it is switched on; LAB_PLUGINS=0 leaves out packages too.
One that cannot be loaded is told on standard error and left out: the lab works without it, and what needs it is refused by name.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lab.design.plain.boundary import home_folder
from lab.design.plain.refusal import Refusal

SWITCH = "LAB_PLUGINS"  # "": packages alone; 1: the folder too; 0: neither
PREFIX = "delta_lab."
CODE = ("forms", "compositions", "insertions", "starts", "allocations", "schedules", "selections", "engine_schedules", "families")
PRESETS = "presets"
GROUPS = (*CODE, PRESETS)
NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


@dataclass(frozen=True)
class Plugin:
    """One that was found. `of`: the package with its version, or the file; `problem`: why it was left out, "" where it was not."""

    group: str
    name: str
    of: str
    module: ModuleType | None = None
    folder: Path | None = None
    problem: str = ""


_found: dict[str, list[Plugin]] = {}
_read_from: list[Path] = []


def of_group(group: str) -> list[Plugin]:
    """The plug-ins of a group, loaded once, by name; those of packages first."""
    if group not in _found:
        _found[group] = []  # what a plug-in imports may ask again meanwhile
        for one in (*_of_packages(group), *_of_the_folder(group)):
            _found[group].append(one)
            if one.problem:
                _tell(one)
    return _found[group]


def modules(group: str) -> list[ModuleType]:
    """The modules of a group that could be loaded."""
    return [one.module for one in of_group(group) if one.module is not None]


def known() -> list[Plugin]:
    """Every plug-in of every group, for people (`delta-lab doctor`)."""
    return [one for group in GROUPS for one in of_group(group)]


def files() -> list[Path]:
    """The files of all plug-ins that hold code of methods: what depends on the code of forms depends on them too."""
    return sorted({Path(one.module.__file__) for group in CODE for one in of_group(group) if one.module is not None and one.module.__file__})


def leave_out(group: str, module: str, problem: str) -> None:
    """Say that what a module brought is not taken. It stays known, with the reason."""
    for place, one in enumerate(_found.get(group, [])):
        if one.module is not None and one.module.__name__ == module:
            _found[group][place] = Plugin(group, one.name, one.of, problem=problem)
            _tell(_found[group][place])


def require_home(home: Path) -> None:
    """Refusal where the folder was read in another home than the one that is used: code is loaded once, when the lab starts."""
    if _read_from and _read_from[0] != home:
        raise Refusal("The plug-ins were read in {there} when this started: set LAB_HOME={home} instead of --home.", "home", there=_read_from[0], home=home)


def _of_packages(group: str) -> Iterable[Plugin]:
    if os.environ.get(SWITCH) == "0":
        return
    for entry in sorted(_entry_points().select(group=PREFIX + group), key=lambda one: one.name):
        of = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        try:
            if group == PRESETS:
                spec = importlib.util.find_spec(entry.module)
                if spec is None or not spec.submodule_search_locations:
                    raise ImportError(f"there is no package {entry.module}")
                yield Plugin(group, entry.name, of, folder=Path(next(iter(spec.submodule_search_locations))))
            else:
                entry.load()
                yield Plugin(group, entry.name, of, sys.modules[entry.module])
        except Exception as error:  # it is somebody else's code
            yield Plugin(group, entry.name, of, problem=_reason(error))


def _of_the_folder(group: str) -> Iterable[Plugin]:
    if os.environ.get(SWITCH) != "1" or group == PRESETS:  # presets of one's own need no switch: LAB_HOME/presets
        return
    home = home_folder()
    _read_from[:] = [home]
    for path in sorted((home / "plugins" / group).glob("*.py")):
        if not NAME.fullmatch(path.stem):
            yield Plugin(group, path.stem, str(path), problem="its name is not of small letters, digits and underscores")
            continue
        name = f"delta_lab_plugins.{group}.{path.stem}"
        try:
            spec = importlib.util.spec_from_file_location(name, path)
            if spec is None or spec.loader is None:
                raise ImportError("it cannot be read as Python")
            sys.modules[name] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            yield Plugin(group, path.stem, str(path), module)
        except Exception as error:  # it is somebody else's code
            sys.modules.pop(name, None)
            yield Plugin(group, path.stem, str(path), problem=_reason(error))


@functools.cache
def _entry_points() -> Any:
    return importlib.metadata.entry_points()


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _tell(one: Plugin) -> None:
    print(f"[lab] The plug-in {one.name} ({one.group}, of {one.of}) was left out: {one.problem}.", file=sys.stderr, flush=True)

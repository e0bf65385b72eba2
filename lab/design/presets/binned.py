"""The bin of a lab's own presets: what was deleted, until it is restored, deleted for good, or has been there for some days.

LAB_HOME/bin/methods/<name>@<milliseconds since 1970>.yaml
LAB_HOME/bin/tasks/<name>@<milliseconds since 1970>/task.yaml, ...

A name in the bin is free: another preset may take it, and what comes back then needs another one.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab.design.plain.boundary import home_folder
from lab.design.plain.documents import read as read_yaml
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.design.presets import catalogue, own

DAYS = 30.0
PLACE = re.compile(r"(.+)@(\d{1,15})")


@dataclass(frozen=True)
class BinnedPreset:
    """`kind`: methods or tasks; `place`: its name in the bin, without ending; `binned`: seconds since 1970; `bytes` on the disk."""

    kind: str
    place: str
    name: str
    binned: float
    bytes: int


def days() -> float:
    """LAB_BIN_DAYS, how long the bin keeps what is in it; 30 where it is not set. Refusal: no number of days."""
    given = os.environ.get("LAB_BIN_DAYS", "").strip()
    try:
        found = float(given or DAYS)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise Refusal("LAB_BIN_DAYS must be a number of days from 0 on, not {given}.", "LAB_BIN_DAYS", given=repr(given[:20]))
    return found


def oldest() -> float:
    """What was put into the bin before this time (seconds since 1970) is deleted for good."""
    return time.time() - 86_400 * days()


def folder(kind: str) -> Path:
    """Where the bin keeps own presets of a kind; it need not exist."""
    return home_folder() / "bin" / kind


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed, and what goes meanwhile counts as none."""
    found = 0
    for each in [path] if not path.is_dir() else path.rglob("*"):
        try:
            found += 0 if each.is_symlink() or each.is_dir() else each.stat().st_size
        except OSError:
            continue
    return found


def listing(kind: str) -> list[BinnedPreset]:
    """What is in the bin of a kind, the last one thrown away first. What has been there for its days is deleted with this."""
    before, found = oldest(), []
    for path in folder(kind).glob("*"):
        place = path.stem if kind == "methods" else path.name
        if (match := PLACE.fullmatch(place)) and _file(kind, path).is_file():
            when = int(match[2]) / 1000
            if when < before:
                _remove(path)
            else:
                found.append(BinnedPreset(kind, place, match[1], when, size(path)))
    return sorted(found, key=lambda one: -one.binned)


def put(kind: str, name: str) -> str:
    """Put an own preset into the bin; its place there. Raises Refusal where there is none, or where it cannot be moved."""
    if name not in own.names(kind):
        raise Refusal("There is no {kind} of your own called '{name}'.", "name", kind=word(kind[:-1]), name=name[:80])
    place = f"{name}@{int(time.time() * 1000)}"
    path = own.folder(kind) / (name if kind == "tasks" else f"{name}.yaml")
    try:
        folder(kind).mkdir(parents=True, exist_ok=True)
        os.rename(path, _path(kind, place))
    except OSError as error:
        raise Refusal("'{name}' cannot be put into the bin ({reason}).", "name", name=name, reason=word(error.strerror)) from None
    return place


def restore(kind: str, place: str, name: str = "") -> str:
    """Bring an own preset back, as `name` where its own is taken; the name that it has then. Raises Refusal."""
    entry = _entry(kind, place)
    name = name or entry.name
    if not (own.TASK if kind == "tasks" else own.NAME).fullmatch(name):
        raise Refusal("A name has small letters, digits and dashes, begins with a letter or digit, and is at most 60 long.", "name")
    if name in (*catalogue.names(kind), *own.names(kind)):
        raise Refusal("There is a {kind} '{name}' by now: restore this one under another name.", "name", kind=word(kind[:-1]), name=name)
    path = _path(kind, place)
    try:
        if name != entry.name:
            _rename(_file(kind, path), name)
        own.folder(kind).mkdir(parents=True, exist_ok=True)
        os.rename(path, own.folder(kind) / (name if kind == "tasks" else f"{name}.yaml"))
    except OSError as error:
        raise Refusal("'{name}' cannot be restored ({reason}).", "name", name=entry.name, reason=word(error.strerror)) from None
    return name


def delete(kind: str, place: str) -> None:
    """Delete an own preset in the bin for good. Raises Refusal where it is not there."""
    _entry(kind, place)
    _remove(_path(kind, place))


def _entry(kind: str, place: str) -> BinnedPreset:
    for entry in listing(kind):
        if entry.place == place:
            return entry
    raise Refusal("It is not in the bin any more.", "name")


def _path(kind: str, place: str) -> Path:
    return folder(kind) / (place if kind == "tasks" else f"{place}.yaml")


def _file(kind: str, path: Path) -> Path:
    return path / "task.yaml" if kind == "tasks" else path


def _rename(file: Path, name: str) -> None:
    """Write another name into a preset's document, whole or not at all."""
    document = {**read_yaml(file.read_text(encoding="utf-8"), file.name, "name"), "name": name}
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8", suffix=".part") as part:
        yaml.safe_dump(document, part, sort_keys=False, allow_unicode=True, width=130)
    os.replace(part.name, file)


def _remove(path: Path) -> None:
    """At once out of sight, then away."""
    aside = path.with_name(f".deleted-{path.name}")
    try:
        os.rename(path, aside)
    except OSError:
        aside = path
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)

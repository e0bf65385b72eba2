"""The verbs of the default lab, that of LAB_HOME and LAB_DATABASE_URL; `queue.Queue` has the same for any lab."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from lab.design.plain.boundary import home_folder
from lab.runs.home import Home
from lab.runs.queue import Queue


@lru_cache(maxsize=8)
def _queue_at(path: str, _database: str | None) -> Queue:
    return Queue(Home(path))


def default() -> Queue:
    """The Queue of LAB_HOME and LAB_DATABASE_URL as they are now."""
    home = os.environ.get("LAB_HOME") or "lab-home"
    with suppress(FileNotFoundError):  # the folder that this was started in is gone: a Home says so
        home = home if home.startswith("~") else os.path.abspath(home)
    return _queue_at(home, os.environ.get("LAB_DATABASE_URL"))


def is_there() -> bool:
    """Whether there is a lab to read: named, or in the folder that one stands in, where a look makes none."""
    return bool(os.environ.get("LAB_HOME") or os.environ.get("LAB_DATABASE_URL")) or home_folder().exists()


def launch(document: dict, name: str | None = None, tags: Sequence[str] | None = None, notes: str = "") -> str:
    """Queue a run of that spec and start it if a slot is free; its id. See `Queue.launch`."""
    return default().launch(document, name, tags, notes)


def stop(run_id: str, wait: bool = True) -> str:
    """End a run; the state it is in then. See `Queue.stop`."""
    return default().stop(run_id, wait)


def resume(run_id: str) -> None:
    """Queue a run again from its last checkpoint. See `Queue.resume`."""
    default().resume(run_id)


def reconcile() -> list[str]:
    """Bring the store in line with what really runs, and start what may start; the ids of runs that changed."""
    return default().reconcile()


class _Verb(types.ModuleType):
    """Makes `lab.runs.launch(document)` work although `lab.runs.launch` is this module."""

    def __call__(self, *args: Any, **options: Any) -> str:
        return self.launch(*args, **options)


with suppress(TypeError):
    sys.modules[__name__].__class__ = _Verb

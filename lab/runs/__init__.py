"""What happened: the store of runs, the queue that starts workers, and the worker's line back. Never imports torch.

`lab.runs.launch` is a module that can be called: `launch(document)`, `launch.stop(run)`.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

from lab.runs import launch
from lab.runs.home import Home
from lab.runs.keeper import Keeper
from lab.runs.launch import default, is_there, reconcile, resume, stop
from lab.runs.notebook import Runs
from lab.runs.queue import Queue
from lab.runs.records import ACTIVE, OVER, RESUMABLE, STATES, Event, Run
from lab.runs.store import Store
from lab.runs.worker_link import WorkerLink

__all__ = [
    "ACTIVE",
    "OVER",
    "RESUMABLE",
    "STATES",
    "Event",
    "Home",
    "Keeper",
    "Queue",
    "Run",
    "Store",
    "WorkerLink",
    "default",
    "is_there",
    "launch",
    "reconcile",
    "resume",
    "stop",
]


class _Room(types.ModuleType):
    """`lab.runs` is this module, and `lab.runs(...)` the verb of that name, which stands above it (as `lab/__init__.py` finds names: when they are used)."""

    def __call__(self, where: str = "", **filters: Any) -> Runs:
        return Runs(importlib.import_module("lab.verbs").runs(where, **filters))


sys.modules[__name__].__class__ = _Room

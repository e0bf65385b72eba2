"""What happened: the store of runs, the queue that starts workers, and the worker's line back. Never imports torch."""
from __future__ import annotations

import sys

from lab.runs.home import Home
from lab.runs.launch import default, reconcile, resume, stop
from lab.runs.queue import Keeper, Queue
from lab.runs.records import ACTIVE, OVER, RESUMABLE, STATES, Event, Run
from lab.runs.store import Store
from lab.runs.worker_link import WorkerLink

__all__ = ["ACTIVE", "OVER", "RESUMABLE", "STATES", "Event", "Home", "Keeper", "Queue", "Run", "Store", "WorkerLink", "default",
           "launch", "reconcile", "resume", "stop"]
launch = sys.modules["lab.runs.launch"]  # the module, which can be called: lab.runs.launch(document)


class _Room(type(sys)):
    """Makes `lab.runs()` list the runs although `lab.runs` is this package."""

    def __call__(self, **which) -> list[Run]:
        return default().store.list(**which)


sys.modules[__name__].__class__ = _Room

"""What a launcher of workers is. `local.Local` starts them as processes of this machine, `ray_launcher.Cluster` on a Ray cluster.

A worker is `python -m lab.training.worker RUN`. It claims its run in the store by itself and tells its progress and end there; a
launcher says what the store cannot: how many may run at once, whether a run that nobody has claimed yet still may be, how a worker
ended that told nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lab.design.plain import installed
from lab.runs.home import Home
from lab.runs.processes import TOKEN, Identity
from lab.runs.records import Run
from lab.runs.store import Store

COMMAND = (sys.executable, "-m", "lab.training.worker")  # the run's id is added
ROOT = installed.ROOT  # what a node of a cluster imports the lab from
STEADY = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}  # variables of every worker
PRIVATE = ("LAB_PATHS", "LAB_AUTH", "LAB_WARM")  # variables that no worker gets: what a run may read was settled when it was launched


class Launcher(Protocol):
    """Starts workers and knows of them what the store does not."""

    everywhere: bool  # its slots are a cluster's: active runs in all places take them, and memory is not this machine's
    patience: float  # seconds after which a run that was given to it must have come to its worker (`holds`)
    retries: int  # how often a run that it lost is queued again by itself

    @property
    def slots(self) -> int:
        """How many runs of one device may train at once. Refusal: LAB_SLOTS is no number."""
        ...

    @property
    def accelerators(self) -> int:
        """How many accelerators a run may train on together: all of this machine, or of the largest node; 0 where runs train on processors."""
        ...

    def slots_for(self, wanted: int, count: int) -> int:
        """How many of `count` slots a run over `wanted` devices takes, at least 1 and at most `count`."""
        ...

    def require(self, wanted: int, where: str) -> None:
        """Refusal where no machine has as many devices as a run asks for. `where`: auto, cpu, cuda or mps."""
        ...

    def start(self, home: Home, run: Run, store: Store, command: Sequence[str], count: int) -> Identity | None:
        """Start the worker of a claimed run, which has some of `count` slots (`Run.slots`); its process, None where that is not known yet. Raises OSError, Refusal."""
        ...

    def warm(self, command: Sequence[str], after: float = 0.0, wait: float = 0.0) -> bool:
        """Prepare to start workers of that command at once, from `after` seconds on; whether that is so, within `wait` seconds."""
        ...

    def reap(self) -> None:
        """Collect the workers that have ended, so that none stays a zombie."""
        ...

    def holds(self, run: Run) -> bool | None:
        """Whether a run that no worker has claimed yet is on its way to one; None: this launcher cannot tell."""
        ...

    def has_ended(self, run: Run) -> bool:
        """Whether the worker of a run is known to have ended, whatever its process looks like."""
        ...

    def end(self, run: Run, token: str, force: bool = False) -> None:
        """Signal the processes of an attempt, which carry `token`: SIGTERM, or with `force` SIGKILL. Nothing else is touched."""
        ...

    def exit_code(self, run: Run, folder: Path) -> int | None:
        """The exit code of a worker that is gone (negative: the signal that killed it), None where it cannot be had. `folder`: the run's."""
        ...


def worker_environment(home: Home, run: Run, store: Store) -> dict[str, str]:
    """The variables by which a worker knows its run, its attempt and its lab."""
    return {
        "LAB_HOME": str(home.path),
        "LAB_DATABASE_URL": store.url,
        "LAB_RUN_ID": run.id,
        "LAB_RUN_ATTEMPT": str(run.attempt),
        TOKEN: store.token(run),
        **STEADY,
    }

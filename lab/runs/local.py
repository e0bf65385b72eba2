"""Workers as processes of this machine.

A worker is started as a new Python, or, where this process keeps a fork server (lab.runs.warm), forked from that. Either is detached: a
session of its own, no standard input, output to the run's log.txt and never to a pipe, the run's folder as working directory (paths in a spec
must therefore be absolute). It goes on when the page, the terminal or the app that started it is gone. What this process knows of its
children is shared by all its launchers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from lab.design.plain import installed
from lab.runs import processes, records, slots
from lab.runs.home import Home
from lab.runs.launcher import PRIVATE, STEADY, worker_environment
from lab.runs.processes import Identity, identity
from lab.runs.records import Run
from lab.runs.store import Store
from lab.runs.warm import Forked, Warmth

_warmth = Warmth()
_children: dict[int, subprocess.Popen | Forked] = {}
_ends: dict[int, tuple[str, int, int]] = {}  # pid -> (run, attempt, exit code)
_whose: dict[int, tuple[str, int]] = {}
_lock = threading.Lock()


class Local:
    """Starts workers on this machine; see `launcher.Launcher`."""

    everywhere = False
    patience = 20.0
    retries = 0

    @property
    def slots(self) -> int:
        return slots.slots()

    @property
    def accelerators(self) -> int:
        return len(slots.devices())

    def slots_for(self, wanted: int, count: int) -> int:
        return slots.slots_for(wanted, count, slots.devices())

    def require(self, wanted: int, where: str) -> None:
        slots.require_devices(wanted, where, slots.devices())

    def start(self, home: Home, run: Run, store: Store, command: Sequence[str], count: int) -> Identity:
        return start_worker(home, run, store, command, visible(run, count))

    def warm(self, command: Sequence[str], after: float = 0.0, wait: float = 0.0) -> bool:
        _warmth.want(command, after)
        _warmth.tend(environment())
        return _warmth.wait(wait)

    def reap(self) -> None:
        reap()
        _warmth.tend(environment())

    def holds(self, run: Run) -> bool | None:
        """Of a run that this very process claimed: whether it has started a worker for it. Of others it cannot tell."""
        if run.state != records.STARTING or run.pid != os.getpid():
            return None
        me = identity()
        return has_started(run) if (run.mark, run.place) == (me.mark, me.place) else None

    def has_ended(self, run: Run) -> bool:
        return exit_code_of(run) is not None

    def end(self, run: Run, token: str, force: bool = False) -> None:
        if force:
            processes.kill(token)
            reap()
        elif processes.ASKS:  # elsewhere the worker sees in the store that it shall stop
            processes.send(token, signal.SIGTERM)

    def exit_code(self, run: Run, folder: Path) -> int | None:
        """What this process or the system still knows of a worker that ended here."""
        if run.place != processes.place():
            return None
        adopted = run.heartbeat is not None  # before that the pid is its launcher's
        zombie = processes.exit_code_of_zombie(run.pid, run.mark) if adopted else None
        code = exit_code_of(run, seconds=2.0)
        return zombie if code is None else code


def visible(run: Run, count: int) -> list[str]:
    """The accelerators that the worker of a run may see, which holds some of `count` slots; [] where there are none."""
    return slots.devices_of_run(run.slots or [0], slots.devices_of_spec(run.spec), max(1, count), slots.devices())


def start_worker(home: Home, run: Run, store: Store, command: Sequence[str], devices: Sequence[str] = ()) -> Identity:
    """Start the worker of a claimed run; its identity.

    `devices`: the accelerators it may see, all if empty. Raises OSError when no process can be started or its log not opened.
    """
    folder = home.run_dir(run.id, create=True)
    given = environment() | worker_environment(home, run, store)
    if devices:
        given["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    greeting = f"[lab] {time.strftime('%Y-%m-%d %H:%M:%S')} run {run.id}, start {run.attempt}"
    with open(folder / "log.txt", "ab") as log, _lock:
        child: subprocess.Popen | Forked | None = _warmth.fork(command, run.id, f"{greeting}, warm\n", given, log, folder)
        if child is None:
            log.write(f"{greeting}\n".encode())
            log.flush()
            child = subprocess.Popen(
                [*command, run.id], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=given, start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # what a session is on Windows: Ctrl-C stays with the terminal's own
            )  # fmt: skip
        _children[child.pid] = child
        _whose[child.pid] = (run.id, run.attempt)
        return child.identity if isinstance(child, Forked) else identity(child.pid)  # it cannot be gone: nobody reaps it before the lock is released


def environment() -> dict[str, str]:
    """What every worker gets of this process's variables."""
    return {name: value for name, value in os.environ.items() if name not in PRIVATE} | STEADY | {"PYTHONPATH": installed.python_path()}


def reap() -> None:
    """Collect the workers of this process that have ended, so that none stays a zombie, and remember their exit codes."""
    with _lock:
        for pid, child in list(_children.items()):
            if (code := child.poll()) is not None:
                _ends[pid] = (*_whose.pop(pid), code)
                del _children[pid]
            elif isinstance(child, Forked) and child.lost:
                del _children[pid], _whose[pid]
        while len(_ends) > 1000:
            del _ends[next(iter(_ends))]


def has_started(run: Run) -> bool:
    """Whether this process started a worker for that attempt."""
    with _lock:
        return (run.id, run.attempt) in [*_whose.values(), *(end[:2] for end in _ends.values())]


def exit_code_of(run: Run, seconds: float = 0.0) -> int | None:
    """The exit code of a run's worker, if it was a child of this process and has ended (negative: the signal that killed it).

    `seconds`: how long to wait for a child that is dying: a killed process shows as a zombie while its last threads go, and
    only then can its exit code be had.
    """
    until = time.monotonic() + seconds
    while (run.id, run.attempt) in list(_whose.values()) and time.monotonic() < until:
        reap()
        time.sleep(0.01)
    with _lock:
        for run_id, attempt, code in _ends.values():
            if (run_id, attempt) == (run.id, run.attempt):
                return code
    return None

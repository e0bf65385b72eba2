"""Starting worker processes on this machine, and the verbs of the default lab.

A worker is `python -m lab.training.worker RUN`, detached: a session of its own, no standard input, output to the run's
log.txt and never to a pipe, the run's folder as working directory (paths in a spec must therefore be absolute). It goes on
when the page, the terminal or the app that started it is gone.

`launch(document)` and the other verbs act on the lab of LAB_HOME and LAB_DATABASE_URL; `queue.Queue` has the same for any lab.
"""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from lab.design.refusal import Refusal
from lab.runs.home import Home
from lab.runs.processes import TOKEN, Identity, identity
from lab.runs.records import Run
from lab.runs.store import Store

COMMAND = (sys.executable, "-m", "lab.training.worker")
ROOT = Path(__file__).resolve().parents[2]

_children: dict[int, subprocess.Popen] = {}
_ends: dict[int, tuple[str, int, int]] = {}  # pid -> (run, attempt, exit code)
_whose: dict[int, tuple[str, int]] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """What is within is not cut in two by Ctrl-C: the KeyboardInterrupt comes after it. (In the main thread; others get none.)"""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard and callable(before):
        before(signal.SIGINT, None)


def start_worker(home: Home, run: Run, store: Store, command: Sequence[str] = COMMAND, devices: Sequence[str] = ()) -> Identity:
    """Start the worker of a claimed run; its identity.

    `devices`: the accelerators it may see, all if empty. Raises OSError when no process can be started or its log not opened.
    """
    folder = home.run_dir(run.id, create=True)
    environment = {**os.environ, "LAB_HOME": str(home.path), "LAB_DATABASE_URL": store.url, "LAB_RUN_ID": run.id,
                   "LAB_RUN_ATTEMPT": str(run.attempt), TOKEN: store.token(run),
                   "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    environment.pop("LAB_PATHS", None)  # what a run may read was settled when it was launched
    environment.pop("LAB_AUTH", None)
    paths = [str(ROOT), *(os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p)]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    with open(folder / "log.txt", "ab") as log:
        log.write(f"[lab] {time.strftime('%Y-%m-%d %H:%M:%S')} run {run.id}, start {run.attempt}\n".encode())
        log.flush()
        with _lock:
            child = subprocess.Popen([*command, run.id], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                     cwd=folder, env=environment, start_new_session=True)
            _children[child.pid] = child
            _whose[child.pid] = (run.id, run.attempt)
            return identity(child.pid)  # it cannot be gone: nobody reaps it before the lock is released


def reap() -> None:
    """Collect the workers of this process that have ended, so that none stays a zombie, and remember their exit codes."""
    with _lock:
        for pid, child in list(_children.items()):
            if child.poll() is not None:
                _ends[pid] = (*_whose.pop(pid), child.returncode)
                del _children[pid]
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


def cluster():
    """The Ray cluster that workers are started on, None where they are processes of this machine (LAB_LAUNCHER)."""
    chosen = os.environ.get("LAB_LAUNCHER", "").strip()
    if chosen in ("", "process"):
        return None
    if chosen != "ray":
        raise Refusal(f"LAB_LAUNCHER must be process or ray, not {chosen[:40]!r}.", "LAB_LAUNCHER")
    from lab.runs.ray_launcher import Cluster
    return Cluster()


@lru_cache(maxsize=8)
def _queue_at(path: str, _database: str | None):
    from lab.runs.queue import Queue
    return Queue(Home(path))


def default():
    """The Queue of LAB_HOME and LAB_DATABASE_URL as they are now."""
    home = os.environ.get("LAB_HOME") or "lab-home"
    with suppress(FileNotFoundError):  # the folder that this was started in is gone: a Home says so
        home = home if home.startswith("~") else os.path.abspath(home)
    return _queue_at(home, os.environ.get("LAB_DATABASE_URL"))


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


class _Verb(type(sys)):
    """Makes `lab.runs.launch(document)` work although `lab.runs.launch` is this module."""

    def __call__(self, *args, **options):
        return self.launch(*args, **options)


with suppress(TypeError):
    sys.modules[__name__].__class__ = _Verb

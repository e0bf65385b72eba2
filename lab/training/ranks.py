"""The processes of a run over several devices: one for each, of which the first is the worker that the queue started.

    with Ranks(link, count):       # rank 0 starts ranks 1, 2, ... and becomes one of them by its own environment
        train(...)

Only rank 0 knows the store: it claims the run, has its heartbeat, hears "stop" and tells the end; the others get the spec through a private folder, and
write into the same log. They meet through a file in that folder, so that no port is opened for it, and gloo and NCCL talk over the loopback.
A stop is agreed upon between two steps, so SIGTERM is nothing to the others (it is blocked before they begin). They end with their parent, however it ends; and
where one of them ends before its time, a thread of rank 0 ends the run with the reason, since rank 0 may wait in a collective for ever.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lab.design.plain import installed
from lab.design.plain.message import Message, listed, unpacked
from lab.runs import logs
from lab.runs.records import CANCELLED

if TYPE_CHECKING:
    from lab.runs import WorkerLink

MEETING = "LAB_MEETING"  # the file by which the processes of a run find each other
SEEN = 0.2  # seconds between two looks at the others
FAREWELL = 30.0  # seconds that the others have to end after the first
FOLLOWER = (sys.executable, "-m", "lab.training.follower")  # the folder and this process's pid are added
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class Ranks:
    """The other processes of one run. `link`: of the run; `count`: of all processes, this one included. With 1 there is nothing to do."""

    def __init__(self, link: WorkerLink, count: int):
        self.link, self.count = link, count
        self.children: list[subprocess.Popen] = []
        self._telling = threading.Lock()  # whoever tells the end has it
        self._done = threading.Event()
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> Ranks:
        if self.count > 1:
            self.folder = Path(tempfile.mkdtemp(prefix="lab-ranks-"))  # for this user alone
            run = {"spec": self.link.run.spec, "run": self.link.run.id, "folder": os.path.realpath(self.link.run_dir), "cache": str(self.link.home.cache)}
            (self.folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
            self._set(self._environment(0))
            with _without_sigterm():
                self.children = [self._start(rank) for rank in range(1, self.count)]
            threading.Thread(target=self._watch, name="ranks", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.count == 1:
            return
        if error is not None:
            self._give_way()
        self._done.set()
        until = time.monotonic() + (FAREWELL if error is None else 0.0)
        for child in self.children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, until - time.monotonic()))
        self._kill()
        leave()
        self._set(self._before)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _environment(self, rank: int) -> dict[str, str]:
        own = {name: str(value) for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", self.count), ("LOCAL_WORLD_SIZE", self.count))}
        talk = {name: os.environ.get(name, LOOPBACK) for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
        return {**own, **talk, MEETING: str(self.folder / "meeting")}

    def _set(self, variables: Mapping[str, str | None]) -> None:
        self._before = {name: os.environ.get(name) for name in variables}
        for name, value in variables.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)

    def _start(self, rank: int) -> subprocess.Popen:
        environment = {**os.environ, **self._environment(rank), "PYTHONPATH": installed.python_path()}
        return subprocess.Popen([*FOLLOWER, str(self.folder), str(os.getpid())], stdin=subprocess.DEVNULL, env=environment)

    # -- watching

    def _watch(self) -> None:
        while not self._done.wait(SEEN):
            for rank, child in enumerate(self.children, 1):
                if child.poll():
                    self._lost(rank, child.returncode)

    def _lost(self, rank: int, code: int) -> None:
        """Tell why a process of the run ended, and end all others, this one too."""
        with self._telling:
            if self._done.is_set():
                return
            answer = self._told(rank)
            log = logs.tail(self.link.run_dir / "log.txt")
            which = {"number": rank + 1, "count": self.count}
            self._kill()
            if answer:
                self.link.fail(
                    answer["words"] if answer["known"] else Message("Process {number} of {count}: {reason}", **which, reason=answer["words"]),
                    advice=answer["words"] if answer["known"] else logs.advise(answer["words"]),
                )
            else:
                again = Message("Resume goes on from its last checkpoint, if it had left one.")
                advice = listed(filter(None, (logs.advise(log[-2000:], code), again)), " ")
                self.link.finish(
                    CANCELLED, error=Message("Process {number} of {count} {how}.", **which, how=logs.exit_words(code)), advice=advice, exit_code=1, log_tail=log
                )
            shutil.rmtree(self.folder, ignore_errors=True)
            os._exit(1)  # the main thread may wait for that process for ever

    def _told(self, rank: int) -> dict[str, Any] | None:
        try:
            return unpacked(json.loads((self.folder / f"failed-{rank}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def _give_way(self) -> None:
        """This process failed: where another did so first, which is then the reason, its end is told and not this one's. Takes the word for good."""
        until = time.monotonic() + 3.0
        while time.monotonic() < until and not any(child.poll() for child in self.children):
            time.sleep(SEEN / 4)
        time.sleep(2 * SEEN if any(child.poll() for child in self.children) else 0.0)
        self._telling.acquire()

    def _kill(self) -> None:
        for child in self.children:
            with suppress(OSError):
                child.kill()
            with suppress(subprocess.TimeoutExpired):
                child.wait(2.0)


@contextmanager
def _without_sigterm() -> Iterator[None]:
    """Processes that start meanwhile never get SIGTERM, not even before their first line; this one gets it after."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave() -> None:
    """Leave the process group, where this process has come to be in one."""
    if "torch" in sys.modules:
        import torch

        with suppress(Exception):  # the others may be gone already
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()

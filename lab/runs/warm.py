"""Warm starts: a fork server (fork_server.py) kept beside who starts several runs, the app, a terminal that waits for a sweep or a notebook, so that a
worker begins with everything imported. One for this process, for one command; without one, or where anything about it does not suit a run, workers start cold.

A server is started some seconds after it is wanted and never while a run waits for it, serves only runs whose surroundings (environment
but for what is a run's own, umask, priority, limits, ignored signals) are those that it was started with, and goes after LAB_WARM minutes without a run.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

from lab.design.plain import plugins
from lab.design.plain.refusal import Refusal
from lab.runs import processes
from lab.runs.fork_server import LARGEST, OF_A_RUN, ROOM, STILL
from lab.runs.launcher import COMMAND
from lab.runs.processes import TOKEN, Identity

IMPORTS: dict[tuple[str, ...], str] = {COMMAND[1:]: "lab.training.preload:everything"}  # command: what imports its imports
MINUTES = 10.0  # LAB_WARM
LEAST = 2 * 2**30  # bytes of memory that must be free for a server
LATER = 15.0  # seconds after a cold start in which that run has the processor for its own imports
ANSWER = 10.0  # seconds for a fork
RESTORED = sum(1 << getattr(signal, name) - 1 for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name))  # signals that subprocess never has a child ignore


class Forked:
    """A worker that a server forked; to be asked as a Popen is. `lost`: it is over, and nobody knows how, since the server ended before it."""

    def __init__(self, server: ForkServer, identity: Identity):
        self.server, self.identity, self.pid = server, identity, identity.pid
        self.returncode: int | None = None
        self.lost = False

    def poll(self) -> int | None:
        """The exit code, None while it runs or is lost."""
        if self.returncode is None and not self.lost:
            self.server.hear()
            if self.returncode is None and self.server.gone:
                me = self.identity
                self.lost = not processes.is_alive(me.pid, me.mark, me.pid_create_time)
        return self.returncode


class ForkServer:
    """A fork server for `command` with this environment, starting from now on."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], idle: float):
        self.command, self.suits = list(command), (dict(environment), _inherited())
        self.ready = self.gone = False
        self.problem = ""
        self._children: dict[int, Forked] = {}
        self._lock = threading.RLock()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            given = [str(theirs.fileno()), IMPORTS.get(tuple(command[1:]), ""), str(idle), " " * (ROOM + len(os.fsencode("".join(command))))]
            own = {name: value for name, value in environment.items() if name not in OF_A_RUN}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lab.runs.fork_server", *given],
                cwd=os.sep,
                env={**own, **STILL, TOKEN: "-" * ROOM},  # last, so that a shorter one may take its place
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def suited(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Whether a run of that command and environment may be forked from it."""
        mine, theirs = ({name: value for name, value in each.items() if name not in OF_A_RUN} for each in (self.suits[0], environment))
        return list(command) == self.command and mine == theirs and self.suits[1] == _inherited()

    def fork(self, run_id: str, greeting: str, environment: Mapping[str, str], log: IO[bytes], folder: int) -> Forked | None:
        """Have it start the worker of a run; None where it does not, or not in time. `folder`: an open handle; `greeting`: the worker's first words."""
        variables = {name: value for name, value in environment.items() if name in OF_A_RUN}
        request = {"arguments": [*self.command[1:], run_id], "variables": variables, "greeting": greeting}
        with self._lock:
            self.hear()
            if not self.ready or not self._ask(request, log.fileno(), folder):
                return None
            until = time.monotonic() + ANSWER
            while message := self._message(until - time.monotonic()):
                if "started" in message:
                    child = Forked(self, Identity(**message["started"]))
                    self._children[child.pid] = child
                    return child
                self._heard(message)
                if "refused" in message:
                    return None
            self.close()
            return None

    def hear(self, seconds: float = 0.0) -> None:
        """Take what it says; the first message may be waited for."""
        with self._lock:
            while message := self._message(seconds):
                self._heard(message)
                seconds = 0.0

    def retire(self) -> None:
        """Have it end with its last worker, whose exit code is told until then."""
        with self._lock:
            self.ready = False
            self._ask({"retire": True}) if self._children else self.close()

    def close(self) -> None:
        """End it. Its workers go on."""
        with self._lock:
            self.gone, self.ready = True, False
            self._line.close()
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()

    def _ask(self, request: Mapping[str, Any], *files: int) -> bool:
        try:
            self._line.settimeout(ANSWER)
            socket.send_fds(self._line, [json.dumps(request).encode()], list(files))
            return True
        except OSError:
            self.close()
            return False

    def _message(self, seconds: float) -> dict[str, Any] | None:
        if self.gone:
            return None
        try:
            self._line.settimeout(max(0.0, seconds))
            data = self._line.recv(LARGEST)
        except (TimeoutError, BlockingIOError):
            return None
        except OSError:
            data = b""
        if not data:
            self.close()
            return None
        return json.loads(data)

    def _heard(self, message: Mapping[str, Any]) -> None:
        if "ended" in message:
            if child := self._children.pop(message["ended"], None):
                child.returncode = message["code"]
        elif "ready" in message:
            self.ready = True
        else:
            self.ready, self.problem = False, message.get("unfit") or message.get("refused") or ""


def _inherited() -> tuple:
    """What a process takes over from the one that starts it, besides its environment."""
    import resource

    limits = tuple(resource.getrlimit(getattr(resource, name)) for name in sorted(dir(resource)) if name.startswith("RLIMIT_"))
    with open("/proc/thread-self/status", encoding="utf-8", errors="replace") as status:
        facts = dict(line.split(":", 1) for line in status)
    signals = int(facts.get("SigBlk", "0"), 16), int(facts.get("SigIgn", "0"), 16) & ~RESTORED
    return limits, facts.get("Umask"), signals, os.getpriority(os.PRIO_PROCESS, 0), tuple(sorted(os.sched_getaffinity(0)))


class Warmth:
    """The server of this process, where one is wanted."""

    def __init__(self) -> None:
        self.server: ForkServer | None = None
        self._command: list[str] = []
        self._starts = 0
        self._due = math.inf  # when to start one, on the monotonic clock
        self._lock = threading.RLock()

    def want(self, command: Sequence[str], after: float = 0.0) -> None:
        """Keep a server for that command, from `after` seconds on; none where LAB_WARM is 0. Refusal: LAB_WARM is no number."""
        with self._lock:
            if wanted():
                self._command, self._due = list(command), time.monotonic() + after
            else:
                self._command, self._due = [], math.inf
                self.leave()

    def tend(self, environment: Mapping[str, str]) -> None:
        """Start the server where it is due. `environment`: that of workers now."""
        with self._lock:
            if self.server is not None:
                self.server.hear()
                if self.server.gone:
                    self.server = None
            if time.monotonic() < self._due:
                return
            self._due = math.inf
            if self.server is not None and self.server.suited(self._command, environment):
                return
            self.leave()
            if wanted() and psutil.virtual_memory().available >= LEAST:
                with suppress(OSError):
                    self.server = ForkServer(self._command, environment, 60 * minutes())

    def wait(self, seconds: float) -> bool:
        """Whether the server is ready, or gets ready within that time."""
        until = time.monotonic() + seconds
        while (server := self.server) is not None and not (server.ready or server.gone or server.problem) and time.monotonic() < until:
            server.hear(0.05)
        return server is not None and server.ready

    def fork(self, command: Sequence[str], run_id: str, greeting: str, environment: Mapping[str, str], log: IO[bytes], folder: Path) -> Forked | None:
        """The worker of a run, forked; None where it must be started cold. Then a server is wanted anew, if one ever was, unless it cannot be had."""
        with self._lock:
            self._starts += 1
            with suppress(Refusal):  # who looks at LAB_WARM before says so
                if not self._command and self._starts > 1 and wanted():  # a script or notebook that starts one after another
                    self.want(command, LATER)
                    return None
            if list(command) != self._command:
                return None
            server = self.server
            if server is not None and server.suited(command, environment):
                if server.problem:  # it could never fork here
                    return None
                handle = os.open(folder, os.O_RDONLY)
                try:
                    if child := server.fork(run_id, greeting, environment, log, handle):
                        return child
                finally:
                    os.close(handle)
                if not server.gone and not server.problem:
                    return None  # it still imports
                processes.kill(environment[TOKEN])  # it may have forked, and not lived to say so
            self.leave()
            self._due = time.monotonic() + LATER
            return None

    def leave(self) -> None:
        """Go without the server, if there is one; what it has forked goes on."""
        with self._lock:
            server, self.server = self.server, None
            if server is not None:
                server.retire()


def wanted() -> bool:
    """Whether workers may start warm at all: on Linux (elsewhere a fork of a process with so many libraries is not safe), and without plug-ins of
    LAB_HOME, which every worker reads anew. Refusal: LAB_WARM is no number."""
    return minutes() > 0 and sys.platform == "linux" and os.environ.get(plugins.SWITCH) != "1"


def minutes() -> float:
    """LAB_WARM: how many minutes a server is kept without a run, 0 for none. Refusal: it is no number from 0 to 1440."""
    given = os.environ.get("LAB_WARM", "").strip()
    try:
        found = float(given or MINUTES)
    except ValueError:
        found = math.nan
    if not 0 <= found <= 1440:
        raise Refusal("LAB_WARM must be a number of minutes from 0 to 1440, not {given}.", "LAB_WARM", given=repr(given[:20]))
    return found

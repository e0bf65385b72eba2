"""Which process is which: identities that survive pid reuse, clock jumps and other machines, and signals that hit nobody else.

A pid is reused, and on Linux the creation time that psutil gives moves when somebody sets the clock. So a process is
known by its pid together with `mark` (its start in clock ticks since boot, which never changes) and `place` (boot and pid
namespace: where that pid means anything; a host's name may change, and two may have the same). On other systems `mark` is None and the creation time is compared.

A worker is started with LAB_RUN_TOKEN in its environment; its children inherit it, also those that begin a session of
their own (torchrun's do). Only processes that carry the token, or share the session of one that does, are ever signalled. It names the lab
too, so a copy of a LAB_HOME, which has the same runs, has other tokens.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

TOKEN = "LAB_RUN_TOKEN"
HAS_SESSIONS = hasattr(os, "getsid")
ASKS = os.name != "nt"  # SIGTERM asks a process to end; on Windows it ends it at once


@dataclass(frozen=True)
class Identity:
    """One process among all that ever were. `pid_create_time`: seconds since 1970, for people and for systems without /proc."""

    pid: int
    pid_create_time: float
    mark: str | None
    place: str
    host: str


def identity(pid: int | None = None) -> Identity:
    """The identity of a process of this machine, by default of this one. Raises psutil.NoSuchProcess."""
    pid = pid or os.getpid()
    created = psutil.Process(pid).create_time()
    seen = _stat(pid)
    return Identity(pid, created, seen[1] if seen else None, place(), socket.gethostname())


def place() -> str:
    """Where this process's pids mean something: boot and pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def is_alive(pid: int | None, mark: str | None, created: float | None) -> bool:
    """Whether the process of that identity runs here. A zombie does not; nor does another process that got the same pid."""
    if not pid or pid <= 0:
        return False
    if mark is not None:
        seen = _stat(pid)
        return seen is not None and seen[0] not in "ZX" and seen[1] == mark
    try:
        process = psutil.Process(pid)
        same = created is None or abs(process.create_time() - created) < 2.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _stat(pid: int) -> tuple[str, str] | None:
    """(state letter, start in ticks since boot) from /proc, None where there is no such process or no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], fields[19]


def exit_code_of_zombie(pid: int | None, mark: str | None) -> int | None:
    """The exit code (negative: a signal) of an ended process that its parent has not collected; None elsewhere than on Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return os.waitstatus_to_exitcode(int(fields[49])) if fields[0] == "Z" and fields[19] == mark else None
    except (OSError, ValueError, IndexError):
        return None


def token(run_id: str, attempt: int, lab: str) -> str:
    """What the processes of one attempt of a run carry in their environment. `lab`: `Store.identity`."""
    return f"{run_id}-{attempt}@{lab}"


def carries_another(pid: int | None, run_token: str) -> bool:
    """Whether a process was started for another attempt or lab. One without a token (it claimed its run by itself) was not."""
    try:
        found = psutil.Process(pid).environ().get(TOKEN)
    except (psutil.Error, OSError, ValueError):
        return False
    return found is not None and "@" in found and found != run_token


def members(run_token: str) -> list[psutil.Process]:
    """The living processes of a run: those with its token, and those in a session that one with the token leads; without sessions (Windows), its descendants."""
    found, sessions, others = [], set(), []
    for process in _processes():
        try:
            if process.environ().get(TOKEN) == run_token:
                found.append(process)
                if HAS_SESSIONS and os.getsid(process.pid) == process.pid:
                    sessions.add(process.pid)
            else:
                others.append(process)
        except (psutil.Error, OSError):
            continue
    if not HAS_SESSIONS:
        known = {process.pid for process in found}
        return [*found, *(below for process in found for below in _below(process) if below.pid not in known)]
    for process in others if sessions else ():
        try:
            if os.getsid(process.pid) in sessions:
                found.append(process)
        except OSError:
            continue
    return found


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _processes() -> Iterator[psutil.Process]:
    me = os.getpid()
    for process in psutil.process_iter():
        try:
            if process.pid != me and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.Error:
            continue


def send(run_token: str, number: int) -> int:
    """Signal every process of a run; how many were reached. psutil checks before each that the pid is still the same one."""
    reached = 0
    for process in members(run_token):
        try:
            process.send_signal(number)
            reached += 1
        except (psutil.Error, OSError):
            continue
    return reached


def kill(run_token: str, seconds: float = 2.0) -> bool:
    """SIGKILL every process of a run, again for any that it started meanwhile; whether none is left."""
    until = time.monotonic() + seconds
    while True:
        if not send(run_token, getattr(signal, "SIGKILL", signal.SIGTERM)):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.05)

"""A process that has imported what a worker imports, and forks workers: `python -m lab.runs.fork_server` (lab.runs.warm starts it and asks).

    launcher ── socketpair: start this run (log and folder as open files) ──> fork server ── fork ──> worker, in a session of its own
             <── its identity; later its exit code ─────────────────────────

It has one thread, touches no accelerator and multiplies nothing before it forks, so a child finds every lock open, and makes its own
threads and device contexts; it proves that with a child on trial before it says that it is ready, and looks again before every fork.
Where it cannot, or its code has changed on the disk since, it says so and a worker is started in the ordinary way. The child becomes what
that would have become: session, folder, log, environment, random state, and what others see of it (`processes` knows a worker by LAB_RUN_TOKEN).
It ends with the process that started it, or after `idle` seconds in which no worker of its runs; workers go on.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from lab.design.plain.installed import ROOT
from lab.runs.processes import TOKEN, identity

LARGEST = 1 << 17  # bytes of a message
ROOM = 96  # letters kept free in its environment for a worker's token, and in its command line
STILL = {  # variables of the server alone, by which libraries begin nothing when they are imported
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # torch asks the driver's library whether there is a device
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # Arrow, which pandas imports, has no thread that clears up
}
OF_A_RUN = {"LAB_HOME", "LAB_DATABASE_URL", "LAB_RUN_ID", "LAB_RUN_ATTEMPT", TOKEN, "CUDA_VISIBLE_DEVICES", *STILL}  # variables that a run has of its own


def main(arguments: list[str]) -> None:
    """`arguments`: the socket's number, module:function that imports what workers need ('' for none), seconds of idleness; what follows is room."""
    line = socket.socket(fileno=int(arguments[0]))
    os.set_inheritable(line.fileno(), False)
    stamp = code_stamp()
    if arguments[1]:
        pkgutil.resolve_name(arguments[1])()
    gc.collect()
    gc.freeze()  # what is there now is never looked through again, so it stays shared with the workers
    problem = unfit()
    say(line, {"unfit": problem} if problem else {"ready": True})
    if problem:
        _leave(line)
    run(Server(line, stamp, float(arguments[2])).serve())


class Server:
    """The loop of the process. `serve` returns in a child, with what it is to run."""

    def __init__(self, line: socket.socket, stamp: list, idle: float):
        self.line, self.stamp, self.idle = line, stamp, idle
        self.workers: set[int] = set()
        self.bell, self.ring = os.pipe()
        for end in (self.bell, self.ring):
            os.set_blocking(end, False)

    def serve(self) -> list[str]:
        """Answer requests, and tell the ends of workers, until nobody asks any more: then this process ends here."""
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.ring, warn_on_full_buffer=False)
        poll = select.poll()
        for source in (self.line.fileno(), self.bell):
            poll.register(source, select.POLLIN)
        while True:
            ready = dict(poll.poll(None if self.workers else 1000 * self.idle))
            if not ready:
                _leave(self.line)
            if self.bell in ready:
                os.read(self.bell, 4096)
                self.reap()
            if self.line.fileno() in ready:
                data, files, _, _ = socket.recv_fds(self.line, LARGEST, 2)
                if not data:  # who started it is gone
                    os._exit(0)
                request = json.loads(data)
                if "retire" in request:
                    self.idle = 0.0
                elif self.start(request, *files):
                    return request["arguments"]
                for each in files:
                    os.close(each)

    def reap(self) -> None:
        """Collect the workers that have ended, and tell their exit codes."""
        for pid in list(self.workers):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                self.workers.remove(pid)
                say(self.line, {"ended": pid, "code": os.waitstatus_to_exitcode(status)})

    def start(self, request: dict[str, Any], log: int, folder: int) -> bool:
        """Fork; true in the child, once it is what it is to be. The parent tells who that is, or why it did not fork (and then ends with its last worker)."""
        if problem := threads() or ("" if code_stamp() == self.stamp else "its code has changed on the disk"):
            say(self.line, {"refused": problem})
            self.idle = 0.0
            return False
        became, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(became)
            self.become(request, log, folder)
            os.write(tell, b"1")
            os.close(tell)
            return True
        os.close(tell)
        there = os.read(became, 1)
        os.close(became)
        if there:
            self.workers.add(pid)
            say(self.line, {"started": asdict(identity(pid))})  # nobody else collects it, so it has one
        else:
            os.waitpid(pid, 0)
            say(self.line, {"refused": "its child died"})
        return False

    def become(self, request: dict[str, Any], log: int, folder: int) -> None:
        """Turn this child into the worker of a run: nothing of the server is left but what it has imported."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.fchdir(folder)
        for stream in (1, 2):  # its standard input is the server's: nothing
            os.dup2(log, stream)
        os.write(log, request["greeting"].encode())
        for each in (log, folder, self.bell, self.ring):
            os.close(each)
        self.line.close()
        label([sys.executable, *request["arguments"]], request["variables"][TOKEN])
        environment = {name: value for name, value in os.environ.items() if name not in OF_A_RUN} | request["variables"]
        os.environ.clear()
        os.environ.update(environment)
        if numpy := sys.modules.get("numpy"):  # Python's own generator is seeded anew by the fork, and torch's first seed is a constant
            numpy.random.seed()


def run(arguments: list[str]) -> None:
    """What Python does with these arguments: `-m MODULE ...`, or a file and its own."""
    of_module = arguments[0] == "-m"
    name, *rest = arguments[1:] if of_module else arguments
    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd() if of_module else os.path.dirname(os.path.abspath(name))
    sys.argv = [name, *rest]
    runpy.run_module(name, run_name="__main__", alter_sys=True) if of_module else runpy.run_path(name, run_name="__main__")


def unfit() -> str:
    """Why this process cannot fork workers, '' where it can: a child of it tries what a worker's child needs.

    (A first fork also ends the threads of numpy's OpenBLAS, which starts them anew where it multiplies.)
    """
    pid = os.fork()
    if pid == 0:
        os._exit(_trial())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    why = {0: "", 1: "an accelerator is in use in it", 2: "the system does not let a process say whose it is"}
    return why.get(code, f"its child ended with exit code {code}") or threads()


def _trial() -> int:
    try:
        cuda = getattr(sys.modules.get("torch"), "cuda", None)
        if cuda is not None and (cuda.is_initialized() or cuda._is_in_bad_fork()):
            return 1
        given = "x" * (ROOM // 2)
        label([sys.executable, "-m", "trial"], given)
        variables, command = (Path(f"/proc/self/{name}").read_bytes().rstrip(b"\0").split(b"\0") for name in ("environ", "cmdline"))
        return 0 if f"{TOKEN}={given}".encode() in variables and command[1:] == [b"-m", b"trial"] else 2
    except BaseException:
        return 3


def threads() -> str:
    """'' while this process has one thread, else a sentence's end: locks that others hold stay shut in a child."""
    count = len(os.listdir("/proc/self/task"))
    return "" if count == 1 else f"it has {count} threads"


def label(arguments: list[str], token: str) -> None:
    """Write a command line and LAB_RUN_TOKEN where the system shows them of this process (/proc/.../cmdline and environ), in the place of the old ones.

    Both must fit: the server was started with room for them, the token last in its environment.
    """
    fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    first, last, environ_first, environ_last = map(int, fields[45:49])
    before = Path("/proc/self/environ").read_bytes().find(f"{TOKEN}=".encode())
    if before < 0:
        raise OSError(f"there is no room for {TOKEN}")
    _write(first, last, b"\0".join(os.fsencode(each) for each in arguments))
    _write(environ_first + before + len(TOKEN) + 1, environ_last, token.encode())


def _write(first: int, last: int, text: bytes) -> None:
    if len(text) >= last - first:
        raise OSError("there is no room for a worker's name")
    ctypes.memmove(first, text.ljust(last - first, b"\0"), last - first)


def code_stamp() -> list[tuple[str, int, int]]:
    """What changes where the lab's code, or what is installed beside it, changes on the disk."""
    checkout = {ROOT} - {path for path in map(Path, sys.path) if path.name in ("site-packages", "dist-packages")}  # where people write beside the lab
    folders = {path for path in map(Path, sys.path[1:]) if path.is_dir()} - checkout
    files = [*sorted((ROOT / "lab").rglob("*.py")), *sorted(folders)]
    return [(str(path), (facts := path.stat()).st_mtime_ns, facts.st_size) for path in files]


def say(line: socket.socket, document: dict[str, Any]) -> None:
    """Send a message; this process ends where nobody takes it."""
    try:
        line.send(json.dumps(document).encode())
    except OSError:
        os._exit(0)


def _leave(line: socket.socket) -> NoReturn:
    line.close()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])

"""A child process that answers requests, one JSON document a line, on its standard input and output. Torch-free: the child has the torch.

    child = Child("lab.planning.serve", start=120, answer=120)
    child.ask({"request": {...}})              # the answer to this very question; a child that died is started again, once
    child.close()

    serve(answer, "It could not be read ({kind}: {reason}).")  # the other side: what the child's module runs

A child may say meanwhile what it does: phase("loading"), {"id": 3, "phase": "loading"}. Questions are numbered ("id"), so that an answer that comes too late is never taken for another's. A child says {"id": 0, "ready": true}
when it is there. It answers one question at a time, within limits on time and memory: what strangers wrote is read here and nowhere else.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, Queue
from typing import Any

from lab.design.plain import installed
from lab.design.plain.message import Message, packed, unpacked
from lab.design.plain.refusal import Refusal

GIB = 1024**3
LOOK_SECONDS = 0.1  # between two looks at a child's memory
SECRET = ("LAB_AUTH", "LAB_DATABASE_URL")  # no child has them but one that opens the store


def memory_limit(most: float = 8 * GIB) -> int:
    """Bytes that a child may take: half of this machine's memory, at most `most`."""
    import psutil

    return int(min(most, psutil.virtual_memory().total / 2))


class Exceeded(Refusal):
    """An answer that took more time or memory than it may."""


class Overtaken(Refusal):
    """A question that nobody wanted any more when its turn came."""


class Child:
    """At most one process at a time, started with the first question. Threads may share one: they are answered one after another.

    `command`: a module of this lab, or a whole argument list. `start`, `answer`: seconds to wait. `late`, `died`: what a Refusal says of
    an answer that does not come, {seconds} filled in, and of a process that ended twice. `memory`: bytes that it may take for an answer, and
    `large`, what is said of one that takes more, {gb} filled in. `idle`: seconds without a question after which the process is let go; None: never.
    `store`: whether it opens the store and so is told the database's address. `environment`: more variables. `field` is the Refusal's.
    """

    def __init__(self, command: str | Sequence[str], *, start: float, answer: float, late: str, died: str, field: str = "", memory: int | None = None,
                 large: str = "", idle: float | None = None, store: bool = False, environment: Mapping[str, str] | None = None):  # fmt: skip
        self.command = [sys.executable, "-m", command] if isinstance(command, str) else list(command)
        self.start, self.answer, self.late, self.died, self.field = start, answer, late, died, field
        self.memory, self.large, self.idle, self.store = memory, large, idle, store
        self.environment = dict(environment or {})
        self.process: subprocess.Popen | None = None
        self._replies: Queue[dict | None] = Queue()
        self._number, self._asking = 0, False
        self._question: Mapping[str, Any] = {}
        self._phase = ""
        self._turn = threading.Lock()
        self._timer: threading.Timer | None = None
        atexit.register(self.close)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def phase(self, question: Mapping[str, Any]) -> str:
        """What goes on for this very question (the object that was given to `ask`): waiting for its turn, starting the process, or what the child says."""
        return self._phase or "answering" if self._question is question else "waiting"

    def ask(
        self, question: Mapping[str, Any], seconds: float | None = None, memory: int | None = None, wanted: Callable[[], bool] = lambda: True
    ) -> dict[str, Any]:
        """The answer to {"id": number, **question}. Raises Refusal: the child's own, or that none comes in time or in memory, or that the process ends twice.

        `seconds`, `memory`: other limits for this question. `wanted`: asked when its turn has come; Overtaken where it says no.
        """
        with self._turn:
            if not wanted():
                raise Overtaken("A newer question was asked.", self.field)
            if self._timer:
                self._timer.cancel()
            try:
                self._asking, self._question, self._phase = True, question, "" if self.running else "starting"
                reply = self._asked(question, seconds or self.answer, memory or self.memory)
            finally:
                self._asking, self._question = False, {}
                if self.idle is not None:
                    self._timer = threading.Timer(self.idle, self._let_go)
                    self._timer.daemon = True
                    self._timer.start()
        if "refusal" in reply:
            raise Refusal(reply["refusal"]["sentence"], reply["refusal"]["field"])
        return reply

    def _asked(self, question: Mapping[str, Any], seconds: float, memory: int | None) -> dict[str, Any]:
        for _ in range(2):
            try:
                process = self.alive()
                self._number += 1
                process.stdin.write(json.dumps({**question, "id": self._number}, default=str) + "\n")
                process.stdin.flush()
                return self._wait(self._number, seconds, memory)
            except (EOFError, OSError):
                self.close()
        raise Refusal(self.died, self.field)

    def taken(self) -> int:
        """Bytes of memory of the process, 0 where there is none."""
        import psutil

        try:
            return psutil.Process(self.process.pid).memory_info().rss if self.running else 0
        except psutil.Error:
            return 0

    def alive(self) -> subprocess.Popen:
        """The process, started if need be and ready. Raises Refusal where it is not ready in time, EOFError where it ends at once."""
        if self.running:
            return self.process
        kept = {name: value for name, value in os.environ.items() if name not in SECRET or self.store and name != "LAB_AUTH"}
        environment = {**kept, "OMP_NUM_THREADS": "1", "TMPDIR": tempfile.gettempdir(), "PYTHONPATH": installed.python_path(), **self.environment}
        self._replies, self._phase = Queue(), "starting"
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment)
        threading.Thread(target=_listen, args=(self.process, self._replies), daemon=True).start()
        self._wait(0, self.start)
        self._phase = ""
        return self.process

    def close(self) -> None:
        """End the process, if there is one: its input ends, and if that does not help it is killed."""
        if self._timer:
            self._timer.cancel()
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        try:
            process.stdin.close()
            process.wait(timeout=0 if self._asking else 5)  # who is busy does not see its input end
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()

    def _kill(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def _let_go(self) -> None:
        with self._turn:
            self.close()

    def _wait(self, number: int, seconds: float, memory: int | None = None) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while True:
            try:
                left = until - time.monotonic()
                reply = self._replies.get(timeout=max(0.0, min(LOOK_SECONDS, left) if memory else left))
            except Empty:
                if time.monotonic() >= until:
                    self._kill()
                    raise Exceeded(self.late, self.field, seconds=f"{seconds:g}") from None
                if self.taken() > memory:
                    self._kill()
                    raise Exceeded(self.large, self.field, gb=f"{memory / GIB:.1f}") from None
                continue
            if reply is None:
                raise EOFError
            if reply.get("id") == number and "phase" in reply:
                self._phase = str(reply["phase"])
            elif reply.get("id") == number:
                return reply


def _listen(process: subprocess.Popen, replies: Queue) -> None:
    for line in process.stdout:
        try:
            replies.put(unpacked(json.loads(line)))
        except ValueError:
            continue
    replies.put(None)


_say_phase: list[Callable[[str], None]] = []


def phase(word: str) -> None:
    """In a child: what is done now for the question that is being answered; whoever waits for it may look (`Child.phase`). Elsewhere nobody hears it."""
    for heard in _say_phase:
        heard(word)


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]], wrong: str, prepare: Callable[[], None] | None = None) -> None:
    """Answer questions until the input ends, or whoever asks has gone. `wrong`: what is said of an error that is nobody's refusal, {kind} and {reason} filled in.

    `prepare` imports what is slow to import before the child says that it is there. What libraries print goes to standard error.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches children too; they end with their input
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    if prepare:
        prepare()

    def say(document: Mapping[str, Any]) -> None:
        out.write(json.dumps(packed(document)) + "\n")
        out.flush()

    say({"id": 0, "ready": True})
    for line in sys.stdin:
        number = None
        try:
            question = json.loads(line)
            number = question.pop("id")
            _say_phase[:] = [lambda word, number=number: say({"id": number, "phase": word})]
            reply = answer(question)
        except Refusal as refusal:
            reply = {"refusal": {"sentence": refusal.sentence, "field": refusal.field}}
        except Exception as error:  # one bad question must not end the process
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            reply = {"refusal": {"sentence": Message(wrong, kind=type(error).__name__, reason=str(error)[:160]), "field": ""}}
        say({"id": number, **reply})


def end_with(parent: int) -> None:
    """End this process when its parent is gone; for a thread of a child that is too busy to see its input end."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

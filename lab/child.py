"""A child process that answers requests, one JSON document a line, on its standard input and output. Torch-free: the child has the torch.

    child = Child("lab.planning.serve", start=120, answer=120)
    child.ask({"request": {...}})              # the answer to this very question; a child that died is started again, once
    child.close()

Questions are numbered ("id"), so that an answer that comes too late is never taken for another's. A child says {"id": 0, "ready": true}
when it is there. The caller sees to it that one question is asked at a time.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from lab.design.refusal import Refusal

ROOT = Path(__file__).resolve().parents[1]


class Child:
    """At most one process at a time, started with the first question.

    `command`: a module of this lab, or a whole argument list. `start`, `answer`: seconds to wait. `late`, `died`: what a Refusal says of
    an answer that does not come, {seconds} filled in, and of a process that ended twice. `environment`: more variables. `field` is the Refusal's.
    """

    def __init__(self, command: str | Sequence[str], *, start: float, answer: float, late: str, died: str, field: str = "",
                 environment: Mapping[str, str] | None = None):  # fmt: skip
        self.command = [sys.executable, "-m", command] if isinstance(command, str) else list(command)
        self.start, self.answer, self.late, self.died, self.field = start, answer, late, died, field
        self.environment = dict(environment or {})
        self.process: subprocess.Popen | None = None
        self._said: Queue[dict | None] = Queue()
        self._number = 0
        atexit.register(self.close)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def ask(self, question: Mapping[str, Any], seconds: float | None = None) -> dict[str, Any]:
        """The answer to {"id": number, **question}. Raises Refusal where none comes in time, or the process ends twice."""
        for _ in range(2):
            try:
                process = self.alive()
                self._number += 1
                process.stdin.write(json.dumps({**question, "id": self._number}, default=str) + "\n")
                process.stdin.flush()
                return self._wait(self._number, seconds or self.answer)
            except (EOFError, OSError):
                self.close()
        raise Refusal(self.died, self.field)

    def alive(self) -> subprocess.Popen:
        """The process, started if need be and ready. Raises Refusal where it is not ready in time, EOFError where it ends at once."""
        if self.running:
            return self.process
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **self.environment}
        self._said = Queue()
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment)
        threading.Thread(target=_listen, args=(self.process, self._said), daemon=True).start()
        self._wait(0, self.start)
        return self.process

    def close(self) -> None:
        """End the process, if there is one: its input ends, and if that does not help it is killed."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        try:
            process.stdin.close()
            process.wait(timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()

    def _wait(self, number: int, seconds: float) -> dict[str, Any]:
        while True:
            try:
                said = self._said.get(timeout=seconds)
            except Empty:
                self.close()
                raise Refusal(self.late.format(seconds=f"{seconds:g}"), self.field) from None
            if said is None:
                raise EOFError
            if said.get("id") == number:
                return said


def _listen(process: subprocess.Popen, said: Queue) -> None:
    for line in process.stdout:
        try:
            said.put(json.loads(line))
        except ValueError:
            continue
    said.put(None)

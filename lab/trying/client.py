"""Asks the child process that has the models. Torch-free; starts it with the first question and ends it when nobody asks any more."""

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

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "lab.trying.serve")
START_SECONDS, ANSWER_SECONDS, IDLE_SECONDS = 180, 180, 300


class TryClient:
    """One child at most; questions are answered one after another, from any thread.

    `idle`: seconds without a question after which the child and its models are let go.
    """

    def __init__(self, command: Sequence[str] = COMMAND, idle: float = IDLE_SECONDS):
        self.command, self.idle = list(command), idle
        self._lock = threading.Lock()
        self._child: subprocess.Popen | None = None
        self._said: Queue[dict | None] = Queue()
        self._timer: threading.Timer | None = None
        self._number = 0
        atexit.register(self.close)

    @property
    def running(self) -> bool:
        """Whether the child lives."""
        return self._child is not None and self._child.poll() is None

    def ask(self, request: Mapping[str, Any], seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """The child's answer. Raises Refusal: the child's own, or that it died twice or took too long."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            try:
                said = self._asked(request, seconds)
            finally:
                self._timer = threading.Timer(self.idle, self._let_go)
                self._timer.daemon = True
                self._timer.start()
        if "refusal" in said:
            raise Refusal(said["refusal"]["sentence"], said["refusal"]["field"])
        return said

    def close(self) -> None:
        """End the child, if there is one."""
        if self._timer:
            self._timer.cancel()
        child, self._child = self._child, None
        if child is None or child.poll() is not None:
            return
        try:
            child.stdin.close()
            child.wait(timeout=3)
        except (OSError, subprocess.TimeoutExpired):
            child.kill()
            child.wait()

    def _let_go(self) -> None:
        with self._lock:
            self.close()

    def _asked(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        for _ in range(2):
            try:
                child = self._alive()
                self._number += 1
                child.stdin.write(json.dumps({**request, "id": self._number}) + "\n")
                child.stdin.flush()
                return self._wait(self._number, seconds)
            except (EOFError, OSError):
                self.close()
        raise Refusal("The model's process ended without an answer, twice: there may be too little memory for this model.", "run")

    def _wait(self, number: int, seconds: float) -> dict[str, Any]:
        while True:
            try:
                said = self._said.get(timeout=seconds)
            except Empty:
                self.close()
                raise Refusal(f"The model gave no answer in {seconds:g} s; try a shorter text or a smaller model.", "run") from None
            if said is None:
                raise EOFError
            if said.get("id") == number:
                return said

    def _alive(self) -> subprocess.Popen:
        if self.running:
            return self._child
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
        self._said = Queue()
        self._child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment)
        threading.Thread(target=_listen, args=(self._child, self._said), daemon=True).start()
        self._wait(0, START_SECONDS)
        return self._child


def _listen(child: subprocess.Popen, said: Queue) -> None:
    for line in child.stdout:
        try:
            said.put(json.loads(line))
        except ValueError:
            continue
    said.put(None)

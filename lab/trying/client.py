"""Asks the child process that has the models. Torch-free; starts it with the first question and ends it when nobody asks any more."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from lab.child import Child
from lab.design.refusal import Refusal

COMMAND = "lab.trying.serve"
START_SECONDS, ANSWER_SECONDS, IDLE_SECONDS = 180, 180, 300


class TryClient:
    """One child at most; questions are answered one after another, from any thread.

    `idle`: seconds without a question after which the child and its models are let go.
    """

    def __init__(self, command: str | Sequence[str] = COMMAND, idle: float = IDLE_SECONDS):
        self.idle = idle
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._child = Child(command, start=START_SECONDS, answer=ANSWER_SECONDS, field="run", environment={"CUDA_VISIBLE_DEVICES": ""},
                            late="The model gave no answer in {seconds} s; try a shorter text or a smaller model.",
                            died="The model's process ended without an answer, twice: there may be too little memory for this model.")  # fmt: skip

    @property
    def running(self) -> bool:
        """Whether the child lives."""
        return self._child.running

    def ask(self, request: Mapping[str, Any], seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """The child's answer. Raises Refusal: the child's own, or that it died twice or took too long."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            try:
                said = self._child.ask(request, seconds)
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
        self._child.close()

    def _let_go(self) -> None:
        with self._lock:
            self.close()

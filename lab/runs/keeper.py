"""The thread that keeps a queue going."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from lab.design.plain.refusal import Refusal
from lab.runs.database import reason_of
from lab.runs.queue import Queue


class Keeper:
    """A daemon thread that reconciles a queue every `seconds` until `close`. What the app runs; harmless if several do."""

    def __init__(self, queue: Queue, seconds: float = 1.0):
        self.queue = queue
        self.trouble: str | None = None
        self._seconds = seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lab-keeper", daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        while not self._done.wait(self._seconds):
            try:
                self.queue.reconcile()
                self._tell(None)
            except (SQLAlchemyError, Refusal, OSError) as error:
                self._tell(reason_of(error, self.queue.store.database.file))

    def _tell(self, trouble: str | None) -> None:
        """Say once what is wrong, and once when it is over."""
        before, self.trouble = self.trouble, trouble
        if trouble != before:
            with suppress(OSError, ValueError, AttributeError):
                print(f"[lab] The queue stands still: {trouble}" if trouble else "[lab] The queue goes on.", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Stop reconciling; workers go on."""
        self._done.set()
        with suppress(RuntimeError):
            self._thread.join(timeout=5.0)

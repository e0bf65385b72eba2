"""The worker's line to the store: it claims the run, says that it lives, delivers metrics, hears 'stop', and tells the end.

One thread does the talking, about once a second and sooner when many rows wait: heartbeat, metric rows and progress in one
transaction whose answer is the run's state. Training never waits for the store. While the store is out of reach (locked, disk
full, server down) rows gather in memory, at most ROWS of them: then every second step is let go, so a curve becomes coarser
and never loses its shape; the log says so. The end is told twice, by a receipt in the run's folder (with the rows that the store has
not taken yet) and in the store, so that a run which finished is known to have finished even if the store could not be written.

The run's folder is opened once and held: `run_dir` leads into that very folder, also when LAB_HOME is moved while the run trains, and
only as long as this attempt is the run's last (files.Fence).

    with WorkerLink(run_id) as link:             # claims the run; from here on it is 'running'
        for step in range(1, total + 1):
            link.log(step, {"loss": ...}, total_steps=total)
            if link.stopping():
                break
        link.finish("cancelled" if link.stopping() else "succeeded", {"accuracy": ...})
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from lab.design.plain.message import Message, packed, unpacked
from lab.design.plain.refusal import Refusal
from lab.runs import logs, records
from lab.runs.database import StoreGone, reason_of
from lab.runs.files import Fence
from lab.runs.home import Home
from lab.runs.processes import identity
from lab.runs.store import Store

ROWS = 100_000  # most rows kept in memory
BATCH = 500  # rows that wake the thread before its time
INTERVAL = 1.0  # seconds between heartbeats
RECEIPT = "ended.json"
END_PATIENCE = 24 * 3600.0  # seconds that the end of a run is offered to a store that is out of reach, unless the system ends this process


class WorkerLink:
    """Claim the run `run_id` for this process and keep its line to the store open until `finish`, `fail` or `close`.

    `attempt`: which start of the run this is; taken from LAB_RUN_ATTEMPT, which the launcher sets; without it a queued run is
    claimed directly (training inside a notebook or a test). `interval`: seconds between heartbeats. Raises Refusal when
    the run is not waiting for this worker. Attributes: `run` (the Run as claimed), `run_dir` (where it writes), `store`, `home`.
    """

    def __init__(self, run_id: str, home: Home | None = None, store: Store | None = None, *, attempt: int | None = None, interval: float = INTERVAL):
        self.home = home or Home()
        self.store = store or Store(self.home.database_url)
        if attempt is None and os.environ.get("LAB_RUN_ID") == run_id and os.environ.get("LAB_RUN_ATTEMPT", "").isdigit():
            attempt = int(os.environ["LAB_RUN_ATTEMPT"])
        self._me = identity()
        if self.store.database.file is not None:
            self.store.database.file.follow = True
        self.run = self.store.claim(run_id, self._me, attempt)
        self._fence = Fence(self._held(), self.run.attempt)
        self.run_dir = self._fence.path
        self._interval = interval
        self._rows: list[tuple[int, str, float, float]] = []
        self._step: int | None = None
        self._total: int | None = None
        self._phase: tuple[str, float | None] | None = None
        self._lock, self._delivery = threading.Lock(), threading.Lock()
        self._wake, self._done = threading.Event(), threading.Event()
        self._stop = self._lost = self._ended = self._terminated = False
        self._trouble: str | None = None
        self._dropped = 0
        if attempt is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)
        self._thread = threading.Thread(target=self._talk, name="worker-link", daemon=True)
        self._thread.start()

    # -- while training

    def log(self, step: int, values: Mapping[str, float], *, total_steps: int | None = None) -> None:
        """Note metric values ({name: number}) of a step; never waits, never raises for what the store does.

        Names are cut to 200 printable letters; values that are no numbers are left out.
        """
        now, rows = time.time(), []
        for name, value in values.items():
            with suppress(TypeError, ValueError):
                name = "".join(c for c in str(name) if c.isprintable())[: records.METRIC_LETTERS]
                if name:
                    rows.append((int(step), name, float(value), now))
        with self._lock:
            self._rows += rows
            self._step = int(step)
            self._total = self._total if total_steps is None else int(total_steps)
            if len(self._rows) > ROWS:
                self._thin()
            full = len(self._rows) >= BATCH
        if full:
            self._wake.set()

    def progress(self, step: int, total_steps: int | None = None) -> None:
        """Say where the run is without a metric (after resuming from a checkpoint, or before the first step)."""
        self.log(step, {}, total_steps=total_steps)

    def phase(self, name: str, share: float | None = None) -> None:
        """Say what this worker is busy with (records.PHASES), and which part of it is done (0 to 1). Told with the next heartbeat."""
        with self._lock:
            self._phase = name, share

    def flush(self, patience: float = 5.0) -> bool:
        """Deliver every row now; whether the store has them and the run is still this worker's. To be called before a checkpoint is
        written, so that a run which resumes from it has no gap in its curves. While the store is known to be out of reach it is asked once."""
        try:
            self._deliver(0.0 if self._trouble else patience)
        except (SQLAlchemyError, Refusal) as problem:
            self._complain(problem)
            return False
        return not self._lost and self._fence.stands

    def stopping(self) -> bool:
        """Whether to end soon: a stop was asked for, the system ends this process, or the run is another worker's now."""
        return self._stop

    @property
    def lost(self) -> bool:
        """Whether the run was deleted or given to another worker: nothing written from here on is kept."""
        return self._lost

    @property
    def trouble(self) -> str | None:
        """Why the store could not be written just now, None when all is well."""
        return self._trouble

    # -- the end

    def finish(
        self,
        state: str = records.SUCCEEDED,
        result: Mapping | None = None,
        *,
        error: str | None = None,
        advice: str | None = None,
        exit_code: int | None = 0,
        log_tail: str | None = None,
        message: str = "",
    ) -> bool:
        """Tell the end, before any teardown: every row still in memory, then the state and `result` ({name: JSON value}).

        `state`: succeeded, cancelled (told as interrupted when nobody asked), failed or interrupted. False when the run was no
        longer this worker's. Raises SQLAlchemyError if the store stays out of reach for END_PATIENCE seconds.
        """
        if self._ended:
            return False
        self._ended = True
        self._close_thread()
        end: dict[str, Any] = {
            "state": state,
            "result": dict(result or {}),
            "error": error,
            "advice": advice,
            "exit_code": exit_code,
            "log_tail": log_tail,
            "message": message,
        }
        self._write_receipt(end)
        until, pause = time.monotonic() + END_PATIENCE, 0.5
        while True:
            try:
                self._deliver(patience=5.0)
                ended = self.store.finish(self.run.id, attempt=self.run.attempt, **end)
                self._fence.leave()
                return ended
            except (SQLAlchemyError, StoreGone) as problem:
                self._complain(problem)
                if time.monotonic() > until or self._terminated or isinstance(problem, StoreGone):
                    raise
                time.sleep(pause)
                pause = min(2 * pause, 10.0)

    def fail(self, error: str | BaseException, advice: str | None = None, exit_code: int = 1) -> bool:
        """Tell a failure: what happened, the exit code that this process will give, the last lines of the log, and advice."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        last = logs.tail(self.run_dir / "log.txt")
        words = _without(_words(error), f"{self.run_dir}{os.sep}")
        return self.finish(
            records.FAILED,
            error=words,
            advice=advice or logs.advise(f"{type(error).__name__}: {error}") or logs.advise(last, exit_code),
            exit_code=exit_code,
            log_tail=last,
        )

    def close(self) -> None:
        """Stop talking without telling an end (the run then counts as interrupted once this process is gone)."""
        self._ended = True
        self._close_thread()

    def __enter__(self) -> WorkerLink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._ended:
            return
        if error is None:
            self.finish(records.CANCELLED if self._stop else records.SUCCEEDED)
        elif isinstance(error, KeyboardInterrupt):
            self.finish(records.CANCELLED, message="Interrupted from the keyboard.")
        elif isinstance(error, SystemExit) and not error.code:
            self.finish(records.CANCELLED if self._stop else records.SUCCEEDED)
        else:
            self.fail(error)

    def terminated(self) -> None:
        """The system ends this process: stop soon, and wait for nobody."""
        self._stop = self._terminated = True

    # -- the thread

    def _talk(self) -> None:
        while not self._done.is_set():
            self._wake.wait(self._interval)
            self._wake.clear()
            try:
                self._deliver(patience=self._interval)
            except (SQLAlchemyError, Refusal) as problem:
                self._complain(problem)
                self._done.wait(self._interval)
            except Exception as problem:  # a bug here must end neither the thread nor the training
                self._complain(problem)

    def _deliver(self, patience: float) -> None:
        with self._delivery:
            self._hear(self._send(patience))

    def _send(self, patience: float) -> str | None:
        with self._lock:
            rows, self._rows = self._rows, []
            step, total = self._step, self._total
            phase, self._phase = self._phase, None
            self._step = None
        try:
            state = self.store.log(
                self.run.id, rows, attempt=self.run.attempt, step=step, patience=patience, total_steps=None if step is None else total, phase=phase
            )
        except BaseException:
            with self._lock:
                self._rows = rows + self._rows
                self._step = step if self._step is None else self._step
                self._phase = self._phase or phase
            raise
        if self._trouble:
            self._trouble = None
            self._say("The store can be written again" + (f"; {self._dropped} rows were let go." if self._dropped else "."))
        return state

    def _hear(self, state: str | None) -> None:
        """Act on the run's state as the store has it."""
        if state == records.INTERRUPTED and not self._ended:  # given up for dead, from another machine or after a long pause
            self.store.move(
                self.run.id,
                (records.INTERRUPTED,),
                records.RUNNING,
                "Its worker answers again.",
                in_attempt=self.run.attempt,
                ended=None,
                error=None,
                advice=None,
                log_tail=None,
                exit_code=None,
                **asdict(self._me),
            )
        elif state not in (records.RUNNING, records.INTERRUPTED):
            self._lost = self._lost or state != records.STOPPING
            self._stop = True

    def _thin(self) -> None:
        """Let go every second step of the older half of the rows in memory."""
        half = len(self._rows) // 2
        old, new = self._rows[:half], self._rows[half:]
        steps = {step: place for place, step in enumerate(sorted({row[0] for row in old}))}
        kept = [row for row in old if steps[row[0]] % 2 == 0] if len(steps) > 1 else []
        self._dropped += len(old) - len(kept)
        self._rows = kept + new

    def _close_thread(self) -> None:
        self._done.set()
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=30.0)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.terminated()

    def _held(self) -> Path:
        """The run's folder through an open handle, so that it stays the same folder whatever happens to its path."""
        folder = self.home.run_dir(self.run.id, create=True)
        self._facts = os.stat(folder)
        try:
            self._root, self._handle = (os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)) for path in (self.home.runs, folder))
        except PermissionError:  # Windows opens no folders: there it is known by its path
            self._root = self._handle = -1
            return folder
        for handle in (self._root, self._handle):
            weakref.finalize(self, os.close, handle)
        through = Path(f"/proc/self/fd/{self._handle}")
        return through if through.is_dir() else folder

    def at_home(self) -> bool:
        """Whether the folder that this worker writes into is still the run's, in the lab as it was opened."""
        try:
            if self._handle < 0:
                return os.path.samestat(self._facts, os.stat(self.home.run_dir(self.run.id)))
            return os.path.samestat(os.fstat(self._handle), os.stat(self.run.id, dir_fd=self._root))
        except OSError:
            return False

    def _complain(self, problem: Exception) -> None:
        words = reason_of(problem, self.store.database.file)
        if words != self._trouble:
            self._trouble = words
            self._say(f"The store cannot be written just now ({words}); training goes on and keeps its rows in memory.")

    @staticmethod
    def _say(sentence: str) -> None:
        with suppress(OSError, ValueError):
            print(f"[lab] {sentence}", file=sys.stderr, flush=True)

    def _write_receipt(self, end: dict) -> None:
        with self._lock:
            rows = [list(row) for row in self._rows]
        document = {**end, "attempt": self.run.attempt, "result": json.loads(records.result_text(end["result"])), "rows": rows}
        path = self.run_dir / RECEIPT
        try:
            with open(path.with_suffix(".part"), "w", encoding="utf-8") as file:
                json.dump(packed(document), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(path.with_suffix(".part"), path)
        except OSError as problem:
            self._complain(problem)


def read_receipt(run_dir: Path, attempt: int) -> dict | None:
    """The end that a worker told in its folder, as arguments of `Store.finish` and "rows" for `Store.log`; None if there is none of that attempt."""
    try:
        document = unpacked(json.loads((run_dir / RECEIPT).read_text(encoding="utf-8")))
        if document.pop("attempt") != attempt or document["state"] not in records.OVER:
            return None
        rows = document.get("rows") or []
        return {"rows": rows, **{key: document[key] for key in ("state", "result", "error", "advice", "exit_code", "log_tail", "message")}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _without(sentence: str, folder: str) -> str:
    """A sentence whose paths begin in the run's folder, not at the root."""
    if not isinstance(sentence, Message):
        return sentence.replace(folder, "")
    return Message(sentence.key, **{name: _without(value, folder) if isinstance(value, str) else value for name, value in sentence.values.items()})


def _words(error: str | BaseException) -> str:
    """One sentence for people; the kind of an exception and where it was raised stand in the log."""
    if isinstance(error, Refusal):
        return error.sentence
    if isinstance(error, str):
        return error if isinstance(error, Message) else error[:2000]
    first = str(error).strip().splitlines()[:1]
    reason = first[0][:500].rstrip(".") if first else Message("it gave no reason, see the end of the log")
    return Message("The training stopped at an error: {reason}.", reason=reason)

"""The mirror of one run: a process that reads its curves from the store and hands them to trackers, `python -m lab.tracking.mirror RUN`.

A run's worker starts it (`beside`), in a session of its own and without the run's token, so that whatever ends the run does not end it: it sees in
the store that the run is over, hands on what is left, and goes. How far each tracker has come is kept in the run's folder, so that a resumed run
goes on there. A tracker that fails says so once in the run's log.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from lab.design.plain import installed
from lab.design.plain.refusal import Refusal
from lab.runs import Run, Store, processes
from lab.runs.files import write_json
from lab.runs.home import Home
from lab.runs.records import RUNNING
from lab.tracking import FOLDER, require
from lab.tracking.base import About, CurveTracker, Row, config_of, summary_of
from lab.tracking.trackers import QUIET, TRACKERS, reason

SECONDS = 2.0  # between two looks
GONE = 15.0  # seconds after which a worker that is gone has been told of, too
WAIT = 600.0  # for the mirror of an earlier attempt
STATE = "state.json"
Say = Callable[[str], None]


class Mirror:
    """Hands a run's curves to trackers. `turn` passes on what is new and says whether the run is over; `close` ends what is open."""

    def __init__(self, store: Store, home: Home, run: Run, names: Sequence[str], say: Say):
        self._store, self._home, self._run, self._say = store, home, run, say
        self._folder = home.run_dir(run.id) / FOLDER
        self._folder.mkdir(exist_ok=True)
        self._state: dict[str, Any] = _read(self._folder / STATE)
        self._open: dict[str, CurveTracker] = {}
        for name in names:
            known = self._state.setdefault(name, {"sent": {}, "memory": {}})
            about = About(run.id, run.name, config_of(run.spec), self._folder, home.path, known["memory"])
            self._try(name, lambda name=name, about=about: self._begin(name, about))

    @property
    def idle(self) -> bool:
        """Whether no tracker is left to hand anything to."""
        return not self._open

    def turn(self) -> bool:
        """Raises Refusal where the run is not there any more."""
        run = self._store.get(self._run.id)  # before the rows: those of a run that is over are all there
        for name, tracker in list(self._open.items()):
            sent = self._state[name]["sent"]
            found = self._store.series(run.id, after=sent)
            rows = rows_of(found)
            if rows and self._try(name, lambda tracker=tracker, rows=rows: tracker.rows(rows)):
                sent |= {metric: int(steps[-1]) for metric, (steps, _, _) in found.items()}
        self._keep()
        mine, self._run = run.attempt == self._run.attempt, run
        return run.over or not mine

    def close(self) -> None:
        """Tell the trackers the run's state and final numbers."""
        run = self._run
        for name, tracker in list(self._open.items()):
            closed = not run.over or self._state[name].get("ended") == run.attempt
            summary = {} if closed else summary_of(run.result)
            if self._try(name, lambda tracker=tracker, summary=summary: tracker.end(run.state if run.over else RUNNING, summary)) and run.over:
                self._state[name]["ended"] = run.attempt
        self._keep()

    def _begin(self, name: str, about: About) -> None:
        tracker = TRACKERS[name]()
        tracker.begin(about)
        self._open[name] = tracker

    def _try(self, name: str, act: Callable[[], None]) -> bool:
        """Whether a tracker did it; one that did not is let go, and says so."""
        try:
            act()
            return True
        except Exception as error:
            self._open.pop(name, None)
            self._say(f"The tracker {name} shows no more of this run ({reason(error)}); the run goes on, and its curves are in the lab.")
            return False

    def _keep(self) -> None:
        with suppress(OSError):
            write_json(self._folder / STATE, self._state)


def rows_of(found: dict[str, Any]) -> list[Row]:
    """Curves (steps, values, times) as rows by step; a row has the time of its last value."""
    rows: dict[int, dict[str, float]] = {}
    times: dict[int, float] = {}
    for name, (steps, values, when) in found.items():
        for step, value, at in zip(steps.tolist(), values.tolist(), when.tolist(), strict=True):
            rows.setdefault(step, {})[name] = value
            times[step] = max(at, times.get(step, 0.0))
    return [(step, rows[step], times[step]) for step in sorted(rows)]


def follow(run: Run, names: Sequence[str], home: Home, store: Store, say: Say, wait: float = WAIT) -> None:
    """Hand on a run's curves until it is over, or until its worker is gone. Raises Refusal where another mirror of the run does not end."""
    (home.run_dir(run.id) / FOLDER).mkdir(exist_ok=True)
    try:
        lock = FileLock(home.run_dir(run.id) / FOLDER / ".lock").acquire(timeout=wait)
    except Timeout:
        raise Refusal("The curves of run {run} are being handed to trackers already: wait until that is over.", "run", run=run.id) from None
    with lock:
        mirror, gone = Mirror(store, home, run, names, say), 0.0
        try:
            while not mirror.idle:
                with suppress(SQLAlchemyError):  # the worker says so
                    if mirror.turn() or gone > GONE:
                        break
                time.sleep(SECONDS)
                gone = 0.0 if _worked_on(store, run.id) else gone + SECONDS
        finally:
            mirror.close()


def _worked_on(store: Store, run_id: str) -> bool:
    """Whether the run's worker lives, as far as can be told from here."""
    with suppress(SQLAlchemyError):
        run = store.get(run_id)
        return run.place != processes.place() or processes.is_alive(run.pid, run.mark, run.pid_create_time)
    return True


def beside(run: Run, home: Home, store: Store, say: Say) -> None:
    """Start the mirror of a run that its specification asks for, from its worker. Never raises: a run needs no tracker."""
    names = (run.spec.get("training") or {}).get("track") or []
    if not names:
        return
    given = {name: value for name, value in os.environ.items() if name != processes.TOKEN}
    given |= {"LAB_HOME": str(home.path), "LAB_DATABASE_URL": store.url, "PYTHONPATH": installed.python_path(), "CUDA_VISIBLE_DEVICES": ""}
    try:
        subprocess.Popen([sys.executable, "-m", "lab.tracking.mirror", run.id], stdin=subprocess.DEVNULL, cwd=home.path, env=given, start_new_session=True,
                         creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0))  # fmt: skip
    except OSError as error:
        say(f"The trackers {', '.join(names)} could not be started ({error.strerror}); the run goes on, and its curves are in the lab.")


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def main(run_id: str) -> int:
    """The process; its exit code."""
    with suppress(OSError, AttributeError):
        os.nice(10)
    os.environ |= {name: value for name, value in QUIET.items() if name not in os.environ}
    log = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")  # of the run; what libraries print goes into a file of theirs

    def say(sentence: str) -> None:
        with suppress(OSError, ValueError):
            print(f"[lab] {sentence}", file=log, flush=True)

    try:
        home = Home()
        store = Store(home.database_url)
        run = store.get(run_id)
        folder = home.run_dir(run.id) / FOLDER
        folder.mkdir(exist_ok=True)
        with open(folder / "log.txt", "ab") as noise:
            for number in (1, 2):
                os.dup2(noise.fileno(), number)
        names = run.spec["training"]["track"]
        there = []
        for name in names:
            try:
                require([name])
                there.append(name)
            except Refusal as refusal:
                say(f"{refusal.sentence} The run goes on, and its curves are in the lab.")
        if there:
            follow(run, there, home, store, say)
    except (Refusal, SQLAlchemyError, OSError) as error:
        say(f"The trackers of this run end ({reason(error)}); the run goes on, and its curves are in the lab.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

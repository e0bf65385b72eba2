"""The store: what happened to every run. The one place that changes a run's state.

Every change is one transaction and a compare-and-set: it names the state (and, for a worker, the attempt) that it believes
the run to be in, and does nothing when somebody else was faster. `attempt` counts the starts of a run, so a worker that was
given up for dead and comes back after the run was started anew finds its attempt outdated and can write nothing more.
Pollers compare `version(run)` or `store_version()`, one row each, and read on only when it has changed.
"""
from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy import Connection, case, delete, func, insert, or_, select, text, update

from lab.design.refusal import Refusal
from lab.runs import series
from lab.runs.database import Database, take_ticket
from lab.runs.home import check_id, new_id
from lab.runs.processes import Identity
from lab.runs.records import (
    ACTIVE,
    CANCELLED,
    FAILED,
    INTERRUPTED,
    OVER,
    QUEUE_LENGTH,
    QUEUED,
    RESUMABLE,
    RUNNING,
    STARTING,
    STATES,
    STOPPING,
    Event,
    Run,
    check_name,
    check_notes,
    check_tags,
    result_text,
    run_of,
    spec_text,
)
from lab.runs.schema import events, metrics, runs, ticket

_LIGHT = [column for column in runs.c if column.name != "spec"]
_ORDER = (case((runs.c.state == QUEUED, -runs.c.position)).desc().nulls_last(), runs.c.number.desc())
_NOBODY = {"pid": None, "pid_create_time": None, "mark": None, "place": None, "host": None, "slot": None}


class Store:
    """Runs, their metrics and their history, in the database at `url` (made and migrated as needed).

    Raises Refusal when it cannot be opened or was made by a newer lab; every method may raise
    sqlalchemy.exc.SQLAlchemyError when the database stays out of reach.
    """

    def __init__(self, url: str):
        self.url = url
        self.database = Database(url)

    def close(self) -> None:
        """Close the connections; the store opens new ones if it is used again."""
        self.database.close()

    # -- reading

    def get(self, run_id: str) -> Run:
        """The run of that id. Refusal: malformed or unknown."""
        found = self._select(select(runs).where(runs.c.id == check_id(run_id)))
        if not found:
            raise Refusal(f"There is no run {run_id}.", "run")
        return found[0]

    def find(self, words: str) -> Run:
        """The run that `words` names: its id, the beginning of one (3 letters or more), or its whole name."""
        words = check_name(words)
        if not words:
            raise Refusal("Name a run by its id, the beginning of one, or its name.", "run")
        fits = [runs.c.id == words, runs.c.name == words]
        if len(words) > 2 and words.isalnum():
            fits.append(runs.c.id.startswith(words))
        found = self._select(select(runs).where(or_(*fits)).order_by(runs.c.number.desc()).limit(20))
        found = [run for run in found if run.id == words] or found
        if not found:
            raise Refusal(f"There is no run {words!r}.", "run")
        if len(found) > 1:
            raise Refusal(f"{words!r} fits several runs ({', '.join(run.id for run in found[:3])}): give the id.", "run")
        return found[0]

    def list(self, states: Iterable[str] | None = None, tag: str | None = None, words: str = "", limit: int | None = None,
             specs: bool = True, after: int | None = None) -> list[Run]:
        """Runs, newest first, queued ones in the order in which they will start.

        `states`: only these; `tag`: only with it; `words`: only with it in the name; `after`: only what has changed since that
        `store_version()`; `specs=False` leaves `spec` empty (lighter).
        """
        query = select(runs) if specs else select(*_LIGHT)
        if after is not None:
            query = query.where(runs.c.version > after)
        if states is not None:
            states = list(states)
            if unknown := set(states) - set(STATES):
                raise Refusal(f"{sorted(unknown)[0]!r} is not a state of a run; there are {', '.join(STATES)}.", "state")
            query = query.where(runs.c.state.in_(states))
        if words:
            query = query.where(func.lower(runs.c.name).contains(words.lower(), autoescape=True))
        if tag:
            query = query.where(runs.c.tags.contains(json.dumps(tag), autoescape=True))
        return self._select(query.order_by(*_ORDER).limit(limit))

    def ids(self, limit: int | None = None) -> list[str]:
        """The ids of all runs in the order of `list`."""
        return list(self.database.read(lambda c: c.execute(select(runs.c.id).order_by(*_ORDER).limit(limit)).scalars().all()))

    def active(self) -> list[Run]:
        """The runs that a worker has (starting, running, stopping), without their specs, oldest first."""
        return self._select(select(*_LIGHT).where(runs.c.state.in_(ACTIVE)).order_by(runs.c.number))

    def counts(self) -> dict[str, int]:
        """{state: number of runs}, for every state."""
        found = self.database.read(lambda c: c.execute(select(runs.c.state, func.count()).group_by(runs.c.state)).all())
        return {**dict.fromkeys(STATES, 0), **{state: number for state, number in found}}

    def events(self, run_id: str) -> list[Event]:
        """What happened to a run, in order."""
        query = (select(events.c.time, events.c.state, events.c.message).join(runs, runs.c.number == events.c.run)
                 .where(runs.c.id == check_id(run_id)).order_by(events.c.number))
        return [Event(*row) for row in self.database.read(lambda c: c.execute(query).all())]

    def version(self, run_id: str) -> int:
        """A number that grows with every change of the run (state, metrics, name, ...), not with heartbeats; -1: no such run."""
        found = self.database.read(lambda c: c.execute(select(runs.c.version).where(runs.c.id == check_id(run_id))).scalar())
        return -1 if found is None else found

    def store_version(self) -> int:
        """The same for the whole store; deleting a run counts too."""
        return self.database.read(lambda c: c.execute(select(ticket.c.value)).scalar_one())

    # -- states

    def create(self, spec: dict[str, Any], name: str = "", tags: Sequence[str] = (), *, notes: str = "",
               run_id: str | None = None, parent: str | None = None, message: str = "", needs: int | None = None) -> str:
        """A new queued run, last in the queue; its id. Refusal: spec too large or no JSON, bad name or tag, full queue."""
        values = {"id": check_id(run_id or new_id()), "name": check_name(name), "state": QUEUED, "spec": spec_text(spec),
                  "tags": json.dumps(check_tags(tags)), "notes": check_notes(notes), "parent": parent and check_id(parent),
                  "attempt": 0, "created": time.time(), "step": 0, "needs": needs}

        def work(connection: Connection) -> None:
            version = take_ticket(connection)
            position = _queue_place(connection)
            number = connection.execute(
                insert(runs).values(**values, position=position, version=version).returning(runs.c.number)).scalar_one()
            _note(connection, number, QUEUED, message)

        self.database.write(work, durable=True)
        return values["id"]

    def move(self, run_id: str, expected: Iterable[str], to: str, message: str = "", *, in_attempt: int | None = None,
             like: Run | None = None, **fields: Any) -> bool:
        """Compare-and-set: from one of the states `expected` to `to`, setting `fields` too; whether this call did it.

        `in_attempt`: only if the run is in that attempt. `like`: only if state, attempt and process are still as in that Run.
        """
        query = update(runs).where(runs.c.id == check_id(run_id), runs.c.state.in_(list(expected)))
        if in_attempt is not None:
            query = query.where(runs.c.attempt == in_attempt)
        if like is not None:
            query = query.where(runs.c.state == like.state, runs.c.attempt == like.attempt,
                                runs.c.pid.is_not_distinct_from(like.pid), runs.c.mark.is_not_distinct_from(like.mark))

        def work(connection: Connection) -> bool:
            version = take_ticket(connection)
            more = {"position": _queue_place(connection, limit=False)} if to == QUEUED else {}
            moved = query.values(state=to, version=version, **more, **fields).returning(runs.c.number, runs.c.state)
            number = connection.execute(moved).scalar()
            if number is not None:
                _note(connection, number, to, message)
            return number is not None

        return self.database.write(work, durable=True)

    def claim_next(self, launcher: Identity, slots: int, everywhere: bool = False, room: int | None = None) -> Run | None:
        """Take the first queued run for a worker that `launcher` is about to start on its host, if a slot is free there.

        `everywhere`: slots are a cluster's, so that active runs on all hosts count. `room`: bytes of memory; runs that
        need more are passed over. The run becomes 'starting' in its next attempt, with the lowest free slot (from 0) and the launcher as its process.
        """
        def pick(connection: Connection) -> tuple[Any, int] | None:
            here = runs.c.state.in_(ACTIVE) if everywhere else runs.c.state.in_(ACTIVE) & (runs.c.host == launcher.host)
            busy = connection.execute(select(runs.c.slot).where(here)).scalars().all()
            fits = True if room is None else or_(runs.c.needs.is_(None), runs.c.needs <= room)
            first = connection.execute(select(runs.c.id, runs.c.number).where(runs.c.state == QUEUED, fits)
                                       .order_by(runs.c.position, runs.c.number).limit(1)).first() if len(busy) < slots else None
            return (first, min(set(range(slots)) - set(busy), default=0)) if first else None

        def work(connection: Connection) -> str | None:
            version, found = take_ticket(connection), pick(connection)
            if found is None:
                return None
            first, slot = found
            connection.execute(update(runs).where(runs.c.number == first.number).values(
                state=STARTING, version=version, attempt=runs.c.attempt + 1, slot=slot, ended=None, error=None, advice=None,
                log_tail=None, exit_code=None, heartbeat=None, **asdict(launcher)))
            _note(connection, first.number, STARTING, "")
            return first.id

        if self.database.read(pick) is None:  # asked every second: nothing is written, and no page sees a change, while nothing can start
            return None
        claimed = self.database.write(work, durable=True)
        return self.get(claimed) if claimed else None

    def adopt(self, run: Run, worker: Identity) -> bool:
        """Put the started worker in the place of its launcher, unless the worker has claimed the run by itself already."""
        query = update(runs).where(runs.c.number == run.number, runs.c.attempt == run.attempt, runs.c.pid == run.pid,
                                   runs.c.state.in_([STARTING, STOPPING])).values(heartbeat=time.time(), **asdict(worker))
        return self.database.write(lambda c: c.execute(query).rowcount == 1, durable=True)

    def claim(self, run_id: str, worker: Identity, attempt: int | None = None) -> Run:
        """A worker takes its run: 'running' from now on. Returns the run as claimed.

        `attempt`: the one it was started for; None (a worker started by hand, or training in this very process) takes a
        queued run directly. Refusal when the run is not waiting for this worker.
        """
        expected = (QUEUED,) if attempt is None else (STARTING,)
        now = time.time()
        fields = {"started": func.coalesce(runs.c.started, now), "heartbeat": now, "ended": None, "error": None, "advice": None,
                  "log_tail": None, "exit_code": None, **asdict(worker)}
        if attempt is None:
            fields["attempt"] = runs.c.attempt + 1
        if not self.move(run_id, expected, RUNNING, in_attempt=attempt, **fields):
            run = self.get(run_id)
            raise Refusal(f"Run {run_id} is not waiting for this worker: it is {run.state} (attempt {run.attempt}).", "run")
        return self.get(run_id)

    def finish(self, run_id: str, state: str, *, attempt: int | None = None, result: Mapping | None = None,
               error: str | None = None, advice: str | None = None, exit_code: int | None = None,
               log_tail: str | None = None, message: str = "") -> bool:
        """The end of a run as its worker tells it; False when the run was no longer its to end.

        A failure while stopping is 'cancelled', and a cancellation that nobody asked for is 'interrupted'.
        """
        if state not in OVER:
            raise ValueError(f"{state!r} is not an end")
        to = state
        if state == FAILED:
            to = case((runs.c.state == STOPPING, CANCELLED), else_=FAILED)
        elif state == CANCELLED:
            to = case((runs.c.state == STOPPING, CANCELLED), else_=INTERRUPTED)
        fields = {"error": error, "advice": advice, "exit_code": exit_code, "log_tail": log_tail, "slot": None}
        if result is not None:
            fields["result"] = result_text(result)
        query = update(runs).where(runs.c.id == check_id(run_id), runs.c.state.in_([*ACTIVE, INTERRUPTED]))
        if attempt is not None:
            query = query.where(runs.c.attempt == attempt)

        def work(connection: Connection) -> bool:
            version = take_ticket(connection)
            row = connection.execute(query.values(state=to, version=version, ended=time.time(), **fields)
                                     .returning(runs.c.number, runs.c.state)).first()
            if row is not None:
                _note(connection, row.number, row.state, message or error or "")
            return row is not None

        return self.database.write(work, durable=True)

    def ask_stop(self, run_id: str) -> str:
        """Ask for the end of a run: a queued one is 'cancelled' at once, an active one 'stopping'. The state it is in then."""
        if not self.move(run_id, (QUEUED,), CANCELLED, "Stopped while it waited.", ended=time.time()):
            self.move(run_id, (STARTING, RUNNING), STOPPING, "Somebody asked it to stop.")
        return self.get(run_id).state

    def requeue(self, run_id: str, message: str = "Resumed.") -> Run:
        """Put a failed, cancelled or interrupted run at the end of the queue. Refusal in any other state."""
        if not self.move(run_id, RESUMABLE, QUEUED, message, **_NOBODY):
            state = self.get(run_id).state
            raise Refusal(f"Run {run_id} is {state}: only a failed, cancelled or interrupted run can resume.", "run")
        return self.get(run_id)

    # -- what people write

    def rename(self, run_id: str, name: str) -> None:
        """Give the run another name."""
        self._set(run_id, name=check_name(name))

    def tag(self, run_id: str, tags: Sequence[str]) -> None:
        """Replace the run's tags."""
        self._set(run_id, tags=json.dumps(check_tags(tags)))

    def annotate(self, run_id: str, notes: str) -> None:
        """Replace the run's notes."""
        self._set(run_id, notes=check_notes(notes))

    def reorder(self, run_id: str, place: int) -> None:
        """Make a queued run the `place`-th to start (0: next). Refusal when it is not queued."""
        check_id(run_id)
        if isinstance(place, bool) or not isinstance(place, int):
            raise Refusal("A place in the queue is a whole number, counted from 0.", "place")

        def work(connection: Connection) -> bool:
            version = take_ticket(connection)
            queue = connection.execute(select(runs.c.id, runs.c.position).where(runs.c.state == QUEUED)
                                       .order_by(runs.c.position, runs.c.number)).all()
            order = [row.id for row in queue]
            if run_id not in order:
                return False
            order.remove(run_id)
            order.insert(min(max(0, place), len(order)), run_id)
            first = min(row.position for row in queue)
            for position, (row, one) in enumerate(zip(queue, order), first):
                if row.id != one or row.position != position:
                    connection.execute(update(runs).where(runs.c.id == one).values(position=position, version=version))
            return True

        if not self.database.write(work, durable=True):
            raise Refusal(f"Run {run_id} does not wait in the queue: it is {self.get(run_id).state}.", "run")

    def delete(self, run_id: str) -> None:
        """Remove a run with its metrics and history. Refusal while a worker has it. Its files are the queue's matter."""
        query = delete(runs).where(runs.c.id == check_id(run_id), runs.c.state.not_in(ACTIVE)).returning(runs.c.number)

        def work(connection: Connection) -> bool:
            take_ticket(connection)
            number = connection.execute(query).scalar()
            if number is not None:
                connection.execute(delete(metrics).where(metrics.c.run == number))
                connection.execute(delete(events).where(events.c.run == number))
            return number is not None

        if not self.database.write(work, durable=True):
            raise Refusal(f"Run {run_id} is {self.get(run_id).state}: stop it before you delete it.", "run")

    # -- metrics

    def log(self, run_id: str, rows: Iterable[Sequence], *, attempt: int | None = None, step: int | None = None,
            total_steps: int | None = None, patience: float = 30.0) -> str | None:
        """Write metric rows, progress and a heartbeat in one transaction; the run's state, or None when it is not the caller's.

        `rows`: [(step, name, value)] or [(step, name, value, time)]. `step`: where the run is (the last row's if not given).
        With nothing to write it is a heartbeat alone, which pollers do not notice.
        """
        rows, now = list(rows), time.time()
        if step is None and rows:
            step = int(max(row[0] for row in rows))
        fields = {key: int(value) for key, value in (("step", step), ("total_steps", total_steps)) if value is not None}
        query = update(runs).where(runs.c.id == check_id(run_id))
        if attempt is not None:
            query = query.where(runs.c.attempt == attempt)

        def work(connection: Connection) -> str | None:
            if rows or fields:
                fields["version"] = take_ticket(connection)
            found = connection.execute(query.values(heartbeat=now, **fields).returning(runs.c.number, runs.c.state)).first()
            if found is None:
                return None
            series.write_rows(connection, series.rows_of(found.number, rows, now))
            return found.state

        return self.database.write(work, patience=patience)

    def series(self, run_id: str, names: Iterable[str] | None = None, after: int | Mapping[str, int] | None = None,
               points: int | None = None, until: int | None = None) -> dict[str, series.Series]:
        """{name: (steps, values, times)} as numpy arrays, sorted by step; curves without points are left out.

        `names`: which, all if None. `after`: only later steps (one bound, or one per name); `until`: none later than this. `points`: thin
        each to about so many, keeping every extreme (see series.py).
        """
        return self._of(run_id, lambda c, number: series.read(c, number, names, after, points, until), {})

    def readings(self, run_id: str, names: Sequence[str], most: int = 60) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """(steps, {name: values}) of curves that are written together, such as one quantity at every site; at most so many of their steps."""
        return self._of(run_id, lambda c, number: series.table(c, number, names, most), (np.zeros(0, np.int64), {}))

    def metric_names(self, run_id: str) -> list[str]:
        """The names of a run's metrics, sorted."""
        return self._of(run_id, series.names, [])

    def latest(self, run_id: str, names: Iterable[str] | None = None) -> dict[str, tuple[int, float, float]]:
        """{name: (step, value, time)} of the last point of each curve."""
        return self._of(run_id, lambda c, number: series.latest(c, number, names), {})

    # -- helpers

    def _of(self, run_id: str, work, nothing):
        def both(connection: Connection):
            number = connection.execute(select(runs.c.number).where(runs.c.id == check_id(run_id))).scalar()
            return nothing if number is None else work(connection, number)

        return self.database.read(both)

    def _select(self, query) -> list[Run]:
        return [run_of({"spec": None, **row}) for row in self.database.read(lambda c: c.execute(query).mappings().all())]

    def _set(self, run_id: str, **fields: Any) -> None:
        def work(connection: Connection) -> int:
            version = take_ticket(connection)
            query = update(runs).where(runs.c.id == check_id(run_id)).values(version=version, **fields)
            return connection.execute(query).rowcount

        if not self.database.write(work, durable=True):
            raise Refusal(f"There is no run {run_id}.", "run")


def _queue_place(connection: Connection, limit: bool = True) -> int:
    length, last = connection.execute(text("SELECT count(*), max(position) FROM runs WHERE state = 'queued'")).one()
    if limit and length >= QUEUE_LENGTH:
        raise Refusal(f"The queue is full: {QUEUE_LENGTH} runs wait already.", "queue")
    return (last or 0) + 1


def _note(connection: Connection, number: int, state: str, message: str) -> None:
    connection.execute(insert(events).values(run=number, time=time.time(), state=state, message=message[:2000]))

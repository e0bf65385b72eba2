"""The store: what happened to every run. The one place that changes a run's state.

Every change is one transaction and a compare-and-set: it names the state (and, for a worker, the attempt) that it believes
the run to be in, and does nothing when somebody else was faster. `attempt` counts the starts of a run, so a worker that was
given up for dead and comes back after the run was started anew finds its attempt outdated and can write nothing more.
A commit whose answer was lost is tried again, so each change knows its own work when it finds it done.
Pollers compare `version(run)` or `store_version()`, one row each, and read on only when it has changed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from sqlalchemy import Case, Connection, case, delete, func, insert, or_, select, text, true, update

from lab.design.plain.message import packed, word
from lab.design.plain.refusal import Refusal
from lab.runs.binned import HERE, Binned
from lab.runs.database import Database, take_ticket
from lab.runs.entering import Entering
from lab.runs.history import note
from lab.runs.home import check_id, new_id
from lab.runs.listing import Listing
from lab.runs.metrics import Metrics
from lab.runs.processes import Identity, token
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
    STOPPING,
    Run,
    check_name,
    check_notes,
    check_tags,
    result_text,
    slots_held,
    spec_text,
)
from lab.runs.schema import deleted, events, runs
from lab.runs.views import Views

FORGOTTEN = 20_000  # metric rows of a deleted run that one transaction takes away
_BUSY = {"phase": None, "phase_share": None}  # with nothing, until a worker says so
_NOBODY = {"pid": None, "pid_create_time": None, "mark": None, "place": None, "host": None, "slot": None}


class Store(Entering, Listing, Binned, Metrics, Views):
    """Runs, their metrics and their history, in the database at `url` (made and migrated as needed).

    Raises Refusal when it cannot be opened or was made by a newer lab; every method may raise
    sqlalchemy.exc.SQLAlchemyError when the database stays out of reach.
    """

    def __init__(self, url: str):
        self.url = url
        self.database = Database(url)

    @cached_property
    def identity(self) -> str:
        """Which lab this is; a copy of the store is another."""
        return self.database.identity()

    def token(self, run: Run) -> str:
        """What the processes of the run's present attempt carry in their environment."""
        return token(run.id, run.attempt, self.identity)

    def touch(self) -> None:
        """Have pages look again: something beside the runs has changed that they show."""
        self.database.write(take_ticket)

    def close(self) -> None:
        """Close the connections; the store opens new ones if it is used again."""
        self.database.close()

    # -- states

    def create(
        self,
        spec: dict[str, Any],
        name: str = "",
        tags: Sequence[str] = (),
        *,
        notes: str = "",
        run_id: str | None = None,
        parent: str | None = None,
        message: str = "",
        needs: int | None = None,
        devices: int | None = None,
    ) -> str:
        """A new queued run, last in the queue; its id. Refusal: spec too large or no JSON, bad name or tag, full queue."""
        run_id = run_id or new_id()
        self.create_all([{"spec": spec, "name": name, "tags": tags, "notes": notes, "run_id": run_id, "parent": parent, "message": message, "needs": needs,
                          "devices": devices}])  # fmt: skip
        return run_id

    def create_all(self, given: Sequence[Mapping[str, Any]]) -> None:
        """Several new runs in one transaction, in their order: all are queued or none. Each as the arguments of `create`, with `run_id`."""
        rows = [{"id": check_id(one["run_id"]), "name": check_name(one.get("name", "")), "state": QUEUED, "spec": spec_text(one["spec"]),
                 "tags": json.dumps(check_tags(one.get("tags") or ())), "notes": check_notes(one.get("notes", "")),
                 "parent": one.get("parent") and check_id(one["parent"]), "attempt": 0, "created": time.time(), "step": 0, "needs": one.get("needs"),
                 "devices": one.get("devices")}
                for one in given]  # fmt: skip

        def work(connection: Connection) -> None:
            version = take_ticket(connection)
            if rows and connection.execute(select(runs.c.number).where(runs.c.id == rows[0]["id"])).scalar() is not None:
                return  # committed before, and only the answer was lost
            position = _queue_place(connection, len(rows))
            for place, (row, one) in enumerate(zip(rows, given, strict=True), position):
                number = connection.execute(insert(runs).values(**row, position=place, version=version).returning(runs.c.number)).scalar_one()
                note(connection, number, QUEUED, one.get("message", ""))

        self.database.write(work, durable=True)

    def move(
        self, run_id: str, expected: Iterable[str], to: str, message: str = "", *, in_attempt: int | None = None, like: Run | None = None, **fields: Any
    ) -> bool:
        """Compare-and-set: from one of the states `expected` to `to`, setting `fields` too; whether this call did it.

        `in_attempt`: only if the run is in that attempt. `like`: only if state, attempt and process are still as in that Run.
        """
        query = update(runs).where(runs.c.id == check_id(run_id), runs.c.state.in_(list(expected)), HERE)
        if in_attempt is not None:
            query = query.where(runs.c.attempt == in_attempt)
        if like is not None:
            query = query.where(
                runs.c.state == like.state,
                runs.c.attempt == like.attempt,
                runs.c.pid.is_not_distinct_from(like.pid),
                runs.c.mark.is_not_distinct_from(like.mark),
            )

        def work(connection: Connection) -> bool:
            version = take_ticket(connection)
            more: dict[str, Any] = {"position": _queue_place(connection)} if to == QUEUED else {}
            more |= {} if to in (RUNNING, STOPPING) else _BUSY
            moved = query.values(state=to, version=version, **more, **packed(fields)).returning(runs.c.number, runs.c.state)
            number = connection.execute(moved).scalar()
            if number is not None:
                note(connection, number, to, message)
            return number is not None

        return self.database.write(work, durable=True)

    def claim_next(
        self, launcher: Identity, slots: int, everywhere: bool = False, room: int | None = None, slots_for: Callable[[int], int] = lambda devices: devices
    ) -> Run | None:
        """Take the first queued run for a worker that `launcher` is about to start where it runs, if as many slots are free there as it takes.

        Slots are counted by place (boot and pid namespace). `everywhere`: they are a cluster's, so that active runs in all places count. `room`: bytes of memory; runs that
        need more are passed over. `slots_for`: how many slots a run over so many devices takes. A run that takes several waits for them at the head of the queue and is
        never passed: otherwise narrow runs behind it could take each slot as it comes free. The run becomes 'starting' in its next attempt, with the lowest free slots (from 0) and the
        launcher as its process.
        """

        def pick(connection: Connection) -> tuple[Any, list[int]] | None:
            here = runs.c.state.in_(ACTIVE) if everywhere else runs.c.state.in_(ACTIVE) & (runs.c.place == launcher.place)
            taken = [slot for row in connection.execute(select(runs.c.slot, runs.c.held).where(here)) for slot in slots_held(row.slot, row.held) or [-1]]
            if len(taken) >= slots:
                return None
            fits = true() if room is None else or_(runs.c.needs.is_(None), runs.c.needs <= room)
            waiting = select(runs.c.id, runs.c.number, runs.c.devices).where(runs.c.state == QUEUED, fits)
            first = connection.execute(waiting.order_by(runs.c.position, runs.c.number).limit(1)).first()
            wanted = slots_for(first.devices or 1) if first else 0
            free = sorted(set(range(slots)) - set(taken))
            return (first, free[:wanted] or [0]) if first and wanted <= slots - len(taken) else None

        def work(connection: Connection) -> str | None:
            version, found = take_ticket(connection), pick(connection)
            if found is None:
                return None
            first, own = found
            connection.execute(
                update(runs)
                .where(runs.c.number == first.number)
                .values(
                    state=STARTING,
                    version=version,
                    attempt=runs.c.attempt + 1,
                    slot=own[0],
                    held=",".join(map(str, own)) if len(own) > 1 else None,
                    ended=None,
                    error=None,
                    advice=None,
                    log_tail=None,
                    exit_code=None,
                    heartbeat=None,
                    **_BUSY,
                    **asdict(launcher),
                )
            )
            note(connection, first.number, STARTING, "")
            return first.id

        if self.database.read(pick) is None:  # asked every second: nothing is written, and no page sees a change, while nothing can start
            return None
        claimed = self.database.write(work, durable=True)
        return self.get(claimed) if claimed else None

    def adopt(self, run: Run, worker: Identity) -> bool:
        """Put the started worker in the place of its launcher, unless the worker has claimed the run by itself already."""
        query = (
            update(runs)
            .where(runs.c.number == run.number, runs.c.attempt == run.attempt, runs.c.pid == run.pid, runs.c.state.in_([STARTING, STOPPING]))
            .values(heartbeat=time.time(), **asdict(worker))
        )
        return self.database.write(lambda c: c.execute(query).rowcount == 1, durable=True)

    def claim(self, run_id: str, worker: Identity, attempt: int | None = None) -> Run:
        """A worker takes its run: 'running' from now on. Returns the run as claimed.

        `attempt`: the one it was started for; None (a worker started by hand, or training in this very process) takes a
        queued run directly. Refusal when the run is not waiting for this worker.
        """
        expected = (QUEUED,) if attempt is None else (STARTING,)
        now = time.time()
        fields = {
            "started": func.coalesce(runs.c.started, now),
            "heartbeat": now,
            "ended": None,
            "error": None,
            "advice": None,
            "log_tail": None,
            "exit_code": None,
            **asdict(worker),
        }
        if attempt is None:
            fields["attempt"] = runs.c.attempt + 1
        if not self.move(run_id, expected, RUNNING, in_attempt=attempt, **fields):
            run = self.get(run_id)
            if run.state == RUNNING and run.attempt == attempt and (run.pid, run.mark, run.place) == (worker.pid, worker.mark, worker.place):
                return run  # claimed before, and only the answer was lost
            raise Refusal(
                "Run {run} is not waiting for this worker: it is {state} (attempt {attempt}).", "run", run=run_id, state=word(run.state), attempt=run.attempt
            )
        return self.get(run_id)

    def finish(
        self,
        run_id: str,
        state: str,
        *,
        attempt: int | None = None,
        result: Mapping | None = None,
        error: str | None = None,
        advice: str | None = None,
        exit_code: int | None = None,
        log_tail: str | None = None,
        message: str = "",
    ) -> bool:
        """The end of a run as its worker tells it; False when the run was no longer its to end.

        A failure while stopping is 'cancelled', and a cancellation that nobody asked for is 'interrupted'.
        """
        if state not in OVER:
            raise ValueError(f"{state!r} is not an end")
        to: str | Case = state
        if state == FAILED:
            to = case((runs.c.state == STOPPING, CANCELLED), else_=FAILED)
        elif state == CANCELLED:
            to = case((runs.c.state == STOPPING, CANCELLED), else_=INTERRUPTED)
        fields = {"error": packed(error), "advice": packed(advice), "exit_code": exit_code, "log_tail": log_tail, "slot": None, **_BUSY}
        if result is not None:
            fields["result"] = result_text(result)
        query = update(runs).where(runs.c.id == check_id(run_id), runs.c.state.in_([*ACTIVE, INTERRUPTED]))
        if attempt is not None:
            query = query.where(runs.c.attempt == attempt)

        def work(connection: Connection) -> bool:
            version = take_ticket(connection)
            row = connection.execute(query.values(state=to, version=version, ended=time.time(), **fields).returning(runs.c.number, runs.c.state)).first()
            if row is not None:
                note(connection, row.number, row.state, message or str(error or ""))
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
            raise Refusal("Run {run} is {state}: only a failed, cancelled or interrupted run can resume.", "run", run=run_id, state=word(state))
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
            queue = connection.execute(select(runs.c.id, runs.c.position).where(runs.c.state == QUEUED).order_by(runs.c.position, runs.c.number)).all()
            order = [row.id for row in queue]
            if run_id not in order:
                return False
            order.remove(run_id)
            order.insert(min(max(0, place), len(order)), run_id)
            first = min(row.position for row in queue)
            for position, (row, one) in enumerate(zip(queue, order, strict=True), first):
                if row.id != one or row.position != position:
                    connection.execute(update(runs).where(runs.c.id == one).values(position=position, version=version))
            return True

        if not self.database.write(work, durable=True):
            raise Refusal("Run {run} does not wait in the queue: it is {state}.", "run", run=run_id, state=word(self.get(run_id).state))

    def delete(self, run_id: str, binned_before: float | None = None) -> None:
        """Remove a run, in the bin or not. Refusal while a worker has it. Its files and metrics go after, by whoever looks at `doomed` next.

        `binned_before`: only if it was put into the bin before that time (seconds since 1970).

        One small transaction, so that it has room where the disk has hardly any.
        """
        aged = true() if binned_before is None else runs.c.binned < binned_before
        query = delete(runs).where(runs.c.id == check_id(run_id), runs.c.state.not_in(ACTIVE), aged).returning(runs.c.number)

        def work(connection: Connection) -> bool:
            take_ticket(connection)
            number = connection.execute(query).scalar()
            if number is None:
                return connection.execute(select(deleted.c.number).where(deleted.c.id == run_id)).first() is not None
            connection.execute(insert(deleted).values(number=number, id=run_id))
            return True

        if not self.database.write(work, durable=True):
            raise Refusal("Run {run} is {state}: stop it before you delete it.", "run", run=run_id, state=word(self.get(run_id).state))

    def doomed(self) -> list[tuple[int, str]]:
        """(number, id) of the runs that were deleted and whose files and metrics may still be there."""
        return [tuple(row) for row in self.database.read(lambda c: c.execute(select(deleted.c.number, deleted.c.id)).all())]

    def forget(self, number: int) -> None:
        """Remove the metrics and the history of a deleted run, some at a time, and then its trace; its files must be gone."""
        some = text(f"""DELETE FROM metrics WHERE run = :run AND (name, step) IN
                        (SELECT name, step FROM metrics WHERE run = :run ORDER BY name, step LIMIT {FORGOTTEN})""")
        while self.database.write(lambda c: c.execute(some, {"run": number}).rowcount) > 0:
            pass

        def work(connection: Connection) -> None:
            connection.execute(delete(events).where(events.c.run == number))
            connection.execute(delete(deleted).where(deleted.c.number == number))

        self.database.write(work, durable=True)

    # -- helpers

    def _set(self, run_id: str, **fields: Any) -> None:
        def work(connection: Connection) -> int:
            version = take_ticket(connection)
            query = update(runs).where(runs.c.id == check_id(run_id), HERE).values(version=version, **fields)
            return connection.execute(query).rowcount

        if not self.database.write(work, durable=True):
            raise Refusal("There is no run {run}.", "run", run=run_id)


def _queue_place(connection: Connection, more: int = 0) -> int:
    """The place behind the last. Refusal where `more` new runs are too many."""
    length, last = connection.execute(text("SELECT count(*), max(position) FROM runs WHERE state = 'queued'")).one()
    if more and length + more > QUEUE_LENGTH:
        if length >= QUEUE_LENGTH:
            raise Refusal("The queue is full: {most} runs wait already.", "queue", most=QUEUE_LENGTH)
        raise Refusal("The queue has room for {room} runs more, not for {more}.", "queue", room=QUEUE_LENGTH - length, more=more)
    return (last or 0) + 1

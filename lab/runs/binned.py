"""Runs in the bin: out of every list, whole on the disk, until they are restored, deleted for good, or have been there for some days. Part of `Store`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Connection, case, select, update

from lab.design.plain.refusal import Refusal
from lab.runs.database import Database, take_ticket
from lab.runs.history import note
from lab.runs.home import check_id
from lab.runs.records import ACTIVE, CANCELLED, QUEUED, Run, run_of
from lab.runs.schema import runs

HERE = runs.c.binned.is_(None)  # not in the bin


class Binned:
    """What a store does with runs that somebody threw away."""

    database: Database

    def bin(self, run_id: str) -> None:
        """Put a run into the bin; a queued one is cancelled with that. Refusal while a worker has it, or where there is none."""
        if problem := self.bin_all([run_id]).get(run_id):
            raise Refusal(problem, "run")

    def bin_all(self, run_ids: Sequence[str]) -> dict[str, str]:
        """Put runs into the bin in one transaction, as `bin` does; {id: why} of those that stay."""
        now, wanted = time.time(), [check_id(run_id) for run_id in run_ids]
        waits = runs.c.state == QUEUED
        query = update(runs).where(runs.c.id.in_(wanted), runs.c.state.not_in(ACTIVE), HERE)
        query = query.values(binned=now, state=case((waits, CANCELLED), else_=runs.c.state), ended=case((waits, now), else_=runs.c.ended))

        def work(connection: Connection) -> dict[str, str]:
            moved = connection.execute(query.values(version=take_ticket(connection)).returning(runs.c.id, runs.c.number, runs.c.state)).all()
            for one in moved:
                note(connection, one.number, one.state, "Put into the bin.")
            left = set(wanted) - {one.id for one in moved}
            found = connection.execute(select(runs.c.id, runs.c.state, runs.c.binned).where(runs.c.id.in_(left))).all() if left else []
            refused = {run_id: f"There is no run {run_id}." for run_id in left - {one.id for one in found}}
            # one in the bin: the answer was lost, or somebody else was faster
            return refused | {one.id: f"Run {one.id} is {one.state}: stop it before you delete it." for one in found if one.binned is None}

        return self.database.write(work, durable=True)

    def restore(self, run_id: str) -> None:
        """Take a run out of the bin, in the state that it had. Refusal where it is not in it."""
        query = update(runs).where(runs.c.id == check_id(run_id), runs.c.binned.is_not(None)).values(binned=None)

        def work(connection: Connection) -> bool:
            moved = connection.execute(query.values(version=take_ticket(connection)).returning(runs.c.number, runs.c.state)).first()
            if moved is not None:
                note(connection, moved.number, moved.state, "Restored from the bin.")
            return moved is not None

        if not self.database.write(work, durable=True):
            raise Refusal("There is no run {run} in the bin.", "run", run=run_id)

    def binned(self, before: float | None = None) -> list[Run]:
        """The runs in the bin, without their specs, the last one thrown away first; `before`: those that were put there before that time (seconds since 1970)."""
        query = select(*[column for column in runs.c if column.name != "spec"]).where(runs.c.binned.is_not(None))
        if before is not None:
            query = query.where(runs.c.binned < before)
        rows = self.database.read(lambda c: c.execute(query.order_by(runs.c.binned.desc())).mappings().all())
        return [run_of({"spec": None, **row}) for row in rows]

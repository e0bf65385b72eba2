"""The store's runs as others read them: one, some, their history, and the numbers that change with them. Part of `Store`."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import Select, case, func, or_, select, true

from lab.design.plain.refusal import Refusal
from lab.runs.binned import HERE
from lab.runs.database import Database
from lab.runs.home import check_id
from lab.runs.records import ACTIVE, QUEUED, STATES, Event, Run, check_name, run_of, spec_text
from lab.runs.schema import events, runs, ticket

_LIGHT = [column for column in runs.c if column.name != "spec"]
_ORDER = (case((runs.c.state == QUEUED, -runs.c.position)).desc().nulls_last(), runs.c.number.desc())


class Listing:
    """What a store says of its runs."""

    database: Database

    def get(self, run_id: str) -> Run:
        """The run of that id. Refusal: malformed, unknown, or in the bin."""
        found = self._select(select(runs).where(runs.c.id == check_id(run_id)))
        if not found:
            raise Refusal("There is no run {run}.", "run", run=run_id)
        return _out_of_bin(found[0])

    def find(self, words: str) -> Run:
        """The run that `words` names: its id, the beginning of one (3 letters or more), or its whole name."""
        words = check_name(words)
        if not words:
            raise Refusal("Name a run by its id, the beginning of one, or its name.", "run")
        fits = [runs.c.id == words, runs.c.name == words]
        if len(words) > 2 and words.isalnum():
            fits.append(runs.c.id.startswith(words))
        found = self._select(select(runs).where(or_(*fits)).order_by(HERE.desc(), runs.c.number.desc()).limit(20))
        found = [run for run in found if run.binned is None] or found
        found = [run for run in found if run.id == words] or found
        if not found:
            raise Refusal("There is no run {run}.", "run", run=repr(words))
        if len(found) > 1:
            raise Refusal("{name} fits several runs ({ids}): give the id.", "run", name=repr(words), ids=", ".join(run.id for run in found[:3]))
        return _out_of_bin(found[0])

    def ids(self, limit: int | None = None) -> list[str]:
        """The ids of all runs in the order of `list`; those in the bin are none of them, here and everywhere."""
        return list(self.database.read(lambda c: c.execute(select(runs.c.id).where(HERE).order_by(*_ORDER).limit(limit)).scalars().all()))

    def names(self, limit: int | None = None) -> dict[str, str]:
        """{id: name} of all runs in the order of `list`."""
        query = select(runs.c.id, runs.c.name).where(HERE).order_by(*_ORDER).limit(limit)
        return dict(self.database.read(lambda c: c.execute(query).all()))

    def known(self, ids: Iterable[str], binned: bool = False) -> set[str]:
        """Which of these are runs; those in the bin count where `binned` says so."""
        query = select(runs.c.id).where(runs.c.id.in_(list(ids)), true() if binned else HERE)
        return set(self.database.read(lambda c: c.execute(query).scalars().all()))

    def active(self) -> list[Run]:
        """The runs that a worker has (starting, running, stopping), without their specs, oldest first."""
        return self._select(select(*_LIGHT).where(runs.c.state.in_(ACTIVE)).order_by(runs.c.number))

    def counts(self) -> dict[str, int]:
        """{state: number of runs}, for every state."""
        found = self.database.read(lambda c: c.execute(select(runs.c.state, func.count()).where(HERE).group_by(runs.c.state)).all())
        return {**dict.fromkeys(STATES, 0), **dict(found)}

    def events(self, run_id: str) -> list[Event]:
        """What happened to a run, in order."""
        query = (
            select(events.c.time, events.c.state, events.c.message)
            .join(runs, runs.c.number == events.c.run)
            .where(runs.c.id == check_id(run_id))
            .order_by(events.c.number)
        )
        return [Event(*row) for row in self.database.read(lambda c: c.execute(query).all())]

    def version(self, run_id: str) -> int:
        """A number that grows with every change of the run (state, metrics, name, ...), not with heartbeats; -1: no such run."""
        found = self.database.read(lambda c: c.execute(select(runs.c.version).where(runs.c.id == check_id(run_id))).scalar())
        return -1 if found is None else found

    def store_version(self) -> int:
        """The same for the whole store; deleting a run counts too."""
        return self.database.read(lambda c: c.execute(select(ticket.c.value)).scalar_one())

    def _select(self, query: Select) -> list[Run]:
        return [run_of({"spec": None, **row}) for row in self.database.read(lambda c: c.execute(query).mappings().all())]

    def list(
        self,
        states: Iterable[str] | None = None,
        tag: str | None = None,
        words: str = "",
        limit: int | None = None,
        specs: bool = True,
        after: int | None = None,
        model: str | None = None,
        ids: Iterable[str] | None = None,
    ) -> list[Run]:
        """Runs, newest first, queued ones in the order in which they will start.

        `states`: only these; `tag`: only with it; `words`: only with it in the name; `model`: only on it (SQLite takes small letters for
        capitals); `ids`: only these; `after`: only what has changed since that `store_version()`; `specs=False` leaves `spec` empty (lighter).
        """
        query = (select(runs) if specs else select(*_LIGHT)).where(HERE)
        if after is not None:
            query = query.where(runs.c.version > after)
        if states is not None:
            states = list(states)
            if unknown := set(states) - set(STATES):
                raise Refusal("{name} is not a state of a run; there are {known}.", "state", name=repr(sorted(unknown)[0]), known=", ".join(STATES))
            query = query.where(runs.c.state.in_(states))
        if ids is not None:
            query = query.where(runs.c.id.in_(list(ids)))
        if words:
            query = query.where(func.lower(runs.c.name).contains(words.lower(), autoescape=True))
        if model is not None:
            query = query.where(runs.c.spec.contains(spec_text({"model": model})[1:-1], autoescape=True))
        if tag:
            query = query.where(runs.c.tags.contains(json.dumps(tag), autoescape=True))
        return self._select(query.order_by(*_ORDER).limit(limit))


def _out_of_bin(run: Run) -> Run:
    if run.binned is not None:
        raise Refusal("Run {run} is in the bin: restore it first.", "run", run=run.id)
    return run

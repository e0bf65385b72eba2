"""The store's metrics: rows in, and curves, last points and readings out. Part of `Store`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, select, update

from lab.runs import series
from lab.runs.database import Database, take_ticket
from lab.runs.home import check_id
from lab.runs.schema import runs


class Metrics:
    """What a store does with the metrics of its runs."""

    database: Database

    def log(
        self,
        run_id: str,
        rows: Iterable[Sequence],
        *,
        attempt: int | None = None,
        step: int | None = None,
        total_steps: int | None = None,
        phase: tuple[str, float | None] | None = None,
        patience: float = 30.0,
    ) -> str | None:
        """Write metric rows, progress and a heartbeat in one transaction; the run's state, or None when it is not the caller's.

        `rows`: [(step, name, value)] or [(step, name, value, time)]. `step`: where the run is (the last row's if not given).
        `phase`: what its worker is busy with, and which part of that is done (0 to 1).
        With nothing to write it is a heartbeat alone, which pollers do not notice.
        """
        rows, now = list(rows), time.time()
        if step is None and rows:
            step = int(max(row[0] for row in rows))
        fields: dict[str, Any] = {key: int(value) for key, value in (("step", step), ("total_steps", total_steps)) if value is not None}
        if phase is not None:
            fields |= {"phase": phase[0], "phase_share": phase[1]}
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

    def series(
        self, run_id: str, names: Iterable[str] | None = None, after: int | Mapping[str, int] | None = None, points: int | None = None, until: int | None = None
    ) -> dict[str, series.Series]:
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

    def _of(self, run_id: str, work: Callable[[Connection, int], Any], nothing: Any) -> Any:
        def both(connection: Connection) -> Any:
            number = connection.execute(select(runs.c.number).where(runs.c.id == check_id(run_id))).scalar()
            return nothing if number is None else work(connection, number)

        return self.database.read(both)

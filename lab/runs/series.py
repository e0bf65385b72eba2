"""Curves: writing metric rows, reading them by increment, and thinning long ones inside the database.

Min-max thinning: the steps from first to last are cut into points/2 buckets of equal width, and of each bucket the rows
with the smallest and the greatest value are kept, with their own steps, so no spike is lost; the first and the last point
of the curve are always kept. Example: 100,000 steps at points=1000 are 500 buckets of 200 steps, at most 1,002 points.
The database walks the curve twice, for the smallest and for the greatest of each bucket; Python sees only the rows that are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, text

from lab.runs.records import METRIC_LETTERS

FAR = 2**62  # beyond every step
Series = tuple[np.ndarray, np.ndarray, np.ndarray]  # steps int64, values float64, times float64 (s since 1970), each (points,)

_UPSERT = text("""INSERT INTO metrics (run, name, step, value, time) VALUES (:run, :name, :step, :value, :time)
    ON CONFLICT (run, name, step) DO UPDATE SET value = excluded.value, time = excluded.time""")

# SELECT DISTINCT would walk every row; this jumps from each name to the next along the primary key.
_NAMES = text("""WITH RECURSIVE known(name) AS (
        SELECT (SELECT name FROM metrics WHERE run = :run ORDER BY name LIMIT 1)
        UNION ALL
        SELECT (SELECT m.name FROM metrics m WHERE m.run = :run AND m.name > known.name ORDER BY m.name LIMIT 1)
        FROM known WHERE known.name IS NOT NULL)
    SELECT name FROM known WHERE name IS NOT NULL""")

_LAST = text("SELECT step, value, time FROM metrics WHERE run = :run AND name = :name ORDER BY step DESC LIMIT 1")
_ALL = text("SELECT step, value, time FROM metrics WHERE run = :run AND name = :name AND step > :after AND step <= :until ORDER BY step")
_SPAN = text("""SELECT (SELECT min(step) FROM metrics WHERE run = :run AND name = :name AND step > :after AND step <= :until),
    (SELECT max(step) FROM metrics WHERE run = :run AND name = :name AND step > :after AND step <= :until)""")
_STEPS = text("SELECT step FROM metrics WHERE run = :run AND name = :name ORDER BY step")
_CELLS = text("SELECT name, step, value FROM metrics WHERE run = :run AND name IN :names AND step IN :steps").bindparams(
    bindparam("names", expanding=True), bindparam("steps", expanding=True)
)
_ENDS = text("SELECT step, value, time FROM metrics WHERE run = :run AND name = :name AND step IN (:first, :last)")
# Bucket by bucket along the primary key: grouping the whole curve by bucket would sort it first, which takes twice as long.
_THIN = text("""WITH RECURSIVE heads(head) AS (SELECT CAST(:first AS BIGINT) UNION ALL SELECT head + :width FROM heads WHERE head + :width <= :last),
    kept AS MATERIALIZED (
        SELECT (SELECT step FROM metrics WHERE run = :run AND name = :name AND step >= head AND step < head + :width AND step <= :last
                AND value IS NOT NULL ORDER BY value, step LIMIT 1) AS step FROM heads
        UNION
        SELECT (SELECT step FROM metrics WHERE run = :run AND name = :name AND step >= head AND step < head + :width AND step <= :last
                AND value IS NOT NULL ORDER BY value DESC, step LIMIT 1) FROM heads)
    SELECT m.step, m.value, m.time FROM kept CROSS JOIN metrics m WHERE m.run = :run AND m.name = :name AND m.step = kept.step""")


def rows_of(number: int, rows: Iterable[Sequence], now: float) -> list[dict[str, Any]]:
    """Database rows of [(step, name, value)] or [(step, name, value, time)]; of doubles the later counts.

    Not-a-number is kept as NULL. Raises ValueError for what is no metric (a name that is empty or too long, no number).
    """
    found = {}
    for row in rows:
        step, name, value, *when = row
        if not isinstance(name, str) or not 0 < len(name) <= METRIC_LETTERS or not name.isprintable():
            raise ValueError(f"{str(name)[:60]!r} is not a metric's name")
        value = float(value)
        found[name, int(step)] = {
            "run": number,
            "name": name,
            "step": int(step),
            "value": None if math.isnan(value) else value,
            "time": float(when[0]) if when else now,
        }
    return list(found.values())


def write_rows(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert rows, or overwrite those of the same run, name and step (a resumed run passes some steps again)."""
    if rows:
        connection.execute(_UPSERT, rows)


def names(connection: Connection, number: int) -> list[str]:
    """The metric names of a run, sorted."""
    return sorted(connection.execute(_NAMES, {"run": number}).scalars())


def latest(connection: Connection, number: int, wanted: Iterable[str] | None) -> dict[str, tuple[int, float, float]]:
    """{name: (step, value, time)} of the last point of each curve."""
    found = {}
    for name in names(connection, number) if wanted is None else wanted:
        row = connection.execute(_LAST, {"run": number, "name": name}).first()
        if row is not None:
            found[name] = (int(row[0]), math.nan if row[1] is None else float(row[1]), float(row[2]))
    return found


def read(
    connection: Connection, number: int, wanted: Iterable[str] | None, after: int | Mapping[str, int] | None, points: int | None, until: int | None = None
) -> dict[str, Series]:
    """{name: (steps, values, times)}, sorted by step. `after`: only later steps, one bound for all or one per name; `until`: none later."""
    found = {}
    for name in names(connection, number) if wanted is None else wanted:
        bound = after.get(name) if isinstance(after, Mapping) else after
        key = {"run": number, "name": name, "after": -FAR if bound is None else int(bound), "until": FAR if until is None else int(until)}
        series = _curve(connection, key, points)
        if len(series[0]):
            found[name] = series
    return found


def table(connection: Connection, number: int, wanted: Sequence[str], most: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(steps (s,), {name: values (s,)}) of curves that are written together, at no more than `most` of the first one's steps, the last among
    them; not-a-number where a curve has none."""
    if not wanted:
        return np.zeros(0, np.int64), {}
    steps = np.array(connection.execute(_STEPS, {"run": number, "name": wanted[0]}).scalars().all(), np.int64)
    if len(steps) > most:
        steps = steps[np.unique(np.linspace(0, len(steps) - 1, most).round().astype(int))]
    place = {step: index for index, step in enumerate(steps.tolist())}
    found = {name: np.full(len(steps), np.nan) for name in wanted}
    for name, step, value in connection.execute(_CELLS, {"run": number, "names": list(wanted), "steps": list(place)}):
        found[name][place[step]] = math.nan if value is None else value
    return steps, found


def thinned(series: Series, points: int) -> Series:
    """A curve in memory thinned like one in the database: each bucket's extremes, the first and the last point."""
    steps, values, _ = series
    if len(steps) <= points:
        return series
    bucket = (steps - steps[0]) // max(1, -(-(int(steps[-1] - steps[0]) + 1) // max(1, points // 2)))
    rising = np.lexsort((values, bucket))  # not-a-number sorts last
    falling = np.lexsort((-values, bucket))
    heads = np.flatnonzero(np.diff(bucket, prepend=-1))
    kept = np.unique(np.concatenate([rising[heads], falling[heads], [0, len(steps) - 1]]))
    return steps[kept], values[kept], series[2][kept]


def _curve(connection: Connection, key: dict[str, Any], points: int | None) -> Series:
    if points is None:
        return _arrays(connection.execute(_ALL, key).fetchall())
    first, last = connection.execute(_SPAN, key).one()
    if first is None:
        return _arrays([])
    points = max(4, int(points))
    if last - first < points:
        return _arrays(connection.execute(_ALL, key).fetchall())
    span = {"run": key["run"], "name": key["name"], "first": first, "last": last}
    kept = connection.execute(_THIN, {**span, "width": -(-(last - first + 1) // (points // 2))}).fetchall()
    ends = connection.execute(_ENDS, span).fetchall()
    return _arrays(sorted({row[0]: tuple(row) for row in (*kept, *ends)}.values()))


def _arrays(rows: Sequence) -> Series:
    steps = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
    values = np.fromiter((math.nan if row[1] is None else row[1] for row in rows), dtype=np.float64, count=len(rows))
    return steps, values, np.fromiter((row[2] for row in rows), dtype=np.float64, count=len(rows))

"""The runs of a lab as a table: what each has under a name (a column, a setting, a metric), which of them a query means, in which order and groups.

Specs are frozen, so what they say is read once for each run; what changes is read again when the store says so.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import statistics
import sys
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lab.design.method.delta import Delta
from lab.design.plain.differences import flatten
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.design.spec.families import metric_named
from lab.design.spec.run import RunSpec, Training
from lab.results import facts
from lab.results.groups import group_of
from lab.runs import Run, query
from lab.runs.query import FIELD, Query
from lab.runs.store import Store

LISTED = 5000  # the newest runs
MOST_DIFFERING = 6  # settings that are shown unasked
UNREAD = ("origins", "name", "tags")  # of a spec: no settings
WORDS_OF_METHOD = ("summary", "deviations", "paper", "family", "branch", "name", "preset")  # of its method
KINDS = {"weights": "count", "percent": "percent", "memory": "bytes", "time": "seconds", "age": "seconds"}  # what a column is counted in
WORDS = {
    "count": "weights, as in 1.3 M",
    "percent": "percent, as in 0.3 %",
    "bytes": "bytes, as in 900 MB",
    "seconds": "time, as in 20 min",
    "": "plain numbers",
}
COLUMNS = ("name", "state", "method", "task", "model", "metric", "weights", "percent", "memory", "time", "created", "tags", "seed", "phase", "notes")
OTHERS = ("id", "run", "tag", "error", "started", "ended", "age", "step", "steps", "progress", "parent")  # that a query may name besides
SHORT = {"tag": "tags", "run": "id"}
SEEDS = "seeds"  # to group by: runs that differ in nothing but the seed


@dataclass(frozen=True)
class TableRow:
    """One run of the table. `run` has of its spec what facts are read from; `settings`: {path: value} of it but the seed; `alike`: a print of them."""

    run: Run
    settings: Mapping[str, Any]
    alike: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)  # none where the run is no result

    def values(self, name: str) -> Sequence[Any]:
        """What it has under a name, as `query.Values`; several for a setting of several deltas."""
        if not name:
            run = self.run
            return [run.name, run.id, *run.tags, self.columns["method"], self.columns["task"]]
        name = name.lower()
        name = SHORT.get(name, name)
        if name == "tags":
            return self.run.tags
        if name in self.columns:
            return [self.columns[name]]
        if name in self.metrics:
            return [self.metrics[name]]
        for path in (name, f"method.{name}", f"training.{name}"):
            if path in self.settings:
                return [self.settings[path]]
        return [value for path, value in self.settings.items() if path.rpartition(".")[2] == name]

    def value(self, name: str) -> Any:
        """The one value under a name, for a cell of the table; the texts of several joined, None for none."""
        found = [one for one in self.values(name) if one is not None]
        return None if not found else found[0] if len(found) == 1 else ", ".join(dict.fromkeys(map(str, found)))


def _set(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a spec sets, but for its origins and what a preset says of itself."""
    method = spec.get("method")
    kept = {name: value for name, value in spec.items() if name not in UNREAD}
    return {**kept, "method": {name: value for name, value in method.items() if name not in WORDS_OF_METHOD}} if isinstance(method, Mapping) else kept


def _row(run: Run, known: dict[str, Mapping[str, Any]]) -> TableRow:
    """The row of a run with its spec. `known`: the settings of those that differ in nothing but the seed, which they share."""
    settings = _set({**run.spec, "seed": None})
    alike = hashlib.sha256(json.dumps([settings, facts.method_of(run)], sort_keys=True).encode()).hexdigest()[:16]
    if alike not in known:
        known[alike] = {sys.intern(path): value for path, value in flatten(settings) if path != "seed"}
    return _filled(TableRow(run, known[alike], alike), run)


def _filled(row: TableRow, run: Run) -> TableRow:
    """The row with what is known of the run now. `run` may be without its spec where `row` has read it."""
    whole = replace(run, spec=run.spec or row.run.spec)
    result, known = run.result, facts.counts(whole)
    judged = facts.result(whole)
    columns = {
        "id": run.id, "name": run.name, "state": run.state, "notes": run.notes, "phase": run.phase if run.state == "running" else None, "error": run.error,
        "model": facts.model_of(whole), "task": facts.task_of(whole), "method": facts.method_of(whole), "seed": whole.spec.get("seed"),
        "metric": judged.value if judged else None, "weights": _number(result.get("trainable")), "percent": _number(result.get("percent")),
        "memory": facts.peak_bytes(run), "time": facts.seconds(run), "created": run.created, "started": run.started,
        "ended": run.ended, "step": run.step, "steps": run.total_steps, "progress": run.progress, "parent": run.parent, "tags": run.tags,
    }  # fmt: skip
    metrics = {name.replace(" ", "."): value for name, value in facts.outcome(run).items()} if known else {}
    kept = {name: whole.spec.get(name) for name in ("model", "task", "further", "method", "seed", "built_on", "combination")}  # what facts are read from
    kept["method"] = {"name": facts.method_of(whole)}
    return replace(row, run=replace(whole, spec=kept), columns=columns, metrics=metrics)


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


class RunTable:
    """The rows of a store's newest runs, brought up to date at every look."""

    def __init__(self, store: Store):
        self._store = weakref.ref(store)
        self._rows: dict[str, TableRow] = {}
        self._version: int | None = None
        self._lock = threading.Lock()

    def rows(self) -> list[TableRow]:
        """All of them, newest first, queued ones in the order in which they will start."""
        store = self._store()
        assert store is not None
        with self._lock:
            now, order = store.store_version(), store.ids(LISTED)
            if now != self._version:
                self._take(store, order)
                self._version = now
            return [self._rows[run] for run in order if run in self._rows]

    def _take(self, store: Store, order: list[str]) -> None:
        wanted = set(order)
        self._rows = {run: row for run, row in self._rows.items() if run in wanted}
        new = wanted - self._rows.keys()
        known = {row.alike: row.settings for row in self._rows.values()}
        for run in store.list(ids=new) if new else ():
            self._rows[run.id] = _row(run, known)
        for run in store.list(specs=False, after=self._version) if self._version is not None else ():
            if run.id in self._rows and run.id not in new:
                self._rows[run.id] = _filled(self._rows[run.id], run)


_TABLES: weakref.WeakKeyDictionary[Store, RunTable] = weakref.WeakKeyDictionary()


def table_of(store: Store) -> RunTable:
    """The table of a store, one for each."""
    return _TABLES.setdefault(store, RunTable(store))


def listed(store: Store, where: str, limit: int | None = None, **filters: Any) -> list[Run]:
    """The runs that a query means, newest first, with their specs; at most so many. `filters` as `Store.list` takes them. Raises Refusal."""
    if limit is not None and limit < 1:
        raise Refusal("Limit must be at least 1; it is {limit}.", "limit", limit=limit)
    if not where.strip():
        return store.list(limit=limit, **filters)
    rows = matching(table_of(store).rows(), where)
    ids = [row.run.id for row in rows]
    found = store.list(ids=ids, **filters) if len(ids) < LISTED else [run for run in store.list(**filters) if run.id in set(ids)]
    return found[:limit]


def matching(rows: Sequence[TableRow], where: str | Query) -> list[TableRow]:
    """The rows that a query means. Raises Refusal for one that is none, names what no run has, or has a unit that its column is not counted in."""
    asked = query.parse(where) if isinstance(where, str) else where
    require_known(asked, rows)
    return [row for row in rows if asked.holds(row.values)]


def require_known(asked: Query, rows: Sequence[TableRow]) -> None:
    """Raise Refusal for a name that is no column, setting or metric, and for a unit of another kind."""
    for name, at in asked.names.items():
        if not _declared(name.lower()) and not any(len(row.values(name)) for row in rows):
            near = difflib.get_close_matches(name.lower(), names(rows), 3)
            if near:
                raise Refusal(
                    "There is no column, setting or metric '{name}' (at letter {at}); near it are {near}.", FIELD, name=name[:60], at=at, near=", ".join(near)
                )
            raise Refusal("There is no column, setting or metric '{name}' (at letter {at}).", FIELD, name=name[:60], at=at)
    for condition, literal in query.units_of(asked):
        kind = KINDS.get(condition.name.lower(), "")
        if literal.kind != kind and (kind or literal.kind not in ("percent", "count")):
            raise Refusal("'{name}' (at letter {at}) is counted in {unit}.", FIELD, name=condition.name[:60], at=condition.at, unit=word(WORDS[kind]))


def _declared(name: str) -> bool:
    short = name.removeprefix("training.").removeprefix("method.").removeprefix("deltas.0.")
    return (name in COLUMNS or name in OTHERS or short in Training.model_fields or short in Delta.model_fields or short in RunSpec.model_fields
            or metric_named(name.removeprefix("final.").removeprefix("test.").partition("/")[0]) is not None)  # fmt: skip


def names(rows: Sequence[TableRow]) -> list[str]:
    """Every name that a query over these runs may have: columns, metrics, settings by their whole path and in short."""
    metrics = dict.fromkeys(name for row in rows for name in row.metrics)
    paths = dict.fromkeys(path for row in rows for path in row.settings)
    return list(dict.fromkeys([*COLUMNS, *OTHERS, *metrics, *(path.rpartition(".")[2] for path in paths), *paths]))


# -- columns, order, groups


def differing(rows: Sequence[TableRow]) -> list[str]:
    """The settings that tell these runs apart, at most MOST_DIFFERING. Where methods differ they stand for what they bring along, but for what also varies within one."""
    if len(rows) < 2:
        return []
    own = ("model", "task", "seed")  # columns by themselves, or of every group
    by_method: dict[str, list[TableRow]] = {}
    seeds = len({row.columns["seed"] for row in rows}) > 1
    rows = list({row.alike: row for row in rows}.values())
    for row in rows:
        by_method.setdefault(row.columns["method"], []).append(row)
    found = []
    for path in dict.fromkeys(path for row in rows for path in row.settings):
        groups = by_method.values() if path.startswith("method.") else [rows]
        if path not in own and not path.startswith("task.") and any(_varies(group, path) for group in groups):
            found.append(path)
            if len(found) == MOST_DIFFERING:
                break
    return found + ["seed"] * seeds


def _varies(rows: Sequence[TableRow], path: str) -> bool:
    first = rows[0].settings.get(path)
    return any(row.settings.get(path) != first for row in rows)


def default_columns(rows: Sequence[TableRow]) -> list[str]:
    """What the table shows unasked: what tells the runs apart, and state, method, task, best metric, weights, memory and time."""
    model = ["model"] if len({row.columns["model"] for row in rows}) > 1 else []
    return ["state", "method", *model, "task", *differing(rows), "metric", "weights", "memory", "time"]


def ordered(rows: Sequence[TableRow], name: str, descending: bool) -> list[TableRow]:
    """By one column; runs without a value stand at the end either way, and equal ones stay in their order."""
    with_value = [(value, row) for row in rows if (value := row.value(name)) is not None]
    without = [row for row in rows if row.value(name) is None]
    found = sorted(with_value, key=lambda pair: order_key(pair[0]), reverse=descending)
    return [row for _, row in found] + without


def order_key(value: Any) -> tuple[int, float, str]:
    """Numbers by size and before texts, texts without regard to case."""
    if isinstance(value, (int, float)):
        return 0, float(value), ""
    return 1, 0.0, (", ".join(map(str, value)) if isinstance(value, list) else str(value)).casefold()


@dataclass(frozen=True)
class Members:
    """Runs of one group. `label`: the value that they share; of seeds what their names begin with. `seeds`: they differ in nothing but those, each of which counts once."""

    key: str
    label: str
    rows: list[TableRow]
    seeds: bool = False

    def value(self, name: str) -> tuple[Any, float | None, int]:
        """(mean, standard deviation of a sample or None, how many) of numbers that are results; (the shared value or None, None, 0) of anything else."""
        found = [value for row in self.rows if (value := row.value(name)) is not None]
        if name == "metric" and len({facts.judge(row.run) for row in self.rows if row.columns["metric"] is not None}) > 1:
            return None, None, 0  # of several metrics there is no mean
        measured = name in KINDS or name == "metric" or any(name in row.metrics for row in self.rows)
        if found and measured and self.seeds:
            each: dict[Any, list[float]] = {}
            for row in self.rows:
                if (value := row.value(name)) is not None:
                    each.setdefault(row.columns["seed"], []).append(value)
            found = [statistics.fmean(values) for values in each.values()]
        if found and measured:
            return statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found)
        same = len(found) == len(self.rows) and all(value == found[0] for value in found)
        return (found[0] if same else None), None, 0


def grouped(rows: Sequence[TableRow], by: str) -> list[Members]:
    """Runs with the same value under a name, or with the same settings but the seed, in the order of each group's first run."""
    found: dict[str, list[TableRow]] = {}
    for row in rows:
        value = row.alike if by == SEEDS else row.value(by)
        found.setdefault("–" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value), []).append(row)
    if by == SEEDS:
        return [Members(key, group_of([row.run for row in members]).name, members, seeds=True) for key, members in found.items()]
    return [Members(key, key, members) for key, members in found.items()]


def in_order(groups: Iterable[Members], name: str, descending: bool) -> list[Members]:
    """Groups by the mean of a column, those without at the end."""
    every = [(group.value(name)[0], group) for group in groups]
    with_value = sorted(((value, group) for value, group in every if value is not None), key=lambda pair: order_key(pair[0]), reverse=descending)
    return [group for _, group in with_value] + [group for value, group in every if value is None]

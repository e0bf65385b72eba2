"""The runs as a table: which rows a query leaves, in which order and groups, and their cells as text. lab.results.table knows; this writes.

A page says by a mark what it shows: whole at first and after another choice, then only the rows that have changed, and the order where it is another.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.results import facts, table
from lab.results.table import COLUMNS, Members, TableRow
from lab.runs import default, query
from lab.ui.shell import run_facts
from lab.ui.shell.json_text import text
from lab.ui.shell.poll import Seen, Update
from lab.ui.words.refusals import refused
from lab.ui.words.table import TABLE, language_asked, metric_name, say

MOST_COLUMNS, OFFERED = 40, 300
WRITTEN = {"weights": numbers.weights, "percent": numbers.percent, "memory": numbers.memory, "time": numbers.duration}
Cell = str | list[str]  # text, or [text, what it says on hover, difference to the baseline, better | worse | other]


@dataclass(frozen=True)
class Choice:
    """What a page asks of the table."""

    where: str
    columns: list[str] | None  # None: those that tell the runs apart
    sort: str
    descending: bool
    group: str
    baseline: str

    @classmethod
    def of(cls, chosen: Mapping[str, Any]) -> Choice:
        """The choice as a page sent it, each part of the kind that it must have."""
        words = {name: chosen[name] if isinstance(chosen.get(name), str) else "" for name in ("where", "sort", "group", "baseline")}
        columns = chosen.get("columns")
        named = [name for name in columns if isinstance(name, str)][:MOST_COLUMNS] if isinstance(columns, list) else None
        return cls(words["where"], named, words["sort"], bool(chosen.get("descending")), words["group"], words["baseline"])


def look(chosen: Mapping[str, Any], seen: Seen, language: str) -> Update:
    """{"table": what has changed of it}. The mark: "t", a print of columns and baseline, and one of the order."""
    choice, store = Choice.of(chosen), default().store
    rows = table.table_of(store).rows()
    try:
        found = table.matching(rows, choice.where)
    except Refusal as problem:
        return {"table": {"wrong": refused(language, problem), "total": len(rows), "views": store.views()}}, seen.mark if seen.mark.startswith("t") else "t"
    columns = table.default_columns(found) if choice.columns is None else choice.columns
    entries, order = _arranged(found, choice)
    base = next((row for row in rows if row.run.id == choice.baseline), None)
    head = f"t{zlib.crc32(text([columns, base.run.version if base else 0]).encode()):x}"
    placed = f"{zlib.crc32(text(order).encode()):x}"
    old_head, _, old_order = seen.mark.partition("-")
    whole = seen.before is None or seen.chose or old_head != head
    whole = whole or placed != old_order and len(rows) == table.LISTED  # a run that comes into sight has not changed
    fresh = {row.run.id for row in found if whole or row.run.version > (seen.before or 0)}
    news: dict[str, Any] = {"rows": [_row(row, columns, base, language) for row in found if row.run.id in fresh], "n": len(found), "total": len(rows)}
    if whole:
        news |= {"whole": True, "columns": [_column(name, found, language) for name in columns], "views": store.views(), "baseline": base.run.name or base.run.id if base else "",
                 "offered": _offered(rows, language)}  # fmt: skip
    if whole or placed != old_order:
        news["order"] = order
    if entries and (whole or fresh or placed != old_order):
        news["groups"] = {group.key: _group(group, columns, language) for group in entries}
    return {"table": news}, f"{head}-{placed}"


def _arranged(found: Sequence[TableRow], choice: Choice) -> tuple[list[Members], list[Any]]:
    """The groups in order (none where there are none), and what stands below each other: ids, or [key, ids] of a group."""
    rows = table.ordered(found, choice.sort, choice.descending) if choice.sort else list(found)
    if not choice.group:
        return [], [row.run.id for row in rows]
    groups = table.grouped(rows, choice.group)
    groups = table.in_order(groups, choice.sort, choice.descending) if choice.sort else groups
    return groups, [[group.key, [row.run.id for row in group.rows]] for group in groups]


# -- headings


def title(name: str, found: Sequence[TableRow], language: str) -> str:
    """The heading of a column: in words, a metric by its name, a setting by its path."""
    if name == "metric":
        judges = {judge.name for row in found if (judge := facts.judge(row.run))}
        return (
            say(language, "table.metric.best", metric=metric_name(language, next(iter(judges)))) if len(judges) == 1 else say(language, "table.column.metric")
        )
    if name == "memory" and found:  # of these runs; "peak memory" where it may be either
        return say(language, f"fact.peak.{facts.peak_kind(row.run for row in found)}")
    if f"table.column.{name}" in TABLE:
        return say(language, f"table.column.{name}")
    if name.startswith(("final.", "test.")):
        part, _, metric = name.partition(".")
        return say(language, f"table.metric.{part}", metric=metric_name(language, metric))
    if any(name in row.metrics for row in found):
        return metric_name(language, name)
    return name.removeprefix("method.").removeprefix("training.")


def _column(name: str, found: Sequence[TableRow], language: str) -> dict[str, Any]:
    metric = name == "metric" or any(name in row.metrics for row in found)
    return {"name": name, "title": title(name, found, language), "number": metric or name in table.KINDS or name in ("seed", "step"),
            "down": metric and _greater(name, found)}  # fmt: skip


def _greater(name: str, found: Sequence[TableRow]) -> bool:
    """Whether more of a column is better."""
    if name == "metric":
        judge = next((judge for row in found if (judge := facts.judge(row.run))), None)
        return judge is None or judge.greater
    return name not in table.KINDS and facts.greater_is_better(name.removeprefix("final.").removeprefix("test."))


def _offered(rows: Sequence[TableRow], language: str) -> list[list[str]]:
    """[[name, heading, run | metric | setting]] of every column that there could be."""
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    paths = list(dict.fromkeys(path for row in {row.alike: row for row in rows}.values() for path in row.settings if path not in COLUMNS))
    return [*([name, title(name, (), language), "run"] for name in COLUMNS if name != "name"), *([name, title(name, rows, language), "metric"] for name in metrics),
            *([path, path.removeprefix("method.").removeprefix("training."), "setting"] for path in paths)][:OFFERED]  # fmt: skip


# -- cells


def _row(row: TableRow, columns: Sequence[str], base: TableRow | None, language: str) -> dict[str, Any]:
    run = row.run
    return {"id": run.id, "name": run.name or run.id, "state": run.state, "colour": run_facts.colour(run), "phase": row.columns["phase"] or "",
            "share": run.progress or 0, "cells": [_cell(row, name, base, language) for name in columns]}  # fmt: skip


def written(name: str, value: Any) -> str:
    """A value as its cell says it; "" for none."""
    if value is None or value == []:
        return ""
    if name in WRITTEN:
        return WRITTEN[name](value)
    if name in ("created", "started", "ended"):
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(value))
    if name == "progress":
        return numbers.percent(100 * value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return numbers.number(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _cell(row: TableRow, name: str, base: TableRow | None, language: str) -> Cell:
    value = row.run.tags if name == "tags" else row.value(name)
    if name == "state":
        return ""  # the row says it
    if value is None:
        score = facts.score(row.run) if name == "metric" else None
        return [f"({numbers.number(score.value)})", say(language, "table.no.result"), "", "none"] if score and facts.why_not(row.run) != "going" else ""
    words = written(name, value)
    hover = repr(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else ""
    difference, mark = _difference(row, name, value, base) if base is not None and base is not row else ("", "")
    return [words, hover, difference, mark] if difference or mark else [words, hover] if hover and hover != words else words


def _difference(row: TableRow, name: str, value: Any, base: TableRow) -> tuple[str, str]:
    """(how much more or less than the baseline's, whether that is better); of a setting only that it is another."""
    before = base.value(name)
    measured = name in table.KINDS or name == "metric" or name in row.metrics
    if not measured:
        return "", "other" if name not in ("created", "tags", "notes", "phase", "name") and value != before else ""
    if name == "metric" and facts.judge(row.run) != facts.judge(base.run) or not isinstance(before, (int, float)) or value == before:
        return "", ""
    by = value - before
    amount = f"{abs(by):.2f} %" if name == "percent" and abs(by) >= 0.01 else written(name, abs(by))
    return ("+" if by > 0 else "−") + amount, "better" if (by > 0) == _greater(name, [row]) else "worse"


def _group(group: Members, columns: Sequence[str], language: str) -> dict[str, Any]:
    """{"label", "states", "cells"}: numbers as mean ± deviation (n), other columns where all members say the same."""
    cells: list[Cell] = []
    for name in columns:
        value, deviation, n = group.value(name)
        if name == "state":
            cells.append("")
        elif not n:
            cells.append(written(name, value))
        else:
            spread = f" ± {WRITTEN.get(name, lambda one: numbers.number(one, 2))(deviation)}" if deviation is not None else ""
            cells.append([written(name, value) + spread, say(language, "table.mean.seeds" if group.seeds else "table.mean", n=n, all=len(group.rows))])
    states = dict.fromkeys(row.run.state for row in group.rows)
    return {"label": group.label, "states": list(states), "cells": cells}


# -- views that are kept


def view(asked: Any) -> dict[str, Any]:
    """Keep {"name", "view"} in the lab's store, or drop {"name", "drop": true}: {"views": all of them}, or {"wrong": sentence}."""
    asked = asked if isinstance(asked, Mapping) else {}
    store = default().store
    try:
        if asked.get("drop"):
            store.drop_view(str(asked.get("name")))
        else:
            choice = Choice.of(asked.get("view") if isinstance(asked.get("view"), Mapping) else {})
            query.parse(choice.where)
            store.keep_view(
                asked.get("name"),
                {"where": choice.where, "columns": choice.columns, "sort": choice.sort, "descending": choice.descending, "group": choice.group},
            )
    except Refusal as problem:
        return {"wrong": refused(language_asked(asked), problem)}
    return {"views": store.views()}

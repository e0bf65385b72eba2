"""Every number that a run noted, as rows to take away: its curves, and what it was judged by at its end on the test split.

A row: {"run", "name", "step", "time" (seconds since 1970), "split", "metric", "task", "value"}. `split`: train (the loss), validation, test, or "" for what
is of no split (lr, memory, ranks). Not-a-number stays one, as None in JSON and as an empty cell in CSV.
"""

from __future__ import annotations

import csv
import datetime
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

from lab.design.plain.refusal import Refusal
from lab.design.spec.families import LOSS, OF
from lab.results.facts import numbers_of, tasks_of
from lab.runs import Run, Store

COLUMNS = ("run", "name", "step", "time", "split", "metric", "task", "value")
JUDGED = "eval_"  # before the name of a metric of the validation split


def points(store: Store, runs: Sequence[Run], names: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of runs, by run and step. `names`: only these metrics, as the lab's curves (eval_accuracy) or as `metric` has them. Raises Refusal for one that none has."""
    wanted, found = set(names), set()
    for run in runs:
        curves = store.series(run.id)
        rows = [(step, time, name, value) for name, (steps, values, times) in curves.items()
                for step, value, time in zip(steps.tolist(), values.tolist(), times.tolist(), strict=True)]  # fmt: skip
        tasks = tasks_of(run)
        for step, time, name, value in sorted(rows, key=lambda row: (row[0], row[2])):
            split, metric, task = _parts(name, tasks)
            if not wanted or wanted & {name, metric}:
                found |= {name, metric}
                yield {"run": run.id, "name": run.name, "step": step, "time": time, "split": split, "metric": metric, "task": task, "value": value}
        for name, value in numbers_of(run, "test").items():
            if not wanted or name in wanted:
                found.add(name)
                _, metric, task = _parts(JUDGED + name, tasks)
                step = (run.result.get("best") or {}).get("step", run.step)
                yield {"run": run.id, "name": run.name, "step": step, "time": run.ended, "split": "test", "metric": metric, "task": task, "value": value}
    if missing := wanted - found:
        raise Refusal("None of these runs has a metric {name}.", "name", name=repr(min(missing)[:80]))


def _parts(name: str, tasks: Sequence[str]) -> tuple[str, str, str]:
    """(split, metric, task) of a curve: eval_accuracy/cola is (validation, accuracy, cola)."""
    of = next((task for task in tasks if name.endswith(OF + task)), "")
    metric = name.removesuffix(OF + of) if of else name
    if metric.startswith(JUDGED):
        return "validation", metric.removeprefix(JUDGED), of
    return ("train" if metric == LOSS.name else ""), metric, of


def write_csv(rows: Iterable[dict[str, Any]], file: IO[str]) -> int:
    """Rows as CSV, times in ISO 8601 (UTC); how many. A name that a spreadsheet would read as a formula gets an apostrophe."""
    writer, count = csv.writer(file, lineterminator="\n"), 0
    writer.writerow(COLUMNS)
    for row in rows:
        time = datetime.datetime.fromtimestamp(row["time"], datetime.UTC).isoformat(timespec="milliseconds") if row["time"] else ""
        cells = {**row, "time": time, "value": "" if math.isnan(row["value"]) else repr(row["value"])}
        writer.writerow(["'" + cell if isinstance(cell := cells[name], str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") and name != "value" else cell
                         for name in COLUMNS])  # fmt: skip
        count += 1
    return count


def write_json_lines(rows: Iterable[dict[str, Any]], file: IO[str]) -> int:
    """Rows as JSON, one a line; how many."""
    count = 0
    for row in rows:
        value = row["value"] if math.isfinite(row["value"]) else None
        file.write(json.dumps({**row, "value": value}, ensure_ascii=False) + "\n")
        count += 1
    return count


def frame(rows: Iterable[dict[str, Any]]) -> Any:
    """Rows as a pandas DataFrame, `time` as a date in UTC."""
    import pandas

    found = pandas.DataFrame(rows, columns=list(COLUMNS))
    found["time"] = pandas.to_datetime(found["time"].astype("float64"), unit="s", utc=True)
    return found

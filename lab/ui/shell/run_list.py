"""The list of runs as pages have it: whole at first, then only the rows that have changed, and the order where it is another.

A page says by a mark what it shows. So a poll of a store of thousands of runs costs as much as what has happened since the last one.
"""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any

from lab.results.labels import labels
from lab.runs import Run, default
from lab.ui.shell import run_facts

_TASKS: dict[str, Any] = {}  # of runs whose results do not note what judged them, as those of earlier versions
LENGTH = 5000  # the newest runs; older ones are in `python -m lab runs`


def news(before: int | None, known: str) -> tuple[dict[str, Any], str]:
    """({"rows", "whole": True where these are all, "order": ids where it or a name has changed, "labels": of runs whose names do not tell them apart},
    a print of the order and the names for the next time).

    `before`: the store's version that the page shows, None at first; `known`: the print of the order that it has.
    """
    store = default().store
    names = store.names(LENGTH)
    order = list(names)
    printed = f"{zlib.crc32(repr(names).encode()):x}"
    whole = before is None or (printed != known and len(order) == LENGTH)  # a run that comes into sight has not changed
    rows = [run_facts.row(run) for run in _with_tasks(store.list(specs=False, limit=LENGTH, after=None if whole else before))]
    news = {"order": order, "labels": _labels(names)} if whole or printed != known else {}
    return {"rows": rows, **({"whole": True} if whole else {}), **news}, printed


def _labels(names: dict[str, str]) -> dict[str, str]:
    found = labels({run: name or run for run, name in names.items()})
    return {run: label for run, label in found.items() if label != (names[run] or run)}


def _with_tasks(runs: list[Run]) -> list[Run]:
    """The runs, with the task in their spec where only that says what judged them."""
    unknown = {run.id for run in runs if run.result.get("best") and "judge" not in run.result}
    if unknown - _TASKS.keys():
        _TASKS.update({run.id: run.spec.get("task") for run in default().store.list(limit=LENGTH) if run.id in unknown})
    return [dataclasses.replace(run, spec={"task": _TASKS[run.id]}) if run.id in unknown & _TASKS.keys() else run for run in runs]

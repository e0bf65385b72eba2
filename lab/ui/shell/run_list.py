"""The list of runs as pages have it: whole at first, then only the rows that have changed, and the order where it is another.

A page says by a mark what it shows. So a poll of a store of thousands of runs costs as much as what has happened since the last one.
"""

from __future__ import annotations

import zlib
from typing import Any

from lab.runs import default
from lab.ui.shell import run_facts

LENGTH = 5000  # the newest runs; older ones are in `python -m lab runs`


def news(before: int | None, known: str) -> tuple[dict[str, Any], str]:
    """({"rows", "whole": True where these are all, "order": ids where it has changed}, a print of the order for the next time).

    `before`: the store's version that the page shows, None at first; `known`: the print of the order that it has.
    """
    store = default().store
    order = store.ids(LENGTH)
    printed = f"{zlib.crc32(','.join(order).encode()):x}"
    whole = before is None or (printed != known and len(order) == LENGTH)  # a run that comes into sight has not changed
    rows = [run_facts.row(run) for run in store.list(specs=False, limit=LENGTH, after=None if whole else before)]
    return {"rows": rows, **({"whole": True} if whole else {}), **({"order": order} if whole or printed != known else {})}, printed

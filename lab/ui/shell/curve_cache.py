"""Curves of runs that people look at: thinned once by the database, then only what is new is read.

A poll that thins a curve of 100,000 steps anew walks all of it; this reads the few rows since the last poll and thins what it already has.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from lab.runs import Run
from lab.runs.series import Series, thinned
from lab.runs.store import Store

KEPT = 128  # runs; of each at most POINTS of every curve that pages show
POINTS = 1000
LONGEST = 1250  # points of a curve before it is thinned again


@dataclass
class _Held:
    attempt: int
    version: int = -1
    curves: dict[str, Series | None] = field(default_factory=dict)  # None: it had no points


class Follower:
    """Curves by run, as far as they have been read. Any thread may ask."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, store: Store, run: Run, names: Iterable[str]) -> dict[str, Series]:
        """{name: (steps, values, times)} of the curves that have points. `run` says by its version whether there is news, and by its
        attempt whether steps that were read may have been written again."""
        names = list(dict.fromkeys(names))
        with self._lock:
            held = self._held.get(run.id)
            if held is None or held.attempt != run.attempt:
                held = self._held[run.id] = _Held(run.attempt)
            self._held.move_to_end(run.id)
            while len(self._held) > KEPT:
                self._held.popitem(last=False)
            self._update(store, run, held, names)
            return {name: series for name in names if (series := held.curves.get(name)) is not None}

    @staticmethod
    def _update(store: Store, run: Run, held: _Held, names: list[str]) -> None:
        if held.version != run.version:
            held.version = run.version
            held.curves = {name: series for name, series in held.curves.items() if series is not None}
            ends = {name: int(series[0][-1]) for name, series in held.curves.items()}
            for name, tail in store.series(run.id, list(ends), after=ends, points=POINTS).items():
                joined = tuple(np.concatenate(pair) for pair in zip(held.curves[name], tail, strict=True))
                held.curves[name] = thinned(joined, POINTS) if len(joined[0]) > LONGEST else joined
        missing = [name for name in names if name not in held.curves]
        if missing:
            held.curves |= dict.fromkeys(missing) | store.series(run.id, missing, points=POINTS)

"""Peaks from a log of events: bytes by category at the peak of each phase, and what the caching allocator reserves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lab.planning.allocator import Allocator
from lab.planning.log import BORN, DIED
from lab.planning.result import CATEGORIES


@dataclass
class Peaks:
    """Bytes at the peak of each phase, by category with their total; and the most that the allocator reserves."""

    phases: dict[str, dict[str, int]] = field(default_factory=dict)
    reserved: int = 0

    def largest(self) -> dict[str, int]:
        return max(self.phases.values(), key=lambda peak: peak["total"])


class _Ledger:
    def __init__(self) -> None:
        self.now = dict.fromkeys(CATEGORIES, 0)
        self.total = 0
        self.alive: dict[object, list] = {}
        self.peaks = Peaks()
        self.allocator = Allocator()

    def born(self, name: object, size: int, category: str) -> None:
        self.alive[name] = [size, category]
        self.now[category] += size
        self.total += size
        self.allocator.allocate(name, size)

    def died(self, name: object) -> None:
        size, category = self.alive.pop(name)
        self.now[category] -= size
        self.total -= size
        self.allocator.release(name)

    def labelled(self, name: object, category: str) -> None:
        entry = self.alive[name]
        self.now[entry[1]] -= entry[0]
        self.now[category] += entry[0]
        entry[1] = category

    def see(self, phase: str) -> None:
        peak = self.peaks.phases.get(phase)
        if peak is None or self.total > peak["total"]:
            self.peaks.phases[phase] = {**self.now, "total": self.total}


def replay(events: Iterable[tuple]) -> Peaks:
    """One step on a fresh cache, with weights and the optimizer's state in place; `events` are those of `Log.plain()` or `Log.unroll()`.

    Steps before it would leave freed blocks of other sizes behind, of which some runs reserve more; which depends on the lengths of all rows.
    """
    ledger = _Ledger()
    for phase, kind, name, size, category in events:
        if kind == BORN:
            ledger.born(name, size, category)
        elif kind == DIED:
            ledger.died(name)
        else:
            ledger.labelled(name, category)
        if phase != "before":
            ledger.see(phase)
    ledger.peaks.reserved = ledger.allocator.peak_reserved
    return ledger.peaks

"""What a tracker is told of a run, and the protocol of those that are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lab.design.plain.differences import flatten

PROJECT = "delta-lab"  # what the runs of a lab stand under, unless a tracker's own variable names another project
Row = tuple[int, dict[str, float], float]  # step, {metric: value}, seconds since 1970


@dataclass(frozen=True)
class About:
    """A run as trackers see it. `config`: its specification by dotted path; `folder`: where a tracker may keep files of this run; `home`: of the lab.

    `memory`: what a tracker noted when it saw this run before ({} the first time), as text; it may add to it.
    """

    run: str
    name: str
    config: Mapping[str, Any]
    folder: Path
    home: Path
    memory: dict[str, str] = field(default_factory=dict)


class CurveTracker(Protocol):
    """One place that curves go to. Whatever a method raises ends this tracker's part, and nothing else."""

    name: str  # of the option, and of the package

    def begin(self, about: About) -> None:
        """Open the run there, or open it again."""

    def rows(self, rows: Sequence[Row]) -> None:
        """Points of the curves, by step."""

    def end(self, state: str, summary: Mapping[str, float]) -> None:
        """The run is over, in this state, with these final numbers ({"best/accuracy": ...}), or the mirror ends (state running)."""


def config_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """{dotted path: plain value} of a specification, without what is empty and without checksums."""
    found = dict(flatten({**spec, "origins": None}))
    return {path: ", ".join(map(str, value)) if isinstance(value, list) else value for path, value in found.items() if value not in (None, "", [], {})}


def summary_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The final numbers of a run's result: best/…, final/…, test/… and its costs."""
    found = {}
    for part, title in (("best", "best"), ("metrics", "final"), ("test", "test")):
        values = result.get(part)
        found |= {f"{title}/{name}": float(value) for name, value in (values if isinstance(values, Mapping) else {}).items() if _is_number(value)}
    return found | {name: float(result[name]) for name in ("trainable", "percent", "peak_bytes", "seconds") if _is_number(result.get(name))}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

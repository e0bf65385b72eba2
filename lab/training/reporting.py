"""Whom a run reports to. `lab.runs.WorkerLink` is one; `Record` keeps everything in memory, for notebooks and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol


class Reporter(Protocol):
    """Where metrics and progress go, and who may ask a run to stop."""

    def log(self, step: int, values: Mapping[str, float], *, total_steps: int | None = None) -> None:
        """Note metric values of a step."""

    def progress(self, step: int, total_steps: int | None = None) -> None:
        """Say where the run is."""

    def phase(self, name: str, share: float | None = None) -> None:
        """Say what is being done (`lab.runs.records.PHASES`), and which part of it is over (0 to 1; None: not known)."""

    def flush(self) -> bool:
        """Have everything noted so far written down, and say whether it is and the run is still ours: no checkpoint is written otherwise."""

    def stopping(self) -> bool:
        """Whether to end soon."""


class Record:
    """A reporter in memory: `rows` as (step, name, value), `curve("loss")` as {step: value}. `stop_when(step)` may ask to stop."""

    def __init__(self, stop_when: Callable[[int], bool] = lambda step: False):
        self.rows: list[tuple[int, str, float]] = []
        self.step = 0
        self.total_steps: int | None = None
        self.phases: list[tuple[str, float | None]] = []
        self.stop_when = stop_when

    def log(self, step: int, values: Mapping[str, float], *, total_steps: int | None = None) -> None:
        self.rows += [(step, name, value) for name, value in values.items()]
        self.progress(step, total_steps)

    def progress(self, step: int, total_steps: int | None = None) -> None:
        self.step, self.total_steps = step, total_steps or self.total_steps

    def phase(self, name: str, share: float | None = None) -> None:
        self.phases.append((name, share))

    def flush(self) -> bool:
        return True

    def stopping(self) -> bool:
        return self.stop_when(self.step)

    def curve(self, name: str) -> dict[int, float]:
        """A metric by step; of a step that was logged twice, the later value."""
        return {step: value for step, each, value in self.rows if each == name}

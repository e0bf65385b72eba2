"""The runs of a search over the lab's own queue: each an ordinary run with the search's name for a tag, on this machine or on Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lab import verbs
from lab.design.plain.message import word
from lab.design.plain.refusal import Note, Refusal
from lab.design.spec.run import RunSpec
from lab.results.facts import numbers_of, score
from lab.runs.records import CANCELLED, INTERRUPTED, RESUMABLE, SUCCEEDED, Run
from lab.searching.costs import Costs, Meter

PAUSE = 0.5
WARM_SECONDS = 60.0  # that the first runs wait for a fork server


class Halted(Exception):
    """The search was asked to stop."""


@dataclass(frozen=True)
class SearchJob:
    """A run to be trained. `run`: its id; `test`: its number is that of the test split."""

    run: str
    spec: RunSpec
    test: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a job came to: a number, or a sentence on why there is none."""

    value: float | None
    seconds: float | None = None
    error: str = ""


class Bench(Protocol):
    """What a search needs of a lab. Tests give a fake one."""

    def costs(self, run: RunSpec) -> Costs: ...

    def fitted(self, point: dict[str, Any]) -> dict[str, Any]: ...

    def check(self, run: RunSpec) -> None: ...

    def train(self, jobs: Sequence[SearchJob], report: Callable[[str], None], again: bool) -> list[Outcome]: ...


class LabBench:
    """The lab itself. `stopping`: asked between two looks at the queue."""

    def __init__(self, meter: Meter, stopping: Callable[[], bool]):
        self.meter, self.stopping = meter, stopping
        self.costs, self.fitted = meter.costs, meter.fitted
        self._warm = False

    def check(self, run: RunSpec) -> None:
        """Raise Refusal for a run that the lab would not start."""
        verbs.check(run)

    def train(self, jobs: Sequence[SearchJob], report: Callable[[str], None], again: bool) -> list[Outcome]:
        """Train all jobs and wait for them; those that are in the store already are only waited for. `again`: the first time after a search was
        taken up again, when what ended early is resumed. Raises Halted, with every job stopped, when a stop is asked for."""
        lab = verbs.queue()
        if not self._warm and len(jobs):
            self._warm = True
            self._await_warmth(lab)
        known = lab.store.known([job.run for job in jobs])
        refused: dict[str, str] = {}
        for job in jobs:
            try:
                if job.run not in known:
                    checked = verbs.check(job.spec)
                    lab.launch(checked.document(), checked.name, checked.tags, run_id=job.run)
                elif again and (run := lab.store.get(job.run)).state in RESUMABLE and run.state in (CANCELLED, INTERRUPTED):
                    verbs.resume(job.run)
            except Refusal as problem:
                refused[job.run] = problem.sentence
        waited = [job.run for job in jobs if job.run not in refused]
        over = self._wait(lab, waited, report)
        return [Outcome(None, error=refused[job.run]) if job.run in refused else _outcome(over[job.run], job.test) for job in jobs]

    def _await_warmth(self, lab: Any) -> None:
        """Until workers start warm, where they may, or a stop is asked for."""
        until = time.monotonic() + WARM_SECONDS
        while time.monotonic() < until and not self.stopping():
            began = time.monotonic()
            if lab.warm(wait=PAUSE) or time.monotonic() - began < PAUSE / 2:  # it is there, or there will be none
                return

    def _wait(self, lab: Any, ids: Sequence[str], report: Callable[[str], None]) -> dict[str, Run]:
        seen: dict[str, str] = {}
        while True:
            lab.reconcile()
            found = {run_id: lab.store.get(run_id) for run_id in ids}
            for run in found.values():
                if seen.get(run.id) != run.state:
                    seen[run.id] = run.state
                    report(f"  {run.id} {run.state} · {run.name}")
            if all(run.over for run in found.values()):
                return found
            if self.stopping():
                for run_id in ids:
                    lab.stop(run_id, wait=False)
                until = time.monotonic() + 20
                while any(lab.store.get(run_id).active for run_id in ids) and time.monotonic() < until:
                    lab.reconcile()
                    time.sleep(PAUSE)
                raise Halted
            time.sleep(PAUSE)


def _outcome(run: Run, test: bool) -> Outcome:
    if run.state != SUCCEEDED:
        return Outcome(None, error=run.error or Note("Its run was {state}.", state=word(run.state)))
    found = score(run)
    seconds = run.result.get("seconds")
    value = numbers_of(run, "test").get(found.metric.name) if test and found else found.value if found else None
    return Outcome(value, float(seconds) if isinstance(seconds, (int, float)) else None, "" if value is not None else Note("Nothing judged it."))

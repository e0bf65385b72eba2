"""How long a run will take, from runs that are over: before it starts nothing else is known. Torch-free.

Only runs of the same model and task on the same device count, with the same length of input, precision and checkpointing. Of those the
nearest are taken: the same kind of method and batch, else the same kind with other batches, else any method. Their rows per second give
the time of the steps; what their evaluations took for a row gives that of the evaluations as they are planned, and the rest stays as it was.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from lab.design.plain.options import validate
from lab.design.spec.evaluation import Split, plan
from lab.design.spec.run import EPOCHS, EVALUATIONS, Training
from lab.runs.records import SUCCEEDED, Run
from lab.runs.slots import devices_of_spec

NEWEST = 10  # runs that count
FEWEST = 10  # steps of a run that counts: the first ones are slower than all others


@dataclass(frozen=True)
class Estimate:
    """Seconds of a whole run; `low` and `high` are those by the fastest and the slowest of the `runs` runs; `alike`: method, kind or task."""

    seconds: float
    low: float
    high: float
    runs: int
    alike: str


def estimate(document: Mapping[str, Any], runs: Iterable[Run], device: str, host: str) -> Estimate | None:
    """The time of a run with this spec, None where no run that is over says anything.

    `device`: cpu or an accelerator's name, as results have it; processors of another `host` do not count. `runs`: newest first.
    """
    known = [run for run in runs if run.state == SUCCEEDED and _measured(run) and _place(run, host) == (device, host if device == "cpu" else "")
             and _setting(run.spec) == _setting(document)]  # fmt: skip
    for alike, same in (("method", lambda run: _kind(run.spec) == _kind(document) and _batch(run.spec) == _batch(document)),
                        ("kind", lambda run: _kind(run.spec) == _kind(document)), ("task", lambda run: True)):  # fmt: skip
        found = [run for run in known if same(run)][:NEWEST]
        if found:
            times = [_seconds(document, run) for run in found]
            return Estimate(median(times), min(times), max(times), len(found), alike)
    return None


def time_left(going: Iterable[float], waiting: Iterable[float], slots: int) -> float:
    """Seconds until the last of some runs is over: those of `going` have a slot and this much left, the others take this long and start as slots come free."""
    free = sorted(going)[-slots:] if slots > 0 else []
    free = [0.0] * (max(1, slots) - len(free)) + free
    for seconds in waiting:
        heapq.heapify(free)
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def _measured(run: Run) -> bool:
    numbers = [run.result.get(name) for name in ("seconds", "training_seconds", "rows_per_second", "train_rows", "steps")]
    return all(isinstance(n, (int, float)) and n > 0 for n in numbers) and run.result["steps"] >= FEWEST


def _place(run: Run, host: str) -> tuple[str, str]:
    device = str(run.result.get("device", ""))
    return device, (run.host or "") if device == "cpu" else ""


def _setting(document: Mapping[str, Any]) -> str:
    training = document.get("training") or {}
    named = [document.get("model"), document.get("quantisation") or "none", document.get("task"), *(document.get("further") or ())]
    how = [training.get(name) for name in ("max_length", "precision", "gradient_checkpointing", "compile")]
    return json.dumps([*named, *how, devices_of_spec(document), training.get("sharding") or "none"], sort_keys=True)


def _kind(document: Mapping[str, Any]) -> str:
    """What decides over the cost of a method's step: its forms and where they stand, or what it selects; not its ranks."""
    method = document.get("method") or {}
    deltas = [(d.get("form"), d.get("composition"), sorted(d.get("at") or ()), d.get("trainable")) for d in method.get("deltas") or ()]
    return json.dumps([deltas, method.get("select")], sort_keys=True)


def _batch(document: Mapping[str, Any]) -> int:
    training = document.get("training") or {}
    return int(training.get("batch_size") or 32)


def _seconds(document: Mapping[str, Any], run: Run) -> float:
    """The time of `document` at the pace of `run`: its steps, its evaluations as they are planned, and what begins and ends a run."""
    steps, rows = _steps(document, run.result["train_rows"])
    beside, made = max(0.0, run.result["seconds"] - run.result["training_seconds"]), run.result.get("evaluations")
    if isinstance(made, Mapping) and made.get("cost") and made.get("splits"):
        alone = rows // devices_of_spec(document)  # of one process, as each judges all rows
        ahead = plan(validate(Training, dict(document.get("training") or {})), steps, alone, [Split(*each) for each in made["splits"]]).to_come(-1)
        beside = max(0.0, beside - made["seconds"]) + made["seconds"] / made["cost"] * ahead
    else:  # a run of an earlier lab, which was judged ten times
        beside *= _evaluations(document, steps) / _evaluations(run.spec, run.result["steps"])
    return steps * rows / run.result["rows_per_second"] + beside


def _steps(document: Mapping[str, Any], train_rows: int) -> tuple[int, int]:
    """(optimizer steps, rows in each)."""
    training = document.get("training") or {}
    rows = _batch(document) * int(training.get("accumulation") or 1) * devices_of_spec(document)
    steps = training.get("steps")
    steps = int(steps if steps is not None else max(1, math.ceil((training.get("epochs") or EPOCHS) * math.ceil(train_rows / rows))))
    return min(steps, int(training.get("until") or steps)), rows


def _evaluations(document: Mapping[str, Any], steps: int) -> int:
    """Evaluations during a run, and what its beginning and end take counted as one more."""
    every = (document.get("training") or {}).get("evaluate_every") or max(1, steps // EVALUATIONS)
    return 1 + math.ceil(steps / every)

"""The best design under a budget: a search over the lab's own queue. Never imports torch; optuna only when a search is driven.

record = search({"model": "minilm-l6", "task": "sentiment-rt", "training": {"steps": 150}, "budget": "0.3 % weights, 900 MB",
                 "space": {"deltas.0.rank": "1..64 log", "training.lr": "1e-4..1e-2 log"}, "anchors": ["lora", "bitfit"]})
record.verdict["sentences"]
"""

from __future__ import annotations

import importlib.metadata
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from lab import __version__, verbs
from lab.design.plain import installed
from lab.design.plain.refusal import Refusal
from lab.design.spec.families import judging
from lab.design.spec.search import SearchSpec, search_of
from lab.runs import default
from lab.runs.home import LETTERS
from lab.searching import record as kept
from lab.searching.costs import Meter
from lab.searching.record import SearchRecord, ask_stop, driven, names, read
from lab.tasks import resolve as resolve_task

__all__ = ["SearchRecord", "ask_stop", "begin", "drive", "driven", "extend", "names", "read", "search", "start", "stop", "summary"]


def search(spec: SearchSpec | Mapping[str, Any], say: Callable[[str], None] | None = None) -> SearchRecord:
    """Begin a search and drive it to its end in this process; its record. Raises Refusal before anything starts."""
    return drive(begin(spec), say)


def begin(spec: SearchSpec | Mapping[str, Any]) -> str:
    """Check a search as a whole and make its record; its name. Raises Refusal with the field."""
    found = spec if isinstance(spec, SearchSpec) else search_of(dict(spec))
    metric = check(found)
    name = found.name or "search-" + "".join(secrets.choice(LETTERS) for _ in range(4))
    found = found.model_copy(update={"name": name})
    versions = {"lab": __version__, "optuna": importlib.metadata.version("optuna")}
    kept.create(SearchRecord(name, found.document(), metric.name, metric.greater, time.time(), state=kept.STOPPED, versions=versions))
    return name


def check(spec: SearchSpec) -> Any:
    """The metric that judges it, after everything that can be known beforehand was looked at. Raises Refusal."""
    task = resolve_task(spec.task)
    metric = judging(task.family, task.metric)
    if metric is None:
        raise Refusal("Nothing judges the runs of this task.", "task")
    meter = Meter(spec)
    document = spec.base()
    points: list[dict[str, Any]] = [{"method": anchor.method, **anchor.set} for anchor in spec.anchors]
    verbs.check({**spec.at(points[0]).document(), "origins": None} if points else document)  # model, task and weights are there
    for index, point in enumerate(points):
        try:
            meter.fitted(point)
        except Refusal as problem:
            raise Refusal(problem.sentence, f"anchors.{index}") from None
    return metric


def drive(name: str, say: Callable[[str], None] | None = None) -> SearchRecord:
    """Drive a search to its end, or until it is asked to stop; its record. Raises Refusal where another process drives it, or its lab has changed."""
    from lab.searching.driver import Driver
    from lab.searching.jobs import LabBench

    with kept.driving(name):
        kept.clear_stop(name)
        record = read(name)
        if record.phase == kept.DONE:
            return record
        bench = LabBench(Meter(record.search()), lambda: kept.stop_asked(name))
        return Driver(record, bench, kept.keep, say or (lambda line: None)).run()


def start(name: str) -> None:
    """Have a process of its own drive a search, which goes on when this one ends. Raises Refusal where it is driven already."""
    record = read(name)
    if driven(name):
        raise Refusal("The search '{name}' is being driven already.", "search", name=name)
    if record.phase == kept.DONE:
        raise Refusal("The search '{name}' is at its end.", "search", name=name)
    kept.clear_stop(name)
    environment = {**os.environ, "LAB_HOME": str(default().home.path), "PYTHONPATH": installed.python_path()}
    with (kept.folder(name) / "log.txt").open("ab") as log:
        subprocess.Popen([sys.executable, "-m", "lab", "search", "--resume", name], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                         env=environment, start_new_session=True, close_fds=True)  # fmt: skip


def stop(name: str) -> SearchRecord:
    """Ask for the end of a search and its runs; where nobody drives it, its runs are stopped from here. The record as it is then."""
    ask_stop(name)
    if not driven(name):
        lab = default()
        for run in lab.store.list(["queued", "starting", "running"], tag=name, limit=1000):
            lab.stop(run.id, wait=False)
        record = read(name)
        if record.phase != kept.DONE:
            record.state = kept.STOPPED
            kept.keep(record)
    return read(name)


def extend(name: str, trials: int | None = None, minutes: float | None = None) -> None:
    """More trials or minutes for a search whose last rung has not begun. Raises Refusal."""
    with kept.driving(name):
        record = read(name)
        if record.phase != kept.TRIALS:
            raise Refusal("The last rung of '{name}' has begun, so it takes no more trials.", "trials", name=name)
        changes = {field: value for field, value in (("trials", trials), ("minutes", minutes)) if value is not None}
        record.spec = search_of({**record.spec, **changes}).document()
        kept.keep(record)


def summary(record: SearchRecord) -> dict[str, Any]:
    """A record as terminals and the API tell it."""
    chosen = set(record.chosen)
    rows = [{"trial": trial.number, "from": trial.origin, "design": trial.label, "state": trial.state, "reason": trial.reason, "weights": trial.weights,
             "percent": trial.percent, "memory": trial.memory, "step": trial.standing[1], "value": trial.standing[0], "seconds": trial.standing[2], "point": trial.point,
             "rungs": [vars(rung) for rung in trial.rungs], "finals": {seed: vars(one) for seed, one in trial.finals.items()} if trial.number in chosen else {},
             "tests": {seed: vars(one) for seed, one in trial.tests.items()}} for trial in record.trials]  # fmt: skip
    state = record.state if record.state != kept.RUNNING or driven(record.name) else "interrupted"
    return {"name": record.name, "state": state, "phase": record.phase, "metric": record.metric, "greater_is_better": record.greater, "trials": rows,
            "refused": record.refused, "seconds": record.seconds, "note": record.note, "chosen": record.chosen, "importance": record.importance,
            "verdict": record.verdict, "spec": record.spec, "versions": record.versions}  # fmt: skip

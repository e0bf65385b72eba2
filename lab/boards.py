"""The papers' boards at work: their runs go through the queue like any others, and what they came to is kept in a file of its own.

    work("he-2022-table-5", Path("boards"))   # runs what is missing, or goes on; Ctrl-C leaves runs as they are, the next call finds them

A file per board, boards/NAME.json: {run's key: its numbers, the fingerprint of its spec, the commit and versions that made it}. It outlives the lab's home, so
that a board is finished over several sittings, on one machine or on several. What to run is decided in `lab.design.spec.board`.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from lab import __version__, verbs
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.design.spec import board as boards
from lab.design.spec.board import BoardRun
from lab.design.spec.fingerprint import fingerprint
from lab.results.facts import counts, judge, numbers_of
from lab.runs import RESUMABLE, Run

AHEAD = 2  # runs that wait in the queue besides those that train
MADE_WITH = ("torch", "transformers", "accelerate")
POLL = 0.5


def kept(name: str, folder: Path) -> dict[str, dict[str, Any]]:
    """The results of a board so far, by run. Raises Refusal for a file that is none."""
    file = folder / f"{name}.json"
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise Refusal("{file} is not a file of a board's results.", "results", file=file) from None
    if not isinstance(found, dict) or not all(isinstance(row, dict) for row in found.values()):
        raise Refusal("{file} is not a file of a board's results.", "results", file=file)
    return found


def keep(name: str, folder: Path, key: str, result: Mapping[str, Any]) -> None:
    """Put one result beside the others, whole or not at all."""
    now = {**kept(name, folder), key: dict(result)}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    part = file.with_suffix(".part")
    part.write_text(json.dumps(now, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, file)


def standing(name: str, folder: Path) -> dict[str, Any]:
    """{"board", "title", "where", "done", "runs", "due"}: how far a board is. `due`: runs that can begin now."""
    board, found = boards.load(name), kept(name, folder)
    todo = len(boards.due(name, found))
    done = sum(boards.result_of(one, found) is not None for one in _all(name, found))
    return {"board": name, "title": board.title, "where": board.where, "done": done, "runs": boards.size(name), "due": todo}


def _all(name: str, found: Mapping[str, Any]) -> Iterator[BoardRun]:
    """Every run that the board has now."""
    board = boards.load(name)
    for cell in board.cells:
        rate = boards.chosen_rate(name, cell, found)
        yield from (boards.job(name, cell, one, 0) for one in board.rates)
        yield from (boards.job(name, cell, rate, seed) for seed in range(1, board.seeds) if rate is not None)


def work(name: str, folder: Path, minutes: float | None = None, progress: Callable[[str, Run | None], None] | None = None) -> dict[str, Any]:
    """Run what a board lacks, as many at once as the lab has slots, until it is whole or `minutes` are over; `standing` then, with "failed".

    Runs that an earlier call queued, or left unfinished, are taken up again. After `minutes` nothing new begins, and what trains goes on to its end.
    Raises Refusal for a time or a folder that is none, before anything begins.
    """
    if minutes is not None and not minutes >= 0:
        raise Refusal("A time is from 0 minutes on; {minutes} was given.", "minutes", minutes=minutes)
    _require_folder(folder)
    until = None if minutes is None else time.monotonic() + 60 * minutes
    failed: dict[str, str] = {}
    underway: dict[str, str] = {}
    if boards.load(name).measure == "memory":
        _plan(name, folder, progress)
        return {**standing(name, folder), "failed": failed}
    there = _there(name)
    while True:
        for key, run_id in list(underway.items()):
            run = verbs.queue().store.get(run_id)
            if progress:
                progress(key, run)
            if run.over:
                del underway[key]
                problem = _note(name, folder, key, run)
                if problem:
                    failed[key] = problem
        waiting = [one for one in boards.due(name, kept(name, folder)) if one.key not in underway and one.key not in failed]
        over = until is not None and time.monotonic() > until
        room = verbs.queue().count + AHEAD - len(underway)
        for one in waiting[: 0 if over else max(0, room)]:
            underway[one.key] = _taken_up(one, there) or _launched(one)
        if not underway:
            return {**standing(name, folder), "failed": failed}
        verbs.queue().reconcile()  # which starts what waits
        time.sleep(POLL)


def _require_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal("{path} cannot be written ({reason}).", "results", path=folder, reason=word(error.strerror)) from None
    if not os.access(folder, os.W_OK):
        raise Refusal("{path} cannot be written ({reason}).", "results", path=folder, reason=word(os.strerror(errno.EACCES)))


def _launched(one: BoardRun) -> str:
    checked = verbs.check(one.spec)
    return verbs.queue().launch(checked.document(), checked.name, checked.tags)


def _there(name: str) -> dict[str, Run]:
    """Runs of this board that the lab has already, by the fingerprint of their spec; the newest of those that are one."""
    found: dict[str, Run] = {}
    for run in verbs.queue().store.list(tag=boards.tag(name)):
        found.setdefault(_print_of(run), run)
    return found


def _taken_up(one: BoardRun, there: dict[str, Run]) -> str:
    """The run of an earlier sitting that does this job, "" where there is none; one that ended early goes on from its checkpoint."""
    run = there.pop(one.print, None)
    if run is None:
        return ""
    if run.state in RESUMABLE:
        try:
            verbs.resume(run.id)
        except Refusal:  # what it was made from has changed: it runs afresh
            return ""
    return run.id


def _print_of(run: Run) -> str:
    from lab.design.spec.run import spec_of

    try:
        return fingerprint(spec_of({**run.spec, "origins": None}))
    except Refusal:  # of an earlier lab
        return ""


def _note(name: str, folder: Path, key: str, run: Run) -> str:
    """Keep what a run came to; the problem where it did not end well. One that learned nothing counts with the number it stayed at: without it a rate at
    which runs fail would be missing for ever, and a mean over seeds would be of those that had luck."""
    if run.state != "succeeded":
        return run.error or f"run {run.id} ended as {run.state}"
    metric = judge(run)
    test, best = numbers_of(run, "test"), numbers_of(run)
    measured = test.get(metric.name) if metric else None
    if boards.load(name).measure == "forgetting":
        before, after = (run.result["probe"][when]["loss"] for when in ("before", "after"))
        measured = after - before
    keep(name, folder, key, {
        "spec": _print_of(run), "metric": metric.name if metric else "", "greater": metric.greater if metric else True,
        "validation": best.get(metric.name) if metric else None, "value": measured, "trainable": run.result.get("trainable"),
        "percent": run.result.get("percent"), "seconds": run.result.get("seconds"), "peak_bytes": run.result.get("peak_bytes"),
        "lr": run.spec["training"]["lr"], "run": run.id, **({} if counts(run) else {"stalled": True}), **made(),
    })  # fmt: skip
    return ""


def _plan(name: str, folder: Path, progress: Callable[[str, Run | None], None] | None) -> None:
    board = boards.load(name)
    for one in boards.due(name, kept(name, folder)):
        found = verbs.plan(one.spec, **board.plan, batch=one.spec.training.batch_size)
        keep(name, folder, one.key, {"spec": one.print, "metric": "peak memory", "greater": False, "validation": None,
                                     "value": found["peak_allocated_bytes"], "trainable": found["trainable"], "seconds": found["seconds"], **made()})  # fmt: skip
        if progress:
            progress(one.key, None)


def made() -> dict[str, Any]:
    """{"on", "commit", "versions"}: the day, the commit of a checkout ("" elsewhere) and what the numbers were made with."""
    return {"on": time.strftime("%Y-%m-%d"), "commit": _commit(), "versions": {"delta-lab": __version__, **{one: metadata.version(one) for one in MADE_WITH}}}


def _commit() -> str:
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return ""
    answer = subprocess.run(["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip()

"""The worker process: `python -m lab.training.worker RUN`, started detached by lab.runs.

It claims the run, trains (of a run over several devices as the first of its processes, see ranks.py), and tells the end: exit code 0 for succeeded and
for a stop that was asked for, 1 for a failure, with one sentence of advice in the store and the traceback in the log. SIGTERM ends it after the step in
progress, with a checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

from lab.design.plain.message import Message
from lab.design.plain.refusal import Refusal
from lab.runs import WorkerLink
from lab.runs.records import CANCELLED, SUCCEEDED
from lab.runs.slots import devices, devices_of_spec, slots
from lab.tracking import mirror
from lab.training.preload import quiet
from lab.training.ranks import Ranks


class Heard:
    """A WorkerLink that also hears SIGTERM when nobody but the system sends it."""

    def __init__(self, link: WorkerLink):
        self.link, self.log, self.progress, self.phase, self.flush, self.stopping = link, link.log, link.progress, link.phase, link.flush, link.stopping
        signal.signal(signal.SIGTERM, lambda number, frame: link.terminated())


def main(run_id: str) -> int:
    """Run one run to its end; the exit code."""
    quiet()
    os.environ.setdefault("LAB_DATABASE_WAIT", "3600")  # who started it had a store
    if os.environ.get("LAB_RUN_ID") == run_id and not (Path(os.environ.get("LAB_HOME", "")) / "runs" / run_id).is_dir():
        print(f"[lab] The folder of run {run_id} is not in LAB_HOME any more; nothing is made in its place.", file=sys.stderr)
        return 2
    try:
        link = WorkerLink(run_id)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 2
    try:
        return lead(link)
    except BaseException as error:  # whatever it is, the store must hear of it
        link.flush()  # which asks the store whose run this is
        if link.lost:
            print("[lab] This run was deleted or started anew meanwhile; this worker writes nothing more.", file=sys.stderr, flush=True)
            return 0
        traceback.print_exc()
        sentence = getattr(error, "sentence", None)  # of a Refusal, or of a loss that is none any more
        link.fail(sentence or error, advice=sentence, exit_code=1)
        return 1


def lead(link: WorkerLink) -> int:
    """Train as the first (or only) process of the run, and tell its end."""
    heard = Heard(link)
    mirror.beside(link.run, link.home, link.store, lambda sentence: print(f"[lab] {sentence}", file=sys.stderr, flush=True))
    with Ranks(link, devices_of_spec(link.run.spec)):
        result = train_as(link.run.spec, link.run.id, heard, link.run_dir, link.home.cache)
    if result["state"] == "cancelled":
        link.finish(CANCELLED, result)
        return 0
    from lab.training.artefacts import astray

    problem = astray(link.run_dir, result) if link.at_home() else Message("its folder was taken out of LAB_HOME, or deleted, while it trained")
    if problem:
        raise Refusal("The run came to its end, but its files are not there as its result says: {problem}.", "run", problem=problem)
    link.finish(SUCCEEDED, result)
    return 0


def share_cores() -> None:
    """On a CPU that several runs share, take a fair part of its cores: two runs that each take all of them are ten times slower."""
    import torch

    sharing = max(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), slots())  # a run over several devices has as many of the slots
    if "OMP_NUM_THREADS" not in os.environ and sharing > 1 and not devices():
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // sharing))


def train_as(spec: dict, run_id: str, reporter: object, run_dir: Path, cache: Path) -> dict:
    """Train in one process of a run; what `lab.training.train` gives."""
    from lab.design.spec.run import spec_of
    from lab.training.running import train

    share_cores()
    return train(spec_of(spec), reporter, run_dir, cache=cache, run_id=run_id)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python -m lab.training.worker RUN", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))

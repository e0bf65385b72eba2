"""A search to test with, and a bench whose runs are formulas."""

from __future__ import annotations

from search_worker import value_of

from lab.searching.costs import Meter
from lab.searching.jobs import Outcome

DOCUMENT = {
    "model": "minilm-l6", "task": "sentiment-rt", "method": "lora", "training": {"steps": 90, "energy": False},
    "space": {"deltas.0.rank": "1..64 log", "training.lr": "1e-4..1e-2 log", "deltas.0.dropout": [0, 0.1]},
    "budget": "0.3 % weights, 900 MB", "anchors": ["lora", "bitfit", "adapter-pfeiffer"], "trials": 9, "seeds": 3,
}  # fmt: skip


class Made:
    """A bench whose runs are formulas. It crashes at the n-th call, as a process that is killed, and keeps what its runs came to, as a queue does."""

    def __init__(self, meter: Meter, dies: int = 0, done: dict | None = None):
        self.costs, self.fitted = meter.costs, meter.fitted
        self.dies, self.done, self.jobs = dies, {} if done is None else done, []

    def check(self, run):
        pass

    def train(self, jobs, report, again):
        self.dies -= 1
        for job in jobs:
            self.jobs.append(job)
            steps = job.spec.training.until or job.spec.training.steps
            self.done.setdefault(job.run, Outcome(value_of(job.spec.document(), steps) - 0.01 * job.test, float(steps)))
        if self.dies == 0:
            raise KeyboardInterrupt
        return [self.done[job.run] for job in jobs]


def peak(document):
    """As if memory rose with the rank: some of the space does not fit."""
    return 700_000_000 + 20_000_000 * sum(delta["rank"] for delta in document["method"]["deltas"])

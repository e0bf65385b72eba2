"""Evaluation while a run trains and at its end: on which rows, which checkpoint is the best, and when there is nothing more to gain.

When and on how many rows is planned in `lab.design.spec.evaluation`.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from lab.design.spec.evaluation import FORWARD, EvaluationPlan, Split
from lab.design.spec.families import together
from lab.design.spec.objectives import OBJECTIVES
from lab.tasks import answered

if TYPE_CHECKING:
    from lab.tasks import Prepared
    from lab.training.assembly import Assembly

LARGER = 4  # evaluation batches against training batches: nothing is kept for backward


class Judge:
    """The best evaluation so far by the task's metric, and how many there were since without gain."""

    def __init__(self, metric: str, greater_is_better: bool, patience: int | None = None):
        self.metric, self.sign, self.patience = metric, 1 if greater_is_better else -1, patience
        self.best: dict[str, float] | None = None  # {"step", "loss", metric, ...}
        self.stale = 0

    def better(self, values: dict[str, float], than: dict[str, float] | None) -> bool:
        """Whether these values beat those: by the metric, and by the loss where that is equal (BLEU stays at 0 for a while). No number never does."""
        new = values.get(self.metric, math.nan)
        if not math.isfinite(new):
            return False
        if than is None or new != than[self.metric]:
            return than is None or self.sign * new > self.sign * than[self.metric]
        return values.get("loss", math.inf) < than.get("loss", -math.inf)

    def see(self, step: int, values: dict[str, float]) -> bool:
        """Note an evaluation; whether it is the best so far."""
        if self.better(values, self.best):
            self.best, self.stale = {"step": step, **values}, 0
            return True
        self.stale += 1
        return False

    @property
    def give_up(self) -> bool:
        """Whether as many evaluations in a row as the run's patience brought no gain."""
        return self.patience is not None and self.stale >= self.patience

    def forget(self) -> None:
        """Begin again: what was best belongs to another phase of the method."""
        self.best, self.stale = None, 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self.best, "stale": self.stale}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.best, self.stale = state["best"], state["stale"]


class Evaluator:
    """Runs the tasks' own evaluation. All processes of a run evaluate alike and then agree on the first one's numbers."""

    def __init__(
        self, assembly: Assembly, accelerator: Accelerator, plan: EvaluationPlan, phase: Callable[[str, float | None], None] = lambda name, share: None
    ):
        self.assembly, self.accelerator, self.plan, self.phase = assembly, accelerator, plan, phase
        self.batch_size = assembly.spec.training.batch_size * LARGER
        self.all = {name: task.validation for name, task in assembly.tasks.items()}
        self.some, self.last = ({name: draw(rows, most) for name, rows in self.all.items()} for most in (plan.some, plan.last))
        self.answered: dict[str, dict[str, Any]] = {}  # what each row of the newest evaluation came to, by task: see `lab.tasks.answered`
        self.of: dict[str, int] = {}  # rows of the splits that they are of
        self.made = {"times": 0, "rows": 0, "cost": 0.0, "seconds": 0.0}  # on validation rows so far; cost in rows that are trained on

    def during(self, stopping: Callable[[], bool] | None = None) -> dict[str, float]:
        """On the rows used during training. Raises lab.tasks.Stopped when `stopping()` turns true (one process only)."""
        alone = self.accelerator.num_processes == 1
        return self._counted(self.some, self.plan.some, stopping if alone else None)

    def at_the_end(self) -> dict[str, float]:
        """On the rows of the judgement at the end: the whole validation split where there is room for it."""
        return self._counted(self.last, self.plan.last)

    def test(self) -> dict[str, float]:
        """On the whole test split; empty where the task has none with labels."""
        rows = {name: task.test for name, task in self.assembly.tasks.items()}
        return self._run(rows, rows)

    def answers(self) -> bytes:
        """What each row of the newest evaluation came to, as a file; b"" before there is one."""
        return answered.pack(self.answered, self.of) if self.answered else b""

    def rows(self, end: bool) -> dict[str, int]:
        """{"rows": those of an evaluation during training, or at the end, "of": all there are}."""
        return {"rows": count(self.last if end else self.some), "of": count(self.all)}

    def _counted(self, rows: Mapping[str, Any], most: int, stopping: Callable[[], bool] | None = None) -> dict[str, float]:
        began = time.perf_counter()
        values = self._run(rows, self.all, stopping)
        now = {"times": 1, "rows": count(rows), "cost": self.plan.price(most), "seconds": time.perf_counter() - began}
        self.made = {name: value + now[name] for name, value in self.made.items()}
        return values

    def _run(self, rows: Mapping[str, Any], splits: Mapping[str, Any], stopping: Callable[[], bool] | None = None) -> dict[str, float]:
        self.phase("evaluating", 0.0)
        self.answered, self.of = {}, {name: len(split) for name, split in splits.items()}
        found = {name: self._of_task(name, each, stopping) for name, each in rows.items()}
        return together(found, self.assembly.judges) if self.assembly.several else next(iter(found.values()))

    def _of_task(self, name: str, rows: Any, stopping: Callable[[], bool] | None) -> dict[str, float]:
        if not len(rows):
            return {}
        task, number, several = self.assembly.turn(name), list(self.all).index(name), len(self.all)
        kept = self.answered.setdefault(name, {"row": drawn(self.of[name], len(rows))})

        def done(some: int, every: int) -> None:
            self.phase("evaluating", (number + some / every) / several)

        with self.accelerator.autocast():
            values = task.evaluate(self.assembly.model, rows, batch_size=self.batch_size, device=self.accelerator.device, progress=done, stopping=stopping,
                                   keep=kept.update)  # fmt: skip
        values = {name: float(value) for name, value in values.items()}
        return broadcast_object_list([values])[0] if self.accelerator.num_processes > 1 else values

    def readings(self) -> dict[str, float]:
        """‖Δh‖/‖h‖, gates and prefix λ by site, from one batch of the evaluation rows (of the first task)."""
        attached, model, some = self.assembly.attached, self.assembly.model, next(iter(self.some.values()))
        if not attached.deltas or not len(some):
            return {}
        task, training = self.assembly.turn(next(iter(self.some))), model.training
        model.eval()
        try:
            with attached.measuring() as found:
                self._forward(model, task, some)
        finally:
            model.train(training)
        return dict(found)

    def _forward(self, model: Any, task: Prepared, some: Any) -> None:
        import torch

        from lab.tasks.losses import batch_loss, inputs_of

        rows = [some[i] for i in range(min(8, len(some)))]
        batch = {name: tensor.to(self.accelerator.device) for name, tensor in task.collate(rows).items()}
        if not OBJECTIVES[task.objective].headed and "labels" not in batch:
            return
        with torch.no_grad(), self.accelerator.autocast():
            if OBJECTIVES[task.objective].headed:
                model(**inputs_of(batch, model, task.objective))
            else:  # without the logits of every position, which take more than a training step
                batch_loss(model, model, batch, task.objective)


def splits(tasks: Mapping[str, Prepared], shares: Sequence[float], device: str) -> list[Split]:
    """What judging a row of each task costs. Of several, a row counts by its length against those that are trained on: of task i in a share p_i of the steps, l_i / Σ p_j·l_j.

    Lengths are those of validation rows, which no seed draws; training rows are taken to be as long.
    """
    found = {name: task.validation for name, task in tasks.items()}
    lengths = {name: float(rows.lengths.mean()) if len(rows) else 0.0 for name, rows in found.items()}
    drawn = sum(share * length for share, length in zip(shares, lengths.values(), strict=True))
    return [Split(len(rows), FORWARD * tasks[name].passes(device) * (lengths[name] / drawn if len(tasks) > 1 else 1.0)) if len(rows) else Split(0)
            for name, rows in found.items()]  # fmt: skip


def count(rows: Mapping[str, Any]) -> int:
    """Rows of all tasks."""
    return sum(map(len, rows.values()))


def draw(rows: Any, most: int) -> Any:
    """At most so many rows: the same ones for every seed, in their order."""
    return rows if len(rows) <= most else rows.subset(drawn(len(rows), most))


def drawn(rows: int, most: int) -> list[int]:
    """The places of the rows that `draw` takes."""
    return list(range(rows)) if rows <= most else sorted(random.Random(0).sample(range(rows), most))

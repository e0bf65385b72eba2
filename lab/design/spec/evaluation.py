"""How often and on how many validation rows a run is judged, planned before it starts. Torch-free.

Unless the run says otherwise (`evaluate_every`, `evaluation_rows`), judging costs at most a share of what its steps cost
(`evaluation_share`), both counted in rows that are trained on and never by the clock: a resumed run is judged where the whole one was, and
runs of as many steps and rows are judged on the same rows, whatever their method and seed. A row that is judged is a forward pass, and a row
that is trained on also a backward pass through the frozen layers, as long again; see `FORWARD` and `lab.tasks.family.Family.passes`.

The end comes first: the last weights are judged on the whole split where that fits, else on as many rows as fit; what is left goes to
evaluations during training. (A split of thousands of rows that would leave room for less than a few of those is sampled, for a curve.) The
last evaluation is the judgement at the end where both take the same rows; where the end takes more (`last` > `some`), the best weights so
far are judged on them too, which is planned for. The untrained model is judged only where `evaluate_every` says so: the first step waits for it.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from lab.design.spec.run import EVALUATIONS, Training

FORWARD = 0.5  # of a trained row's work: what trains is small, so the backward pass goes through the layers and not into their weights
ROWS = 500  # of each task that an evaluation during training takes at most, where a run does not say
ENOUGH = 200  # that it takes at least where the end takes more: a share of 0.8 is ± 0.03 then
FEW = 4  # evaluations that a split far larger than ROWS must leave room for, or a sample of it is taken
SHOWN = 20  # rows of each task that the end takes besides: predictions that pages show, and a batch for the maps of readings
FEWEST = 32  # that any takes at least; there are fewer evaluations before there are fewer rows, and the last one is never left out


@dataclass(frozen=True)
class Split:
    """The validation rows of a task, and what judging one costs, in rows that are trained on."""

    rows: int
    cost: float = FORWARD


@dataclass(frozen=True)
class EvaluationPlan:
    """When a run of `total` steps is judged, and on at most how many rows of each task: `some` during training, `last` at its end.

    `every`: steps between evaluations, the untrained model and the last step included; 0: `times` in all, evenly and not before training.
    """

    total: int
    every: int
    times: int
    some: int
    last: int
    splits: tuple[Split, ...]

    def due(self, step: int) -> bool:
        """Whether the weights after this step are judged; the last ones always are."""
        if step >= self.total or self.every:
            return step >= self.total or step % self.every == 0
        return step * self.times // self.total > (step - 1) * self.times // self.total if step else False

    def left(self, step: int) -> int:
        """Evaluations after this step."""
        if self.every:
            return -(-(self.total - step) // self.every)
        return self.times - step * self.times // self.total

    def rows(self, most: int) -> int:
        """Rows of all tasks, at most so many of each."""
        return sum(min(split.rows, most) for split in self.splits)

    @property
    def told(self) -> dict[str, int]:
        """{"evaluations": how many, "evaluation_rows": of each, "judged_rows": at the end, "validation_rows": all there are}."""
        return {"evaluations": self.left(0) + self.due(0), "evaluation_rows": self.rows(self.some), "judged_rows": self.rows(self.last),
                "validation_rows": sum(split.rows for split in self.splits)}  # fmt: skip

    @property
    def words(self) -> str:
        """A sentence for a log."""
        times, some, last, all = self.told.values()
        if not all:
            return "There are no validation rows to judge it by."
        often = f"{times} times" if times > 1 else "once, as it is" if not self.total else "once, after the last step,"
        on = lambda rows: f"all {all:,}" if rows == all else f"{rows:,} of {all:,}"  # noqa: E731
        return f"Judged {often} on {on(some)} validation rows" + (f", at the end on {on(last)}." if self.apart else ".")

    @property
    def apart(self) -> bool:
        """Whether the end takes more rows than the evaluations before it."""
        return self.rows(self.some) < self.rows(self.last)

    def price(self, most: int) -> float:
        """What judging at most so many rows of each task costs, in rows that are trained on."""
        return _cost(self.splits, most)

    def to_come(self, step: int) -> float:
        """What all evaluations after this step cost at most (-1: before the first step, so all there are), in rows that are trained on."""
        ahead = self.left(step) if step >= 0 else self.left(0) + self.due(0)
        return ahead * self.price(self.some) + (2 * self.price(self.last) if self.apart else 0)


def plan(training: Training, total: int, rows: int, splits: Sequence[Split]) -> EvaluationPlan:
    """The evaluations of a run of `total` steps of so many `rows` (of one process: every process judges all rows)."""
    top = max((split.rows for split in splits), default=0)
    some = min(top, training.evaluation_rows or ROWS)
    if training.evaluate_every or not total:  # as told; without steps there is nothing to share
        every = training.evaluate_every or 1
        return EvaluationPlan(total, every, -(-total // every), some if total or training.evaluation_rows else top, top, tuple(splits))
    room = max(0.0, training.evaluation_share * total * rows - _cost(splits, SHOWN))
    times, some, last = _within(training, room, some, top, splits)
    return EvaluationPlan(total, 0, min(times, total), some, last, tuple(splits))


def _within(training: Training, room: float, some: int, top: int, splits: Sequence[Split]) -> tuple[int, int, int]:
    """(evaluations, rows of each, rows at the end) that cost at most `room`, or the fewest there are."""
    whole = _cost(splits, top)
    rest = room - 2 * whole if some < top else room  # of a judgement at the end of both the last and the best weights by all rows
    if EVALUATIONS * _cost(splits, some) <= rest:
        return EVALUATIONS, some, top
    if training.evaluation_rows:
        last = top if _cost(splits, some) <= rest else some
        return _count((rest if last > some else room) / _cost(splits, some)), some, last
    if training.early_stopping:  # which looks for a gain in each of them
        rows = max(min(FEWEST, top), _most(room / EVALUATIONS, splits, top))
        return EVALUATIONS, rows, rows
    same, apart = (int(room / whole), int(rest / _cost(splits, min(ENOUGH, top)))) if whole <= room else (0, 0)
    if not same or (top > 2 * ROWS and max(same, apart) < FEW):
        times = _count(room / _cost(splits, some))  # beyond ROWS another evaluation tells more than a finer number
        rows = max(min(FEWEST, top), _most(room / times, splits, top))
        return times, rows, rows
    if some == top or apart <= same:
        return _count(same), top, top
    return _count(apart), min(some, _most(rest / _count(apart), splits, top)), top


def _count(times: float) -> int:
    return max(1, min(EVALUATIONS, int(times)))


def _cost(splits: Sequence[Split], most: int) -> float:
    """Of judging at most so many rows of each task."""
    return sum(split.cost * min(split.rows, most) for split in splits)


def _most(room: float, splits: Sequence[Split], top: int) -> int:
    """The most rows of each task that cost no more."""
    return bisect.bisect_right(range(top + 1), room, key=lambda most: _cost(splits, most)) - 1

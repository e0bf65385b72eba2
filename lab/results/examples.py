"""Two groups on the very rows that both were judged on: what the models that were trained answer differently, whatever another seed would give.

One run against another by right and wrong answers: McNemar. Else the paired bootstrap on rows, of the metric's mean over each group's runs; the rows of
each task of a run of several are drawn by themselves, as many as it has. Both say whether the difference would stay on other rows of the same kind, not whether it would stay with other seeds: that is what `groups` tests.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lab.design.plain.refusal import Refusal
from lab.design.spec.families import AVERAGE, LOSS
from lab.design.spec.run import named_tasks
from lab.results import facts
from lab.results.groups import Group
from lab.results.statistics import DRAWS, ByRows, bootstrap, drawn_sums, mcnemar
from lab.runs import Run, default
from lab.tasks import answered

SPLITS = {"validation": ("best", answered.FILE), "test": (f"test-{answered.FILE}",)}  # files of a run's folder


File = tuple[str, int]  # path, and when it was written (ns)
Judged = dict[str, tuple[answered.Answered, int]]  # by task: what each row came to, and how many rows the split has


class TaskPart(NamedTuple):
    """What one task of a run adds to the number that judges the run, which is the mean of its parts."""

    metric: str
    scale: float  # that the metric is divided by
    labels: int  # of the task; 0 where that is not known


def file_of(run: Run, split: str = "validation") -> File | None:
    """The file that says what each judged row of a run came to; None where there is none."""
    try:
        path = default().home.file(run.id, *SPLITS[split])
        about = path.stat()
    except (OSError, Refusal):
        return None
    return (str(path), about.st_mtime_ns) if about.st_size <= answered.MOST_BYTES else None


@functools.lru_cache(maxsize=128)
def read(file: File) -> Judged | None:
    """The rows of a run by task; None for a file that cannot be read."""
    try:
        with open(file[0], "rb") as opened:
            return answered.unpack(opened.read())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def by_rows(one: Group, other: Group, split: str = "validation") -> ByRows | None:
    """One group against another on the rows that all of their results were judged on, positive where the first has the higher metric; None where rows were not kept
    or are not the same, or the metric is no function of sums over rows."""
    metric, sides = one.metric, [_files(group, split) for group in (one, other)]
    if metric is None or other.metric != metric or not all(sides):
        return None
    judged = [[read(file) for file in side] for side in sides]
    first = judged[0][0]
    if not first or not all(_alike(first, found) for side in judged for found in side):
        return None
    if len(sides[0]) == len(sides[1]) == len(first) == 1 and metric.name in ("accuracy", "exact_match"):
        right = [answered.right(found[0]) for side in judged for found in (side[0] or {}).values()]
        return None if right[0] is None or right[1] is None else mcnemar(right[0], right[1])
    parts = _parts(one.runs[0], metric.name, tuple(first))
    if len(parts) != len(first):
        return None
    drawn = [[_drawn(file, parts) for file in side] for side in sides]
    if any(each is None for side in drawn for each in side):
        return None
    (mine, my_draws), (theirs, their_draws) = [(float(np.mean([value for value, _ in side])), np.mean([draws for _, draws in side], 0)) for side in drawn]
    return bootstrap(mine, my_draws, theirs, their_draws, sum(len(found["row"]) for found, _ in first.values()))


def _files(group: Group, split: str) -> list[File]:
    """Those of all results of a group; [] where one of them has none."""
    found = [file_of(run, split) for run in group.runs if facts.counts(run)]
    return [each for each in found if each] if all(found) else []


def _alike(one: Judged | None, other: Judged | None) -> bool:
    """Whether two runs were judged on the same rows of the same tasks: places in splits of one size, and the same right answers where those are kept."""
    if one is None or other is None or list(one) != list(other):
        return False
    for (mine, of), (theirs, of_other) in zip(one.values(), other.values(), strict=True):
        if of != of_other or not mine["row"].size or not np.array_equal(mine["row"], theirs["row"]):
            return False
        if ("reference" in mine) != ("reference" in theirs) or ("reference" in mine and not np.array_equal(mine["reference"], theirs["reference"])):
            return False
    return True


def _parts(run: Run, metric: str, judged: tuple[str, ...]) -> tuple[TaskPart, ...]:
    """Those of the judged tasks of a run, in their order (`lab.design.spec.families.together`); () where one of them is not known."""
    tasks = [run.spec.get("task", ""), *(run.spec.get("further") or ())]
    if len(tasks) == 1:
        return (TaskPart(metric, 1.0, _labels(tasks[0])),)
    named, found = named_tasks(tasks), []
    for name in judged:
        own = LOSS if metric == LOSS.name else facts.judge_of(named.get(name)) if metric == AVERAGE.name else None
        if own is None:
            return ()
        found.append(TaskPart(own.name, 1.0 if own.fraction or own is LOSS else 100.0, _labels(named.get(name))))
    return tuple(found)


@functools.lru_cache(maxsize=256)
def _drawn(file: File, parts: tuple[TaskPart, ...]) -> tuple[float, np.ndarray] | None:
    """(the metric, that of every resample, (draws,)); kept, since a group is compared with many."""
    judged, values, draws = read(file), [], []
    for place, (part, (found, _)) in enumerate(zip(parts, (judged or {}).values(), strict=True)):
        summed = answered.summable(part.metric, found, part.labels)
        if summed is None:
            return None
        sums, finish = summed
        values.append(float(finish(sums.sum(0))) / part.scale)
        draws.append(np.asarray(finish(drawn_sums(sums, DRAWS, seed=place))) / part.scale)
    return float(np.mean(values)), np.mean(draws, 0)


def _labels(task: Any) -> int:
    """How many labels a task has; 0 where that is not known."""
    from lab.tasks import resolve

    try:
        return len(resolve(task).labels) if task else 0
    except Refusal:
        return 0


def differences(groups: Sequence[Group], place: int, most: int = 12) -> dict[int, ByRows]:
    """{place of another group: how it compares by rows} for one group against the others, at most so many of them."""
    found = {}
    for other, group in enumerate(groups):
        if other != place and len(found) < most and group.by_seed and (each := by_rows(groups[place], group)) is not None and math.isfinite(each.effect):
            found[other] = each
    return found

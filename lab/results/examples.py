"""Two groups on the very rows that both were judged on: what the models that were trained answer differently, whatever another seed would give.

One run against another by right and wrong answers: McNemar. Else the paired bootstrap on rows, of the metric's mean over each group's runs. Both say
whether the difference would stay on other rows of the same kind, not whether it would stay with other seeds: that is what `groups` tests.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lab.design.plain.refusal import Refusal
from lab.results import facts
from lab.results.groups import Group
from lab.results.statistics import DRAWS, ByRows, bootstrap, drawn_sums, mcnemar
from lab.runs import Run, default
from lab.tasks import answered

SPLITS = {"validation": ("best", answered.FILE), "test": (f"test-{answered.FILE}",)}  # files of a run's folder


File = tuple[str, int]  # path, and when it was written (ns)
Judged = tuple[answered.Answered, int]  # what each row came to, and how many rows the split has


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
    """The rows of a run of one task; None for a file that cannot be read, or of several tasks."""
    try:
        with open(file[0], "rb") as opened:
            found = list(answered.unpack(opened.read()).values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found[0] if len(found) == 1 else None


def by_rows(one: Group, other: Group, split: str = "validation") -> ByRows | None:
    """One group against another on the rows that all of their results were judged on, positive where the first has the higher metric; None where rows were not kept
    or are not the same, or the metric is no function of sums over rows."""
    metric, sides = one.metric, [_files(group, split) for group in (one, other)]
    if metric is None or other.metric != metric or not all(sides):
        return None
    judged = [[read(file) for file in side] for side in sides]
    first = judged[0][0]
    if not all(_alike(first, found) for side in judged for found in side):
        return None
    if len(sides[0]) == len(sides[1]) == 1 and metric.name in ("accuracy", "exact_match"):
        right = [answered.right(side[0][0]) for side in judged]
        return None if right[0] is None or right[1] is None else mcnemar(right[0], right[1])
    labels = _labels(one.runs[0])
    drawn = [[_drawn(file, metric.name, labels) for file in side] for side in sides]
    if any(each is None for side in drawn for each in side):
        return None
    (mine, my_draws), (theirs, their_draws) = [(float(np.mean([value for value, _ in side])), np.mean([draws for _, draws in side], 0)) for side in drawn]
    return bootstrap(mine, my_draws, theirs, their_draws, len(first[0]["row"]))


def _files(group: Group, split: str) -> list[File]:
    """Those of all results of a group; [] where one of them has none."""
    found = [file_of(run, split) for run in group.runs if facts.counts(run)]
    return [each for each in found if each] if all(found) else []


def _alike(one: Judged | None, other: Judged | None) -> bool:
    """Whether two runs were judged on the same rows: places in splits of one size, and the same right answers where those are kept."""
    if one is None or other is None or not one[0]["row"].size:
        return False
    (mine, of), (theirs, of_other) = one, other
    if of != of_other or not np.array_equal(mine["row"], theirs["row"]):
        return False
    return ("reference" in mine) == ("reference" in theirs) and ("reference" not in mine or np.array_equal(mine["reference"], theirs["reference"]))


@functools.lru_cache(maxsize=256)
def _drawn(file: File, metric: str, labels: int) -> tuple[float, np.ndarray] | None:
    """(the metric, that of every resample, (draws,)); kept, since a group is compared with many."""
    judged = read(file)
    summed = answered.summable(metric, judged[0], labels) if judged else None
    if summed is None:
        return None
    values, finish = summed
    return float(finish(values.sum(0))), np.asarray(finish(drawn_sums(values, DRAWS)))


def _labels(run: Run) -> int:
    """How many labels the run's task has; 0 where that is not known."""
    from lab.tasks import resolve

    task: Any = run.spec.get("task")
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

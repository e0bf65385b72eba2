"""Runs with the same settings but for the seed as one result each: mean and deviation over seeds, which differences between them are real, and the stars.

A star means: of the groups with two results or more nothing is significantly better, by the tests of `statistics` over all pairs. It is never given for one
seed's luck, so where every group has one result there is none.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lab.design.plain.differences import differences
from lab.design.spec.families import Metric
from lab.results import facts
from lab.results.facts import judge, judged_tasks, method_of, result
from lab.results.statistics import ALIKE, HOW, LEVEL, NONE, UNLIKE, Pairs, pairwise, unbeaten
from lab.runs import Run

UNCOUNTED = ("seed", "name", "tags")  # of a spec: what runs of one group may differ in
LETTERS = 60  # of what tells groups of one name apart


@dataclass(frozen=True)
class Group:
    """Runs with the same settings but for the seed. `by_seed`: the mean result of the runs of each seed, of those that are results, by the metric that judges them."""

    runs: list[Run]
    metric: Metric | None = None
    by_seed: Mapping[Any, float] = field(default_factory=dict)

    @property
    def values(self) -> list[float]:
        """The results, one for each seed."""
        return list(self.by_seed.values())

    @property
    def mean(self) -> float | None:
        """Over the seeds."""
        return statistics.fmean(self.values) if self.by_seed else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation of a sample, None for one value."""
        return statistics.stdev(self.values) if len(self.by_seed) > 1 else None

    @property
    def name(self) -> str:
        """What its runs' names begin with."""
        if len(self.runs) == 1:
            return self.runs[0].name or self.runs[0].id
        first, last = min(run.name for run in self.runs), max(run.name for run in self.runs)
        same = next((index for index, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
        return first[:same].rstrip(" ·-_,=").removesuffix("seed").rstrip(" ·-_,=") or method_of(self.runs[0])

    @property
    def title(self) -> str:
        """Its name, and how many runs it has."""
        return f"{self.name} (n={len(self.runs)})" if len(self.runs) > 1 else self.name

    def number(self, name: str) -> tuple[float | None, float | None]:
        """(mean, deviation) of a number of `facts.outcome` over its results, seeds counted once; (None, None) where there is none."""
        each = _by_seed([(run, facts.outcome(run).get(name)) for run in self.runs if facts.counts(run)])
        return (statistics.fmean(each.values()) if each else None), (statistics.stdev(each.values()) if len(each) > 1 else None)


def _by_seed(found: Sequence[tuple[Run, float | None]]) -> dict[Any, float]:
    seeds: dict[Any, list[float]] = {}
    for run, value in found:
        if value is not None and math.isfinite(value):
            seeds.setdefault(run.spec.get("seed"), []).append(value)
    return {seed: statistics.fmean(values) for seed, values in seeds.items()}


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Runs with the same settings together, in the order in which they were picked."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(_setting(run), []).append(run)
    return [group_of(members) for members in found.values()]


def alone(runs: Sequence[Run]) -> list[Group]:
    """Each run by itself."""
    return [group_of([run]) for run in runs]


def group_of(members: Sequence[Run]) -> Group:
    """Some runs as one group."""
    metric = judge(members[0])
    return Group(list(members), metric, _by_seed([(run, each.value) for run in members if (each := result(run)) and each.metric == metric]))


def _setting(run: Run) -> str:
    kept = {key: value for key, value in run.spec.items() if key not in UNCOUNTED}
    training = {key: value for key, value in (kept.get("training") or {}).items() if key != "track"}  # which shows a run, and changes nothing of it
    return json.dumps({**kept, "training": training}, sort_keys=True)


def names(groups: Sequence[Group], ignore: Sequence[str] = ()) -> list[str]:
    """What to call each group: its runs' name, and where several have the same one, what differs between those."""
    found = [group.name for group in groups]
    for name in {name for name in found if found.count(name) > 1}:
        places = [place for place, one in enumerate(found) if one == name]
        apart = differences([groups[place].runs[0].spec for place in places], (*UNCOUNTED, *ignore))
        for number, place in enumerate(places):
            words = ", ".join(f"{path.rsplit('.', 1)[-1]} {values[number]}" for path, values in list(apart.items())[:2])
            found[place] = f"{name} ({words[:LETTERS] or number + 1})"
    return found


# -- which differences are real ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """One group against another, the better one first.

    `kind`: better (significant after the correction), perhaps (by itself alone), unsure (not significant), alike (the same difference for every seed, so that there
    is no spread to judge by), equal, few (one of them has too few seeds: nothing can be said), apart (another metric or task). `effect`: how much better,
    in the metric's unit, with its 95 % interval; `n`: seeds; `how`: paired t, welch, or an exact test.
    """

    one: int
    other: int
    kind: str
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    adjusted: float = math.nan
    n: int = 0
    how: str = ""

    def document(self) -> dict[str, Any]:
        """Plain values; None for what is not known."""
        known = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in vars(self).items()}
        return {name: value for name, value in known.items() if name not in ("one", "other")}


@dataclass(frozen=True)
class Tested:
    """Groups with the tests between all of them. `stars`: the places of those that nothing beats."""

    groups: list[Group]
    pairs: Pairs
    comparable: np.ndarray  # (groups, groups)
    stars: frozenset[int]

    def best(self) -> int | None:
        """The place of the group with the best mean, of those with the most seeds; None where there are not two groups with a result."""
        there = [place for place, group in enumerate(self.groups) if group.by_seed and group.metric]
        if len(there) < 2:
            return None
        several = [place for place in there if len(self.groups[place].by_seed) > 1] or there
        sign = 1 if self.groups[several[0]].metric.greater else -1
        return max(several, key=lambda place: sign * self.groups[place].mean)

    def difference(self, one: int, other: int) -> Difference:
        """What can be said of two groups."""
        pairs, groups = self.pairs, self.groups
        if not self.comparable[one, other]:
            return Difference(one, other, "apart")
        if pairs.how[one, other] == NONE:
            return Difference(one, other, "few", n=min(len(groups[one].by_seed), len(groups[other].by_seed)))
        greater = groups[one].metric.greater
        if (pairs.effect[one, other] < 0) == greater and pairs.effect[one, other] != 0:
            one, other = other, one
        sign = 1 if greater else -1
        effect, p, adjusted = float(sign * pairs.effect[one, other]), float(pairs.p[one, other]), float(pairs.adjusted[one, other])
        low, high = sorted((float(sign * pairs.low[one, other]), float(sign * pairs.high[one, other])))
        same = pairs.how[one, other] in (ALIKE, UNLIKE)
        kind = (
            "better" if adjusted < LEVEL else "perhaps" if p < LEVEL else "equal" if same and p == 1.0 and abs(effect) < 1e-9 else "alike" if same else "unsure"
        )
        return Difference(one, other, kind, effect, low, high, p, adjusted, int(pairs.n[one, other]), HOW[pairs.how[one, other]])

    def against(self, place: int) -> list[Difference]:
        """One group against every other one that has a result."""
        return [self.difference(place, other) for other, group in enumerate(self.groups) if other != place and group.by_seed]


def document(found: Tested, titles: Sequence[str]) -> dict[str, Any]:
    """{"groups", "pairs"} as plain data: what each group came to, and what can be said of every two that are judged alike."""
    groups = [{"name": titles[place], "runs": [run.id for run in group.runs], "metric": group.metric.name if group.metric else "", "n": len(group.by_seed), "mean": group.mean,
               "deviation": group.deviation, "by_seed": {str(seed): value for seed, value in group.by_seed.items()}, "star": place in found.stars}
              for place, group in enumerate(found.groups)]  # fmt: skip
    there = [place for place, group in enumerate(found.groups) if group.by_seed]
    pairs = [found.difference(one, other) for number, one in enumerate(there) for other in there[number + 1 :] if found.comparable[one, other]]
    return {"groups": groups, "pairs": [{"one": each.one, "other": each.other, **each.document()} for each in pairs]}


def tested(groups: Sequence[Group], others: Sequence[str] | None = None) -> Tested:
    """The tests between all groups that are judged by one metric on one task.

    `others`: for groups that are averages over further settings, as the cells of a matrix, those settings of each run as one text, in the order of the groups'
    runs: they are then paired by settings and seed, and averaged for each seed.
    """
    groups = list(groups)
    tasks = judged_tasks([group.runs[0] for group in groups])
    kinds = [(group.metric.name if group.metric else "", task) for group, task in zip(groups, tasks, strict=True)]
    comparable = np.array([[one == other for other in kinds] for one in kinds], bool).reshape(len(groups), len(groups))
    if others is None:
        points = list(dict.fromkeys(seed for group in groups for seed in group.by_seed))
        values = [[group.by_seed.get(point, math.nan) for point in points] for group in groups]
        seeds = None
    else:
        values, seeds = _spread(groups, others)
    array = np.array(values, float).reshape(len(groups), -1 if groups else 0)
    pairs = _pairs(array.tobytes(), array.shape, seeds, None if comparable.all() else comparable.tobytes())
    stars: set[int] = set()
    for metric in {group.metric for group in groups if group.metric}:
        of = np.array([group.metric == metric and len(group.by_seed) > 1 for group in groups], bool)
        known = of & (pairs.how != NONE).any(1)
        stars |= set(np.flatnonzero(unbeaten(pairs, known, metric.greater)).tolist())
    return Tested(groups, pairs, comparable, frozenset(stars))


@functools.lru_cache(maxsize=16)
def _pairs(values: bytes, shape: tuple[int, int], seeds: tuple[int, ...] | None, allowed: bytes | None) -> Pairs:
    """`pairwise` of numbers that pages ask for again at every poll."""
    square = None if allowed is None else np.frombuffer(allowed, bool).reshape(shape[0], shape[0])
    return pairwise(np.frombuffer(values, float).reshape(shape), seeds, square)


def _spread(groups: Sequence[Group], others: Sequence[str]) -> tuple[list[list[float]], tuple[int, ...]]:
    """(a row for each group, whose seed each column is) of groups whose runs differ in further settings."""
    runs = [run for group in groups for run in group.runs]
    keys = [(other, run.spec.get("seed")) for run, other in zip(runs, others, strict=True)]
    columns = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    seeds = {seed: place for place, seed in enumerate(dict.fromkeys(seed for _, seed in columns))}
    values, at = [], 0
    for group in groups:
        found: dict[int, list[float]] = {}
        for run, key in zip(group.runs, keys[at : at + len(group.runs)], strict=True):
            if (each := result(run)) and each.metric == group.metric and math.isfinite(each.value):
                found.setdefault(columns[key], []).append(each.value)
        at += len(group.runs)
        values.append([statistics.fmean(found[place]) if place in found else math.nan for place in range(len(columns))])
    return values, tuple(seeds[seed] for _, seed in columns)

"""Several runs against each other: the settings that differ, runs of one setting over seeds, what nothing beats, and plain tables to take away."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.design.plain.differences import differences
from lab.design.spec.families import Metric
from lab.results.facts import counts, greater_is_better, judge, judged_on, method_of, model_of, outcome, result, score, task_of
from lab.runs import Run

SAME_BY_NATURE = ("name", "tags", "method.name", "method.summary", "method.family", "method.branch", "method.deviations", "method.paper", "origins")
COSTS = ("trainable", "percent", "peak_bytes", "seconds")  # of a result: less is better
FRONTS = ("percent", "peak_bytes", "seconds")  # of a result, against which a metric is weighed
FIELDS = ("trainable", "percent", "peak_bytes", "seconds", "tokens_per_second", "steps", "judged_rows")  # of a table to take away


@dataclass(frozen=True)
class ResultColumn:
    """One number of each run: a metric, `final` metric, or a cost."""

    name: str
    values: list[float | None]
    greater: bool

    def best(self, runs: Sequence[Run]) -> set[int]:
        """Where the best of the runs that have a result stands; nowhere if there is nothing to compare."""
        known = {
            index: value for index, (value, run) in enumerate(zip(self.values, runs, strict=True)) if value is not None and math.isfinite(value) and counts(run)
        }
        if len(known) < 2 or min(known.values()) == max(known.values()):
            return set()
        top = max(known.values()) if self.greater else min(known.values())
        return {index for index, value in known.items() if value == top}


@dataclass(frozen=True)
class Group:
    """Runs with the same settings but for the seed. `values`: those that are results, by the metric that judges them."""

    runs: list[Run]
    metric: Metric | None
    values: list[float]

    @property
    def mean(self) -> float | None:
        """Over the seeds."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation of a sample, None for one value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def title(self) -> str:
        """What its runs' names begin with, and how many they are."""
        if len(self.runs) == 1:
            return self.runs[0].name or self.runs[0].id
        first, last = min(run.name for run in self.runs), max(run.name for run in self.runs)
        same = next((index for index, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
        name = first[:same].rstrip(" ·-_,=").removesuffix("seed").rstrip(" ·-_,=") or method_of(self.runs[0])
        return f"{name} (n={len(self.runs)})"


def metric_of(runs: Sequence[Run]) -> Metric | None:
    """The metric that most of the runs are judged by, of those that have a number by it."""
    found = [measured.metric for run in runs if (measured := score(run))]
    return max(dict.fromkeys(found), key=found.count) if found else None


def scores(runs: Sequence[Run], metric: Metric | None) -> list[float | None]:
    """The result of each run that is judged by this metric."""
    return [found.value if (found := result(run)) and found.metric == metric else None for run in runs]


def columns(runs: Sequence[Run]) -> list[ResultColumn]:
    """Every metric of the runs, best ones first and then final ones, and what they cost; columns without any number are left out."""
    names = dict.fromkeys(name for run in runs for name in outcome(run))
    found = [ResultColumn(name, [outcome(run).get(name) for run in runs], greater_is_better(name)) for name in names]
    found += [ResultColumn(field, [_number(run.result.get(field)) for run in runs], False) for field in COSTS]
    return [column for column in found if any(value is not None for value in column.values)]


def groups(runs: Sequence[Run]) -> list[Group]:
    """Runs with the same settings together, in the order in which they were picked."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(_setting(run), []).append(run)
    return [Group(members, judge(members[0]), [each.value for run in members if (each := result(run))]) for members in found.values()]


def judged_apart(runs: Sequence[Run]) -> list[int]:
    """How many validation rows each of the runs was judged on, most first, where runs of one task were not judged on as many; [] where all of them were."""
    found: dict[str, set[int]] = {}
    for run in runs:
        if rows := judged_on(run):
            found.setdefault(json.dumps([run.spec.get("task"), run.spec.get("further") or []], sort_keys=True), set()).add(rows[0])
    return sorted({rows for each in found.values() if len(each) > 1 for rows in each}, reverse=True)


def _setting(run: Run) -> str:
    return json.dumps({key: value for key, value in run.spec.items() if key not in ("seed", "name", "tags")}, sort_keys=True)


def front(points: Sequence[tuple[float, float]], greater: bool) -> list[tuple[float, float]]:
    """The points (cost, value) that no other beats in both directions, by cost."""
    found: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1] if greater else point[1])):
        if not found or (value > found[-1][1] if greater else value < found[-1][1]):
            found.append((cost, value))
    return found


def weighed(runs: Sequence[Run], field: str) -> list[tuple[Run, float, float]]:
    """(run, cost, value) of the runs that have a result by the metric that most are judged by, and a positive cost."""
    values = scores(runs, metric_of(runs))
    return [(run, float(cost), value) for run, value in zip(runs, values, strict=True)
            if value is not None and math.isfinite(value) and (cost := _number(run.result.get(field))) is not None and cost > 0]  # fmt: skip


def unbeaten(runs: Sequence[Run], field: str) -> list[str]:
    """The ids of the runs on the front of the metric against a cost."""
    points, metric = weighed(runs, field), metric_of(runs)
    best = set(front([point[1:] for point in points], metric is None or metric.greater))
    return [run.id for run, *point in points if tuple(point) in best]


def settings(runs: Sequence[Run], everything: bool = False) -> dict[str, list[Any]]:
    """{setting: value per run} of the settings in which runs differ; None where a run has it not. `everything`: all settings."""
    return differences([run.spec for run in runs], SAME_BY_NATURE, everything)


def varying(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """{setting: value per run} of the settings that vary; where methods differ, 'method' stands for what they bring along, and of their
    own settings only those are left that also vary between runs of one method."""
    rows = {path: values for path, values in settings(runs).items() if path != "seed"}
    methods = [method_of(run) for run in runs]
    found: dict[str, list[Any]] = {}
    if len(set(methods)) > 1:
        found["method"] = methods
        alike = [[index for index, one in enumerate(methods) if one == method] for method in dict.fromkeys(methods)]
        varied = lambda values: any(values[index] != values[group[0]] for group in alike for index in group)  # noqa: E731
        rows = {path: values for path, values in rows.items() if not path.startswith("method.") or varied(values)}
    found |= rows
    seeds = [run.spec.get("seed") for run in runs]
    return {**found, "seed": seeds} if len(set(seeds)) > 1 else found


def table(runs: Sequence[Run]) -> list[list[Any]]:
    """Heading and a row per run: id, name, state, results, and the settings that differ."""
    metrics = list(dict.fromkeys(name for run in runs for name in outcome(run)))
    differing = settings(runs)
    rows: list[list[Any]] = [["run", "name", "state", "model", "task", "method", "seed", *metrics, *FIELDS, *differing]]
    for index, run in enumerate(runs):
        rows.append([run.id, run.name, run.state, model_of(run), task_of(run), method_of(run), run.spec.get("seed"),
                     *[outcome(run).get(name) for name in metrics], *[run.result.get(field) for field in FIELDS],
                     *[values[index] for values in differing.values()]])  # fmt: skip
    return rows


def as_csv(runs: Sequence[Run]) -> str:
    """The table as CSV; a text that a spreadsheet would read as a formula gets an apostrophe."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[_cell(value) for value in row] for row in table(runs)])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

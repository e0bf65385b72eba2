"""Several runs against each other: the settings that differ, what nothing beats, and plain tables to take away. Over seeds: `groups`."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.design.method import named
from lab.design.plain.differences import differences, flatten
from lab.design.plain.refusal import Refusal
from lab.design.spec.families import Metric
from lab.design.spec.tasks import whole
from lab.design.spec.writing import brief
from lab.results.efficiency import pscp_of
from lab.results.facts import COST, counts, greater_is_better, judged_on, judged_tasks, method_of, model_of, of_steps, outcome, result, score, task_of, why_not
from lab.results.groups import Group, grouped
from lab.runs import Run

SAME_BY_NATURE = (
    "name",
    "tags",
    "method.name",
    "method.summary",
    "method.family",
    "method.branch",
    "method.deviations",
    "method.paper",
    "origins",
    "training.track",
)
SPEED = "tokens_per_second"
COSTS = ("trainable", "percent", "peak_bytes", "seconds", SPEED, "joules", "pscp")  # of a result, beside its metrics
EXACT = ("trainable", "percent")  # counted, so that they are the same for every seed
FRONTS = ("percent", "peak_bytes", "seconds")  # of a result, against which a metric is weighed
DIMENSIONS = ("at", "form", "insertion", "composition")  # of a delta: said even where they are a default
FIELDS = ("steps", "judged_rows")  # of a table to take away
COST_OF = {**COST, "pscp": pscp_of}


@dataclass(frozen=True)
class NumberColumn:
    """One number of each group of runs: a metric of their best weights, a `final` one, or a cost. `aside`: what was measured of runs that are no result."""

    name: str
    means: list[float | None]
    deviations: list[float | None]
    aside: list[float | None]
    greater: bool


def metric_of(runs: Sequence[Run]) -> Metric | None:
    """The metric that most of the results are judged by; where none is a result yet, of what was measured."""
    found = [measured.metric for run in runs if (measured := result(run))] or [measured.metric for run in runs if (measured := score(run))]
    return max(dict.fromkeys(found), key=found.count) if found else None


def scores(runs: Sequence[Run], metric: Metric | None) -> list[float | None]:
    """The result of each run that is judged by this metric."""
    return [found.value if (found := result(run)) and found.metric == metric else None for run in runs]


def columns(groups: Sequence[Group]) -> list[NumberColumn]:
    """What judges the groups, what they cost, then every other metric, of best weights and of the last ones; columns without any number are left out."""
    runs = [run for group in groups for run in group.runs]
    judging = metric_of(runs)
    first = [judging.name] if judging else []
    others = [name for name in dict.fromkeys(name for run in runs for name in outcome(run)) if name not in first]
    found = []
    for name in [*first, *COSTS, *others]:
        pairs = [_cost(group, name) if name in COSTS else group.number(name) for group in groups]
        aside = [None if any(map(counts, group.runs)) else _measured(group, name) for group in groups]
        greater = name in (SPEED, "pscp") or name not in COSTS and greater_is_better(name)
        found.append(NumberColumn(name, [mean for mean, _ in pairs], [deviation for _, deviation in pairs], aside, greater))
    return [column for column in found if any(value is not None for value in (*column.means, *column.aside))]


def _cost(group: Group, name: str) -> tuple[float | None, float | None]:
    """(mean, deviation) over the group's results; what was counted beforehand is the same for all of them."""
    known = [value for run in group.runs if counts(run) and (value := COST_OF[name](run)) is not None]
    spread = statistics.stdev(known) if len(known) > 1 and name not in EXACT else None
    return (statistics.fmean(known) if known else None), spread


def _measured(group: Group, name: str) -> float | None:
    """The newest number of a group that has no result."""
    known = [value for run in group.runs if (value := COST_OF[name](run) if name in COSTS else outcome(run).get(name)) is not None]
    return known[-1] if known else None


def judged_apart(runs: Sequence[Run]) -> list[int]:
    """How many validation rows each of the runs was judged on, most first, where runs of one task were not judged on as many; [] where all of them were."""
    found: dict[str, set[int]] = {}
    for run, task in zip(runs, judged_tasks(runs), strict=True):
        if rows := judged_on(run):
            found.setdefault(task, set()).add(rows[0])
    return sorted({rows for each in found.values() if len(each) > 1 for rows in each}, reverse=True)


def front(points: Sequence[tuple[float, float]], greater: bool) -> list[tuple[float, float]]:
    """The points (cost, value) that no other beats in both directions, by cost."""
    found: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1] if greater else point[1])):
        if not found or (value > found[-1][1] if greater else value < found[-1][1]):
            found.append((cost, value))
    return found


def weighed(groups: Sequence[Group], field: str) -> list[tuple[Group, float, float]]:
    """(group, cost, value) of the groups that have a result by the metric that most runs are judged by, and a positive cost: means over seeds."""
    metric = metric_of([run for group in groups for run in group.runs])
    return [(group, cost, group.mean) for group in groups
            if group.metric == metric and group.mean is not None and (cost := _cost(group, field)[0]) is not None and cost > 0]  # fmt: skip


def unbeaten(runs: Sequence[Run], field: str) -> list[str]:
    """The ids of the runs whose group is on the front of the metric's mean against a cost."""
    points, metric = weighed(grouped(runs), field), metric_of(runs)
    best = set(front([point[1:] for point in points], metric is None or metric.greater))
    return [run.id for group, *point in points if tuple(point) in best for run in group.runs if counts(run)]


def _documents(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The runs' specs; where one has a task of its own, all with their tasks' options, so that a name and what it stands for are no difference."""
    specs = [run.spec for run in runs]
    if all(isinstance(task, str) for spec in specs for task in (spec.get("task", ""), *(spec.get("further") or ()))):
        return specs
    return [{**spec, "task": whole(spec.get("task", "")), "further": [whole(task) for task in spec.get("further") or ()]} for spec in specs]


def settings(runs: Sequence[Run], everything: bool = False) -> dict[str, list[Any]]:
    """{setting: value per run} of the settings in which runs differ; None where a run has it not. `everything`: all settings.

    Of a delta that some runs have not, only what is no default of its form is a difference: it has some thirty settings besides.
    """
    found = differences(_documents(runs), SAME_BY_NATURE, everything)
    if everything or not any(None in values for values in found.values()):
        return found
    written = {path for method in {json.dumps(run.spec.get("method") or {}, sort_keys=True) for run in runs} for path in _written(method)}
    return {
        path: values
        for path, values in found.items()
        if None not in values or not path.startswith("method.") or path in written or path.rpartition(".")[2] in DIMENSIONS
    }


@functools.lru_cache(256)
def _written(document: str) -> list[str]:
    """The settings of a method (JSON) that somebody would write; all of them where the lab has come to refuse the method."""
    method = json.loads(document)
    with contextlib.suppress(Refusal):
        method = brief(named.method_of(method))
    return [path for path, _ in flatten({"method": method})]


def varying(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """{setting: value per run} of the settings that vary; where methods differ, 'method' stands for what they bring along, and of their
    own settings only those are left that also vary between runs of one method."""
    rows = {path: values for path, values in differences(_documents(runs), SAME_BY_NATURE).items() if path != "seed"}
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
    """Heading and a row per run: id, name, state, results, costs, and the settings that differ. A run that is no result has no numbers, and says why."""
    metrics = list(dict.fromkeys(name for run in runs for name in outcome(run)))
    differing = {path: values for path, values in settings(runs).items() if path != "seed"}  # which has a column in any case
    rows: list[list[Any]] = [["run", "name", "state", "no_result", "model", "task", "method", "seed", *metrics, *COSTS, *FIELDS, *differing]]
    for index, run in enumerate(runs):
        numbers = outcome(run) if counts(run) else {}
        rows.append([run.id, run.name, run.state, why_not(run), model_of(run), task_of(run), method_of(run), run.spec.get("seed"),
                     *[numbers.get(name) for name in metrics], *[COST_OF[name](run) for name in COSTS], *[run.result.get(field) for field in FIELDS],
                     *[values[index] for values in differing.values()]])  # fmt: skip
    return rows


def sheet(runs: Sequence[Run]) -> list[list[Any]]:
    """`table` as files have it: step and process memory in columns of their own."""
    heads, *rows = table(runs)
    at = heads.index("peak_bytes")
    heads[at : at + 1] = ["peak_step_bytes", "peak_process_bytes"]
    for run, row in zip(runs, rows, strict=True):
        row[at : at + 1] = [row[at], None] if of_steps(run) else [None, row[at]]
    return [heads, *rows]


def as_csv(runs: Sequence[Run]) -> str:
    """`sheet` as CSV; a text that a spreadsheet would read as a formula gets an apostrophe."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[_cell(value) for value in row] for row in sheet(runs)])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value

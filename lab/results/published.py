"""The papers' published results (presets/papers) as points: for the library's tables and as a backdrop of comparisons."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from lab.design.presets import catalogue, tables
from lab.design.spec.families import Metric, judging
from lab.results.facts import task_of
from lab.runs import Run

ABOUT = ("table", "method", "setting", "percent", "weights")


@dataclass(frozen=True)
class Point:
    """One published number: a method at a setting, its share of trained weights, and a metric on a task."""

    cite: str
    table: str
    method: str
    setting: str
    percent: float | None
    task: str
    model: str
    metric: str
    value: float | None


@functools.cache
def points() -> tuple[Point, ...]:
    """Every published number, paper by paper. A row without a task's metric (weights alone) has an empty one."""
    found: list[Point] = []
    for name in catalogue.names("papers"):
        paper = catalogue.read("papers", name)
        for row in paper.get("results", ()):
            about = (paper.get("cite", name), str(row.get("table", "")), str(row["method"]), str(row.get("setting", "")), row.get("percent"))
            tasks = {task: values for task, values in row.items() if task not in ABOUT}
            models = paper.get("models", {})
            found += [Point(*about, task, models.get(task, ""), metric, float(value)) for task, values in tasks.items() for metric, value in values.items()]
            if not tasks:
                task = next(iter(models), "")
                found.append(Point(*about, task, models.get(task, ""), "", None))
    return tuple(found)


def of_method(preset: str) -> list[Point]:
    """The published numbers of a method preset."""
    return [point for point in points() if point.method == preset]


def main(found: list[Point]) -> dict[tuple[str, str], list[Point]]:
    """{(task, metric): points} with one metric per task, in the papers' order."""
    metrics: dict[str, str] = {}
    for point in found:
        if point.value is not None:
            metrics.setdefault(point.task, _standing(point, found))
    return {(task, metric): [point for point in found if (point.task, point.metric) == (task, metric)] for task, metric in metrics.items()}


def _standing(first: Point, found: list[Point]) -> str:
    """The metric that stands for a task: the one that judges it here where the paper gives it, else the paper's first."""
    if first.task not in catalogue.names("tasks"):
        return first.metric
    document = catalogue.read("tasks", first.task)
    metric = judging(document["family"], document.get("metric", ""))
    return metric.name if metric and any((point.task, point.metric) == (first.task, metric.name) for point in found) else first.metric


def on_tasks_of(runs: Sequence[Run], metric: Metric) -> list[tuple[Point, float]]:
    """(point with a share of weights, its value as the lab writes it) of what is published in this metric for the tasks of runs."""
    tasks = {task_of(run) for run in runs}
    scale = 0.01 if metric.fraction else 1.0  # papers print fractions as percents
    return [(point, point.value * scale) for point in points()
            if point.task in tasks and point.metric == metric.name and point.value is not None and point.percent]  # fmt: skip


def of_row(table: tables.PaperTable, row: tables.Row) -> list[Point]:
    """The numbers that were published for a row of a paper's table."""
    cite = catalogue.read("papers", table.paper).get("cite", table.paper)
    wanted = (cite, table.table, row.published.method, row.published.setting)
    return [point for point in points() if (point.cite, point.table, point.method, point.setting) == wanted]


def beside(run: Run) -> list[Point]:
    """What stands beside a run: its row of a paper's table, where it comes from one; else its method's results on the same task."""
    method, task = run.spec.get("method") or {}, run.spec.get("task")
    for tag in run.tags:
        if tag in tables.names() and (row := (table := tables.load(tag)).row(str(method.get("name", "")))):
            return of_row(table, row)
    alone = not run.spec.get("further")  # no paper trained these tasks together
    return [point for point in of_method(str(method.get("preset", ""))) if alone and point.task == task]

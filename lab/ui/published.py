"""The papers' published results (presets/papers) as points: for the library's tables and as a backdrop of comparisons."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from lab.design import catalogue

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

"""Several runs against each other: other x axes, means over seeds, Pareto fronts with the papers' points, and plain tables to take away."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lab.runs import Run
from lab.ui.shell import published, run_facts
from lab.ui.shell.json_text import plain
from lab.ui.shell.run_facts import colour

AXES = ("step", "epoch", "tokens", "time")
AXIS_CURVES = ("epoch", "tokens_per_second")  # what the axes are made of
LESS_IS_BETTER = ("loss", "perplexity")
FRONTS = {"percent": ("g", " %"), "peak_bytes": ("s", "B"), "seconds": ("r", " s")}  # x of a front: how d3 writes it, its unit
Series = dict[str, Any]


def axis(series: Series, kind: str) -> Callable[[Any], np.ndarray]:
    """From one curve (steps, values, times) to its x values: steps, epochs, estimated tokens, or seconds since the first step."""
    if kind == "epoch" and "epoch" in series:
        steps, epochs, _ = series["epoch"]
        return lambda curve: np.interp(curve[0], steps, epochs)
    if kind == "tokens" and "tokens_per_second" in series:
        steps, speed, times = series["tokens_per_second"]
        gone = np.diff(times, prepend=times[0])
        gone = np.minimum(gone, 3 * np.median(gone[1:])) if len(gone) > 1 else gone  # an evaluation between two steps is no training
        read = np.cumsum(np.nan_to_num(speed) * gone)
        return lambda curve: np.interp(curve[0], steps, read)
    if kind == "time":
        start = min((curve[2][0] for curve in series.values()), default=0.0)
        return lambda curve: curve[2] - start
    return lambda curve: curve[0].astype(float)


def group_key(run: Run) -> str:
    """What runs of one group have in common: everything but seed, name and tags."""
    return json.dumps({key: value for key, value in run.spec.items() if key not in ("seed", "name", "tags")}, sort_keys=True)


def groups(runs: list[Run]) -> list[list[Run]]:
    """Runs with the same settings together, in the order in which they were picked."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(group_key(run), []).append(run)
    return list(found.values())


def title(members: list[Run]) -> str:
    """The name of a group: what its runs' names begin with."""
    if len(members) == 1:
        return members[0].name or members[0].id
    first, last = min(run.name for run in members), max(run.name for run in members)
    same = next((index for index, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    name = first[:same].rstrip(" ·-_,=").removesuffix("seed").rstrip(" ·-_,=") or run_facts.method_of(members[0])
    return f"{name} (n={len(members)})"


def traces(runs: list[Run], everything: dict[str, Series], name: str, kind: str, along: str, grouped: bool) -> list[dict[str, Any]]:
    """The curves called `name` of all runs, or of groups as mean and one standard deviation."""
    found = []
    for members in groups(runs) if grouped else [[run] for run in runs]:
        having = [run for run in members if name in everything[run.id]]
        if not having:
            continue
        curves = [(axis(everything[run.id], along)(everything[run.id][name]), everything[run.id][name][1]) for run in having]
        about = {"name": name, "kind": kind, "colour": colour(having[0]), "label": title(members) if grouped else having[0].name or having[0].id}
        if len(curves) == 1:
            found.append({**about, "x": plain(np.asarray(curves[0][0])), "y": plain(curves[0][1])})
        else:
            found.append({**about, **_mean(curves)})
    return found


def _mean(curves: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, list[Any]]:
    """Mean and deviation on the x values that all curves reach."""
    first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    longest = max((x for x, _ in curves), key=len)
    grid = longest[(longest >= first) & (longest <= last)]
    values = np.array([np.interp(grid, x, y) for x, y in curves])
    middle, spread = values.mean(0), values.std(0, ddof=1)
    return {"x": plain(grid), "y": plain(middle), "low": plain(middle - spread), "high": plain(middle + spread)}


def metric_of(runs: list[Run]) -> str:
    """The metric that most of the runs are judged by."""
    names = [found[0] for run in runs if (found := run_facts.best(run))]
    return max(dict.fromkeys(names), key=names.count) if names else ""


def fronts(runs: list[Run], backdrop: bool = True) -> list[dict[str, Any]]:
    """Scatter charts: the metric against trained share, peak memory and time, with the front of the best trade-offs."""
    metric = metric_of(runs)
    judged = [(run, found[1]) for run in runs if (found := run_facts.best(run)) and found[0] == metric]
    charts = []
    for field in FRONTS:
        points = [{"id": run.id, "label": run.name or run.id, "colour": colour(run), "x": float(run.result[field]), "y": value}
                  for run, value in judged if isinstance(run.result.get(field), (int, float)) and run.result[field] > 0]  # fmt: skip
        if len(points) > 1:
            papers = papers_of(runs, metric) if backdrop and field == "percent" else []
            charts.append({"id": "pareto_" + field, "scatter": True, "wide": 4, "reads": f".{_digits(points)}~{FRONTS[field][0]}", "metric": metric,
                           "unit": FRONTS[field][1], "points": points, "front": front(points, less(metric)),
                           "papers": papers, "traces": []})  # fmt: skip
    return charts


def _digits(points: list[dict[str, Any]]) -> int:
    """Significant digits that tell the ticks between the points apart, 3 to 7: peaks of 1.0012 and 1.0019 GB need five."""
    low, high = min(point["x"] for point in points), max(point["x"] for point in points)
    return 3 if low == high else min(7, max(3, 2 + math.ceil(math.log10(high / (high - low)))))


def less(metric: str) -> bool:
    """Whether a smaller value of the metric is better."""
    return metric.endswith(LESS_IS_BETTER)


def front(points: list[dict[str, Any]], smaller: bool) -> list[list[float]]:
    """The points that no other beats in both directions, by x."""
    found: list[list[float]] = []
    for point in sorted(points, key=lambda p: (p["x"], p["y"] if smaller else -p["y"])):
        if not found or (point["y"] < found[-1][1] if smaller else point["y"] > found[-1][1]):
            found.append([point["x"], point["y"]])
    return found


def papers_of(runs: list[Run], metric: str) -> list[dict[str, Any]]:
    """The papers' points of the runs' task in the same metric; fractions where ours are fractions."""
    tasks = {run_facts.task_of(run) for run in runs}
    scale = 0.01 if metric in ("accuracy", "f1", "exact_match") else 1.0
    return [{"label": f"{point.method} {point.setting}".strip() + f", {point.cite}", "method": point.method, "x": point.percent, "y": point.value * scale}
            for point in published.points() if point.task in tasks and point.metric == metric and point.value is not None and point.percent]  # fmt: skip


def varying(runs: list[Run]) -> dict[str, list[Any]]:
    """{setting: value per run} of the settings that vary; where methods differ, 'method' stands for what they bring along, and of their
    own settings only those are left that also vary between runs of one method."""
    rows = {path: values for path, values in run_facts.differences(runs) if path != "seed"}
    methods = [run_facts.method_of(run) for run in runs]
    found: dict[str, list[Any]] = {}
    if len(set(methods)) > 1:
        found["method"] = methods
        alike = [[index for index, one in enumerate(methods) if one == method] for method in dict.fromkeys(methods)]
        turned = lambda values: any(values[index] != values[group[0]] for group in alike for index in group)  # noqa: E731
        rows = {path: values for path, values in rows.items() if not path.startswith("method.") or turned(values)}
    found |= rows
    seeds = [run.spec.get("seed") for run in runs]
    return {**found, "seed": seeds} if len(set(seeds)) > 1 else found


def table(runs: list[Run]) -> list[list[Any]]:
    """Heading and a row per run: id, name, state, results, and the settings that differ."""
    metrics = list(dict.fromkeys(name for run in runs for name in run_facts.outcome(run)))
    fields = ("trainable", "percent", "peak_bytes", "seconds", "tokens_per_second", "steps")
    settings = run_facts.differences(runs)
    rows: list[list[Any]] = [["run", "name", "state", "model", "task", "method", "seed", *metrics, *fields, *[path for path, _ in settings]]]
    for index, run in enumerate(runs):
        rows.append([run.id, run.name, run.state, run_facts.model_of(run), run_facts.task_of(run), run_facts.method_of(run), run.spec.get("seed"),
                     *[run_facts.outcome(run).get(name) for name in metrics], *[run.result.get(field) for field in fields],
                     *[values[index] for _, values in settings]])  # fmt: skip
    return rows


def as_csv(runs: list[Run]) -> str:
    """The table as CSV; a text that a spreadsheet would read as a formula gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([[_cell(value) for value in row] for row in table(runs)])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value

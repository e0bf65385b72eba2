"""The charts of several runs over each other, and the fronts of their trade-offs with the papers' points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lab.design.spec.families import LOSS, OF, Metric
from lab.results import compare, facts, groups, published
from lab.results.curves import AXIS_CURVES, axis, mean_curve
from lab.results.labels import labels, labels_of
from lab.runs import Run
from lab.runs.series import thinned
from lab.ui.shell import verdicts
from lab.ui.shell.charts import EVALUATION, TRAIN, better, chart, wanted
from lab.ui.shell.json_text import plain
from lab.ui.shell.run_facts import metric_names, read_series
from lab.ui.shell.run_styles import run_styles

OVERLAID, FEWEST = 12_000, 150  # points of all overlaid curves of a chart together, of one of them at least
FRONTS = {"percent": ("g", " %"), "peak_bytes": ("s", "B"), "seconds": ("r", " s")}  # x of a front: how d3 writes it, its unit
Series = dict[str, Any]


def of_runs(runs: list[Run], along: str = "step", grouped: bool = False, backdrop: bool = True) -> dict[str, Any]:
    """Charts of several runs overlaid: colour, dash and marker for each run or group, the x axis as asked, and the Pareto fronts."""
    most = max(FEWEST, OVERLAID // max(1, len(runs)))
    everything = {run.id: {name: series if name in AXIS_CURVES else thinned(series, most)
                           for name, series in read_series(run, [*wanted(run), "memory_bytes", *AXIS_CURVES]).items()} for run in runs}  # fmt: skip
    named = [(metric, metric, EVALUATION, ".4~g", 6) for metric in _shown(runs, everything)]
    charted = [*named, ("loss", "loss", TRAIN, ".4~g", 6), ("eval_loss", "eval_loss", EVALUATION, ".4~g", 4), ("trainable", "trainable", TRAIN, ".4~s", 4),
              ("memory", "memory_bytes", TRAIN, ".3~s", 4)]  # fmt: skip
    charts = []
    for name, curve, kind, reads, wide in charted:
        found = traces(runs, everything, curve, kind, along, grouped)
        if found:
            charts.append(chart(name, reads, wide, found))
    key = ",".join(run.id for run in runs) + f"/{along}/{grouped}"
    return {"key": key, "along": along, "charts": charts + fronts(runs, backdrop, grouped), "grouped": grouped}


def _shown(runs: list[Run], everything: dict[str, Series]) -> list[str]:
    """The curve of the metric that most runs are judged by, where the loss (which has a chart of its own) is not it; else the first there is."""
    there = list(dict.fromkeys(name for run in runs for name in metric_names(run, everything[run.id])))
    metric = compare.metric_of(runs)
    judging = f"eval_{metric.name}" if metric and metric != LOSS else ""
    of_tasks = [name for name in there if OF in name]  # of runs of several tasks
    return [*([judging] if judging in there else there[:1]), *(name for name in of_tasks if name != there[0])]


def traces(runs: list[Run], everything: dict[str, Series], name: str, kind: str, along: str, grouped: bool) -> list[dict[str, Any]]:
    """The curves called `name` of all runs, or of groups as mean and one standard deviation."""
    found = []
    found_groups, labels = groups.grouped(runs) if grouped else groups.alone(runs), labels_of(runs)
    for group, style in zip(found_groups, run_styles([group.runs[0].number for group in found_groups]), strict=True):
        having = [run for run in group.runs if name in everything[run.id]]
        if not having:
            continue
        curves = [(axis(everything[run.id], along)(everything[run.id][name]), everything[run.id][name][1]) for run in having]
        label = group.title if len(group.runs) > 1 else labels[group.runs[0].id]
        about = {"name": name, "kind": kind, **style.drawn, "label": label, "better": better(name)}
        if len(curves) == 1:
            found.append({**about, "x": plain(np.asarray(curves[0][0])), "y": plain(curves[0][1])})
        else:
            x, mean, spread = mean_curve(curves)
            found.append({**about, "x": plain(x), "y": plain(mean), "low": plain(mean - spread), "high": plain(mean + spread)})
    return found


def fronts(runs: list[Run], backdrop: bool = True, grouped: bool = True) -> list[dict[str, Any]]:
    """Scatter charts: the metric against trained share, peak memory and time, means over seeds with their deviation, and the front of the best trade-offs."""
    metric, found = compare.metric_of(runs), groups.grouped(runs) if grouped else groups.alone(runs)
    names = labels({group.runs[0].id: name for group, name in zip(found, groups.names(found), strict=True)})
    styles = dict(zip(names, run_styles([group.runs[0].number for group in found]), strict=True))
    charts = []
    for field in compare.FRONTS if metric else ():
        points = [{"id": group.runs[0].id, "label": _titled(group, names[group.runs[0].id]), **styles[group.runs[0].id].drawn, "x": cost, "y": value,
                   **({"spread": group.deviation} if group.deviation is not None else {})} for group, cost, value in compare.weighed(found, field)]  # fmt: skip
        if len(points) > 1:
            best = compare.front([(point["x"], point["y"]) for point in points], metric.greater)
            charts.append({"id": "pareto_" + field, "scatter": True, "wide": 4, "reads": f".{_digits(points)}~{FRONTS[field][0]}", "metric": metric.name,
                           **({"words": f"chart.pareto.{facts.peak_kind(runs)}", "cost": f"fact.peak.{facts.peak_kind(runs)}"} if field == "peak_bytes" else {}),
                           "unit": FRONTS[field][1], "points": points, "front": [list(point) for point in best],
                           "papers": _papers(runs, metric) if backdrop and field == "percent" else [], "traces": []})  # fmt: skip
    return charts


def _titled(group: groups.Group, name: str) -> str:
    return f"{name}: {verdicts.mean_of(group)} (n={len(group.by_seed)})" if group.deviation is not None else name


def _papers(runs: list[Run], metric: Metric) -> list[dict[str, Any]]:
    return [{"label": f"{point.method} {point.setting}".strip() + f", {point.cite}", "method": point.method, "x": point.percent, "y": value}
            for point, value in published.on_tasks_of(runs, metric)]  # fmt: skip


def _digits(points: list[dict[str, Any]]) -> int:
    """Significant digits that tell the ticks between the points apart, 3 to 7: peaks of 1.0012 and 1.0019 GB need five."""
    low, high = min(point["x"] for point in points), max(point["x"] for point in points)
    return 3 if low == high else min(7, max(3, 2 + math.ceil(math.log10(high / (high - low)))))

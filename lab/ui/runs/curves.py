"""The charts of one run, and what a zoom into them asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.design.plain.refusal import Refusal
from lab.design.spec.families import OF
from lab.results.facts import tasks_of
from lab.runs import Run, default
from lab.runs.series import thinned
from lab.ui.runs import run_memory
from lab.ui.shell.charts import EVALUATION, SINGLE, chart, trace, wanted
from lab.ui.shell.curve_cache import POINTS
from lab.ui.shell.run_facts import colour, metric_names, read_series

DETAIL = 1200  # points of a curve between the ends of a zoom
FEWER = 400  # points of a curve on a small chart
NEXT = 3  # colours between two metrics of one run: neighbours are not alike


def of_run(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """(charts of one run, its series)."""
    series = read_series(run, [*wanted(run), *run_memory.CURVES])
    return {"key": run.id, "along": "step", "charts": [_single(run, name, series) for name, *_ in SINGLE]}, series


def detail(asked: Any) -> dict[str, Any]:
    """The curves of {"run", "chart", "first", "last"} between two steps, with what a thinned curve leaves out: {"traces": [...]}."""
    asked = asked if isinstance(asked, Mapping) else {}
    ends = [asked.get(name) for name in ("first", "last")]
    run = _run(asked.get("run"))
    if run is None or asked.get("chart") not in [name for name, *_ in SINGLE] or not all(isinstance(end, (int, float)) and abs(end) < 2**53 for end in ends):
        return {"traces": []}
    curves = _curves_of(run, asked["chart"], wanted(run))
    found = default().store.series(run.id, [curve for curve, _ in curves], after=int(ends[0]) - 2, until=int(ends[1]) + 2, points=DETAIL)
    return {"traces": _single(run, asked["chart"], found, wanted(run))["traces"]}


def _run(asked: Any) -> Run | None:
    try:
        return default().store.get(asked)
    except Refusal:
        return None


def _curves_of(run: Run, name: str, names: Any) -> list[tuple[str, str]]:
    """[(curve, train or eval)] of a chart; those of `metric` are what the run is judged by."""
    (curves,) = (curves for one, curves, *_ in SINGLE if one == name)
    own = [(f"{curve}{OF}{task}", kind) for task in tasks_of(run) for curve, kind in curves] if name == "loss" else []
    return [*curves, *own] or [(metric, EVALUATION) for metric in metric_names(run, names)]


def _single(run: Run, name: str, series: Mapping[str, Any], names: Any = None) -> dict[str, Any]:
    """One chart of one run. Several metrics have a colour each, the first one the run's."""
    (reads, wide) = next((reads, wide) for one, _, reads, wide in SINGLE if one == name)
    curves = _curves_of(run, name, names or series)
    steps = {"metric": 1, "loss": 2}.get(name)  # curves of one colour: of the loss, that of training and that of evaluation
    tints = [colour(run, NEXT * (index // steps) if steps else 0) for index in range(len(curves))]
    traces = [
        trace(thinned(series[curve], FEWER if wide < 6 else POINTS), curve, kind, tint)
        for (curve, kind), tint in zip(curves, tints, strict=True)
        if curve in series
    ]
    return chart(name, reads, wide, traces)

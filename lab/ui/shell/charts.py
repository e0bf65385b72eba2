"""Charts as plain data: which curves stand together, in what colours, and how their numbers read. shell/charts.js draws them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.runs import Run, default
from lab.runs.series import thinned
from lab.ui.runs import run_memory
from lab.ui.shell import comparison
from lab.ui.shell.curve_cache import POINTS
from lab.ui.shell.run_facts import colour, metric_names, plain, read_series

TRAIN, EVALUATION = "train", "eval"  # solid and dashed
SINGLE = (  # id, curves, number format of d3, width in twelfths
    ("loss", (("loss", TRAIN), ("eval_loss", EVALUATION)), ".4~g", 6),
    ("metric", (), ".4~g", 6),
    ("trainable", (("trainable", TRAIN),), ".4~s", 3),
    ("throughput", (("tokens_per_second", TRAIN),), ".3~s", 3),
    ("lr", (("lr", TRAIN),), ".2~g", 3),
    ("grad_norm", (("grad_norm", TRAIN),), ".3~g", 3),
)
FROM_ZERO = ("memory", "trainable", "lr", "throughput")
UNITS = {"memory": "B", "throughput": " tok/s"}
DETAIL = 1200  # points of a curve between the ends of a zoom
FEWER = 400  # points of a curve on a small chart
OVERLAID, FEWEST = 12_000, 150  # points of all overlaid curves of a chart together, of one of them at least
NEXT = 3  # colours between two metrics of one run: neighbours are not alike


def of_run(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """(charts of one run, its series)."""
    series = read_series(run, [*_wanted(run), *run_memory.CURVES])
    return {"key": run.id, "along": "step", "charts": [_single(run, name, series) for name, *_ in SINGLE]}, series


def detail(asked: Any) -> dict[str, Any]:
    """The curves of {"run", "chart", "first", "last"} between two steps, with what a thinned curve leaves out: {"traces": [...]}."""
    asked = asked if isinstance(asked, Mapping) else {}
    ends = [asked.get(name) for name in ("first", "last")]
    run = _run(asked.get("run"))
    if run is None or asked.get("chart") not in [name for name, *_ in SINGLE] or not all(isinstance(end, (int, float)) and abs(end) < 2**53 for end in ends):
        return {"traces": []}
    curves = _curves_of(asked["chart"], _wanted(run))
    found = default().store.series(run.id, [curve for curve, _ in curves], after=int(ends[0]) - 2, until=int(ends[1]) + 2, points=DETAIL)
    return {"traces": _single(run, asked["chart"], found, _wanted(run))["traces"]}


def _run(asked: Any) -> Run | None:
    from lab.design.plain.refusal import Refusal

    try:
        return default().store.get(asked)
    except Refusal:
        return None


def _curves_of(chart: str, names: Any) -> list[tuple[str, str]]:
    """[(curve, train or eval)] of a chart; those of `metric` are what the run is judged by."""
    (curves,) = (curves for name, curves, *_ in SINGLE if name == chart)
    return list(curves) or [(metric, EVALUATION) for metric in metric_names(names)]


def _single(run: Run, name: str, series: Mapping[str, Any], names: Any = None) -> dict[str, Any]:
    """One chart of one run. Several metrics have a colour each, the first one the run's."""
    (reads, wide) = next((reads, wide) for chart, _, reads, wide in SINGLE if chart == name)
    curves = _curves_of(name, names or series)
    tints = [colour(run, NEXT * index if name == "metric" else 0) for index in range(len(curves))]
    traces = [trace(thinned(series[curve], FEWER if wide < 6 else POINTS), curve, kind, tint) for (curve, kind), tint in zip(curves, tints, strict=True) if curve in series]
    return _chart(name, reads, wide, traces)


def _chart(name: str, reads: str, wide: int, traces: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": name, "reads": reads, "wide": wide, "traces": traces, "steps": name == "trainable", "zero": name in FROM_ZERO, "unit": UNITS.get(name, "")}


def _wanted(run: Run) -> list[str]:
    named = [curve for _, curves, _, _ in SINGLE for curve, _ in curves]
    return named + metric_names(default().store.metric_names(run.id))


def trace(series: Any, name: str, kind: str, tint: str, label: str = "") -> dict[str, Any]:
    """One curve: x, y, its name, whether it is dashed, its colour."""
    steps, values, _ = series
    return {"name": name, "label": label, "x": plain(steps), "y": plain(values), "kind": kind, "colour": tint}


def of_runs(runs: list[Run], along: str = "step", grouped: bool = False, backdrop: bool = True) -> dict[str, Any]:
    """Charts of several runs overlaid: a colour for each run or group, the x axis as asked, and the Pareto fronts."""
    most = max(FEWEST, OVERLAID // max(1, len(runs)))
    everything = {run.id: {name: series if name in comparison.AXIS_CURVES else thinned(series, most)
                           for name, series in read_series(run, [*_wanted(run), "memory_bytes", *comparison.AXIS_CURVES]).items()} for run in runs}  # fmt: skip
    metrics = list(dict.fromkeys(name for series in everything.values() for name in metric_names(series)))
    groups = [*[(metric, metric, EVALUATION, ".4~g", 6) for metric in metrics[:1]], ("loss", "loss", TRAIN, ".4~g", 6),
              ("eval_loss", "eval_loss", EVALUATION, ".4~g", 4), ("trainable", "trainable", TRAIN, ".4~s", 4), ("memory", "memory_bytes", TRAIN, ".3~s", 4)]  # fmt: skip
    charts = []
    for name, curve, kind, reads, wide in groups:
        found = comparison.traces(runs, everything, curve, kind, along, grouped)
        if found:
            charts.append(_chart(name, reads, wide, found))
    key = ",".join(run.id for run in runs) + f"/{along}/{grouped}"
    return {"key": key, "along": along, "charts": charts + comparison.fronts(runs, backdrop), "grouped": grouped}

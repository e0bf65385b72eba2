"""Charts as plain data: which curves stand together, in what colours, and how their numbers read. static/charts.js draws them."""

from __future__ import annotations

from typing import Any

from lab.runs import Run
from lab.ui import comparing
from lab.ui.reading import colour, metric_names, plain, read_series

TRAIN, EVALUATION = "train", "eval"  # solid and dashed
SINGLE = (  # id, curves, number format of d3, width in twelfths
    ("loss", (("loss", TRAIN), ("eval_loss", EVALUATION)), ".4~g", 6),
    ("metric", (), ".4~g", 6),
    ("trainable", (("trainable", TRAIN),), ".4~s", 3),
    ("memory", (("memory_bytes", TRAIN), ("peak_bytes", EVALUATION)), ".3~s", 3),
    ("lr", (("lr", TRAIN),), ".2~g", 3),
    ("grad_norm", (("grad_norm", TRAIN),), ".3~g", 3),
)


def of_run(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """(charts of one run, its series)."""
    series = read_series(run, None if run.step < 1 else _wanted(run))
    charts = []
    for name, curves, reads, wide in SINGLE:
        curves = curves or tuple((metric, EVALUATION) for metric in metric_names(series))
        traces = [trace(series[curve], curve, kind, colour(run)) for curve, kind in curves if curve in series]
        title = curves[0][0].removeprefix("eval_") if name == "metric" and curves else ""
        charts.append(_chart(name, reads, wide, traces, title))
    return {"key": run.id, "charts": charts}, series


def _chart(name: str, reads: str, wide: int, traces: list[dict[str, Any]], title: str = "") -> dict[str, Any]:
    return {"id": name, "reads": reads, "wide": wide, "traces": traces, "steps": name == "trainable", "title": title, "unit": "B" if name == "memory" else ""}


def _wanted(run: Run) -> list[str]:
    from lab.runs import default

    named = [curve for _, curves, _, _ in SINGLE for curve, _ in curves]
    return named + metric_names(default().store.metric_names(run.id))


def trace(series: Any, name: str, kind: str, tint: str, label: str = "") -> dict[str, Any]:
    """One curve: x, y, its name, whether it is dashed, its colour."""
    steps, values, _ = series
    return {"name": name, "label": label, "x": plain(steps), "y": plain(values), "kind": kind, "colour": tint}


def of_runs(runs: list[Run], along: str = "step", grouped: bool = False, backdrop: bool = True) -> dict[str, Any]:
    """Charts of several runs overlaid: a colour for each run or group, the x axis as asked, and the Pareto fronts."""
    everything = {run.id: read_series(run, [*_wanted(run), "epoch", "tokens_per_second"]) for run in runs}
    metrics = list(dict.fromkeys(name for series in everything.values() for name in metric_names(series)))
    groups = [*[(metric, metric, EVALUATION, ".4~g", 6) for metric in metrics[:1]], ("loss", "loss", TRAIN, ".4~g", 6),
              ("eval_loss", "eval_loss", EVALUATION, ".4~g", 4), ("trainable", "trainable", TRAIN, ".4~s", 4), ("memory", "memory_bytes", TRAIN, ".3~s", 4)]  # fmt: skip
    charts = []
    for name, curve, kind, reads, wide in groups:
        found = comparing.traces(runs, everything, curve, kind, along, grouped)
        if found:
            charts.append(_chart(name, reads, wide, found))
    key = ",".join(run.id for run in runs) + f"/{along}/{grouped}"
    return {"key": key, "along": along, "charts": charts + comparing.fronts(runs, backdrop)}

"""The charts of several runs over each other, and the fronts of their trade-offs."""

from __future__ import annotations

from typing import Any

from lab.runs import Run
from lab.runs.series import thinned
from lab.ui.shell import comparison
from lab.ui.shell.charts import EVALUATION, TRAIN, chart, wanted
from lab.ui.shell.run_facts import metric_names, read_series

OVERLAID, FEWEST = 12_000, 150  # points of all overlaid curves of a chart together, of one of them at least


def of_runs(runs: list[Run], along: str = "step", grouped: bool = False, backdrop: bool = True) -> dict[str, Any]:
    """Charts of several runs overlaid: a colour for each run or group, the x axis as asked, and the Pareto fronts."""
    most = max(FEWEST, OVERLAID // max(1, len(runs)))
    everything = {run.id: {name: series if name in comparison.AXIS_CURVES else thinned(series, most)
                           for name, series in read_series(run, [*wanted(run), "memory_bytes", *comparison.AXIS_CURVES]).items()} for run in runs}  # fmt: skip
    metrics = list(dict.fromkeys(name for series in everything.values() for name in metric_names(series)))
    groups = [*[(metric, metric, EVALUATION, ".4~g", 6) for metric in metrics[:1]], ("loss", "loss", TRAIN, ".4~g", 6),
              ("eval_loss", "eval_loss", EVALUATION, ".4~g", 4), ("trainable", "trainable", TRAIN, ".4~s", 4), ("memory", "memory_bytes", TRAIN, ".3~s", 4)]  # fmt: skip
    charts = []
    for name, curve, kind, reads, wide in groups:
        found = comparison.traces(runs, everything, curve, kind, along, grouped)
        if found:
            charts.append(chart(name, reads, wide, found))
    key = ",".join(run.id for run in runs) + f"/{along}/{grouped}"
    return {"key": key, "along": along, "charts": charts + comparison.fronts(runs, backdrop), "grouped": grouped}

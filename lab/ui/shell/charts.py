"""Charts as plain data, which shell/charts.js draws: what each chart reads as, and the curves in it."""

from __future__ import annotations

from typing import Any

from lab.design.spec.families import OF
from lab.results.facts import greater_is_better, tasks_of
from lab.runs import Run, default
from lab.ui.shell.json_text import plain
from lab.ui.shell.run_facts import metric_names

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


def chart(name: str, reads: str, wide: int, traces: list[dict[str, Any]]) -> dict[str, Any]:
    """One chart of some traces, read in d3's number format `reads`, `wide` twelfths wide."""
    return {"id": name, "reads": reads, "wide": wide, "traces": traces, "steps": name == "trainable", "zero": name in FROM_ZERO, "unit": UNITS.get(name, "")}


def wanted(run: Run) -> list[str]:
    """The curves of a run that charts show."""
    named = [curve for _, curves, _, _ in SINGLE for curve, _ in curves]
    named += [f"{curve}{OF}{task}" for task in tasks_of(run) for curve in ("loss", "eval_loss")]
    return named + metric_names(run, default().store.metric_names(run.id))


def trace(series: Any, name: str, kind: str, tint: str, label: str = "") -> dict[str, Any]:
    """One curve: x, y, its name, whether it is dashed, its colour."""
    steps, values, _ = series
    return {"name": name, "label": label, "x": plain(steps), "y": plain(values), "kind": kind, "colour": tint, "better": better(name)}


def better(curve: str) -> str:
    """Which end of a curve is its best: "low", "high", or "" where neither is."""
    name = curve.partition(OF)[0]
    if name in ("loss", "eval_loss"):
        return "low"
    return ("high" if greater_is_better(name.removeprefix("eval_")) else "low") if name.startswith("eval_") else ""

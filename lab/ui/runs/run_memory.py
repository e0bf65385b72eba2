"""The memory of a run: what was measured by category beside what is predicted for the same batch, and the device's bytes over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.design.plain.refusal import Refusal
from lab.planning.result import CATEGORIES
from lab.runs import Run, default
from lab.ui.shell import planner
from lab.ui.shell.json_text import plain
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked

MEASURED = "measured/"
SHAPE = ("rows", "tokens", "target_tokens", "targets")  # of the batch of a metered step; the last two of a language model
LINES = ("memory_bytes", "peak_bytes", "reserved_peak_bytes")  # over time, as the device (or the system) gives them
CURVES = (*LINES, "process_bytes", *(MEASURED + name for name in (*CATEGORIES, *SHAPE)))


def of_run(run: Run, series: Mapping[str, Any]) -> dict[str, Any] | None:
    """{"run", "device": cpu or cuda, "lines": {name: [steps, bytes]}, "measured": [{"step", "rows", "tokens", "target_tokens", "targets", "parts"}], "process"}."""
    lines = {name: [plain(series[name][0]), plain(series[name][1])] for name in LINES if name in series}
    if not lines:
        return None
    return {"run": run.id, "device": device_of(series), "lines": lines, "measured": _measured(series),
            "process": int(series["process_bytes"][1][-1]) if "process_bytes" in series else 0}  # fmt: skip


def device_of(series: Mapping[str, Any]) -> str:
    """Where a run trains: only an accelerator's allocator reserves."""
    return "cuda" if "reserved_peak_bytes" in series else "cpu"


def _measured(series: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What metered steps found, by step."""
    found: dict[int, dict[str, Any]] = {}
    for name in CURVES:
        if name.startswith(MEASURED) and name in series:
            for step, value in zip(series[name][0].tolist(), series[name][1].tolist(), strict=True):
                found.setdefault(int(step), {})[name.removeprefix(MEASURED)] = int(value)
    return [{"step": step, **{name: values.get(name) for name in SHAPE}, "parts": {name: values[name] for name in CATEGORIES}}
            for step, values in sorted(found.items()) if all(name in values for name in ("rows", "tokens", *CATEGORIES))]  # fmt: skip


def predict(asked: Any) -> dict[str, Any]:
    """{"worst", "batch"} for {"run"}: the plan with every row as long as the task allows, and that for the batch of the first metered step.

    Each is {"parts", "peak", "rows", "tokens"}; "batch" is missing before a step was metered. {"wrong": sentence} where there is no plan.
    """
    try:
        run = default().store.get(str(asked.get("run", "")) if isinstance(asked, Mapping) else "")
        series = default().store.series(run.id, CURVES)
        device, measured = device_of(series), _measured(series)
        found = {"worst": _plan_of(planner.client().plan({"spec": run.spec, "device": device}))}
        if measured:
            shape = {"batch" if name == "rows" else name: measured[0][name] for name in SHAPE}
            found["batch"] = _plan_of(planner.client().plan({"spec": run.spec, "device": device, **{name: value for name, value in shape.items() if value}}))
        return found
    except Refusal as problem:
        return {"wrong": refused(language_asked(asked), problem)}


def _plan_of(document: Mapping[str, Any]) -> dict[str, Any]:
    setting = document["setting"]
    return {"parts": {name: document["categories"][name] for name in CATEGORIES}, "peak": document["peak_allocated_bytes"],
            "rows": setting["batch"], "tokens": setting["tokens"]}  # fmt: skip

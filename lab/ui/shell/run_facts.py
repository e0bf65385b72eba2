"""What pages show of runs: rows of the list, curves, settings that differ. Reads the store and formats; changes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import yaml

from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.runs import Run, default
from lab.ui.shell.curve_cache import Follower

COLOURS = 10  # --run-0 … --run-9 of lab.css, safe for colour-blind eyes, in a light and a dark version
FOLLOWER = Follower()
PREDICTION_BYTES = 512 * 1024


def colour(run: Run, further: int = 0) -> str:
    """A run's colour on every page, from its number; `further`: another one, so many on."""
    return f"var(--run-{(run.number + further) % COLOURS})"


def model_of(run: Run) -> str:
    """The model's short name."""
    return str(run.spec.get("model", "")).rstrip("/").rsplit("/", 1)[-1]


def task_of(run: Run) -> str:
    """The task's name."""
    task = run.spec.get("task", "")
    return str(task.get("name") or task.get("title") or "own task") if isinstance(task, dict) else str(task)


def method_of(run: Run) -> str:
    """The method's name."""
    method = run.spec.get("method") or {}
    return str(method.get("name") or method.get("preset") or "") if isinstance(method, dict) else str(method)


def best(run: Run) -> tuple[str, float] | None:
    """(metric, value) that a run is judged by: from its result, None before it has one."""
    found = run.result.get("best") if isinstance(run.result, dict) else None
    if isinstance(found, dict):
        for name, value in found.items():
            if isinstance(value, (int, float)) and name not in ("step", "loss", "eval_loss", "epoch"):
                return name.removeprefix("eval_"), float(value)
    return None


def row(run: Run) -> dict[str, Any]:
    """A run as the list shows it."""
    judged = best(run)
    return {
        "id": run.id, "name": run.name, "state": run.state, "colour": colour(run), "step": run.step, "total": run.total_steps or 0,
        "created": run.created, "seconds": _seconds(run), "tags": run.tags,
        "metric": numbers.number(judged[1]) if judged else "", "metric_name": judged[0] if judged else "",
        "trainable": numbers.weights(run.result.get("trainable")) if run.result.get("trainable") else "",
        "value": judged[1] if judged and math.isfinite(judged[1]) else None, "weights": run.result.get("trainable") or None,
    }  # fmt: skip


def _seconds(run: Run) -> float:
    return max(0.0, (run.ended or run.heartbeat or run.started) - run.started) if run.started else 0.0


def chosen(run_id: str) -> Run | None:
    """The run of that id, the newest one for an empty id, None where there is none."""
    store = default().store
    try:
        return store.get(run_id) if run_id else next(iter(store.list(limit=1)), None)
    except Refusal:
        return None


def adapters(run: Run) -> list[str]:
    """Which adapters a run has by now: best, final."""
    try:
        folder = default().home.run_dir(run.id)
    except Refusal:
        return []
    return [name for name, kept in (("best", "best"), ("final", "adapter")) if (folder / kept / "adapter.safetensors").is_file()]


def has_adapter(run: Run) -> bool:
    """Whether there is an adapter to try or to export."""
    return bool(adapters(run))


def spec_yaml(run: Run) -> str:
    """The frozen spec of a run as YAML, without what is at its default in a delta."""
    return yaml.safe_dump(run.spec, sort_keys=False, allow_unicode=True, width=100)


def eta(run: Run, series: dict[str, Any]) -> float | None:
    """Seconds that a running run still needs, from the times of its last steps; None before there are enough."""
    if run.state != "running" or not run.total_steps or "loss" not in series:
        return None
    steps, _, times = series["loss"]
    if len(steps) < 3 or steps[-1] <= steps[0]:
        return None
    first = max(0, len(steps) - 40)
    pace = (times[-1] - times[first]) / max(1, steps[-1] - steps[first])
    return max(0.0, pace * (run.total_steps - run.step))


def read_series(run: Run, names: Iterable[str]) -> dict[str, Any]:
    """The curves of a run, thinned for display."""
    return FOLLOWER.read(default().store, run, names)


def metric_names(series: Iterable[str]) -> list[str]:
    """The evaluation metrics among a run's curves, the loss left out."""
    return [name for name in series if name.startswith("eval_") and name not in ("eval_loss", "eval_seconds", "eval_rows")]


def flat(document: Any, prefix: str = "") -> dict[str, Any]:
    """A spec as {dotted path: value}."""
    if isinstance(document, dict) and document:
        return {path: value for key, item in document.items() for path, value in flat(item, f"{prefix}{key}.").items()}
    if isinstance(document, list) and any(isinstance(item, dict) for item in document):
        return {path: value for index, item in enumerate(document) for path, value in flat(item, f"{prefix}{index}.").items()}
    return {prefix.rstrip("."): document}


SAME_BY_NATURE = ("name", "method.name", "method.summary", "method.family", "method.branch", "method.deviations", "method.paper", "tags", "origins")


def those(ids: Any, most: int) -> list[Run]:
    """The runs that there are of the named ones, in their order; at most so many. Whatever is no id names none."""
    found = []
    for run in list(dict.fromkeys(one for one in ids if isinstance(one, str)))[:most] if isinstance(ids, list) else []:
        try:
            found.append(default().store.get(run))
        except Refusal:
            continue
    return found


def differences(found: list[Run], everything: bool = False) -> list[tuple[str, list[Any]]]:
    """[(setting, value per run)] for the settings in which the runs differ; a setting that a run has not is None. `everything`: all settings."""
    flats = [flat(run.spec) for run in found]
    paths = dict.fromkeys(path for document in flats for path in document)
    rows = []
    for path in paths:
        values = [document.get(path) for document in flats]
        if (everything or any(value != values[0] for value in values)) and not path.startswith(SAME_BY_NATURE):
            rows.append((path, values))
    return rows


def outcome(run: Run) -> dict[str, float]:
    """{metric: value} of a run's best evaluation, then what only the final one has; without step counts."""
    best_ones, finals = run.result.get("best") or {}, run.result.get("metrics") or {}
    merged = {f"final {name}": value for name, value in finals.items()} if isinstance(finals, dict) else {}
    merged = {**(best_ones if isinstance(best_ones, dict) else {}), **merged}
    return {name: float(value) for name, value in merged.items() if isinstance(value, (int, float)) and name not in ("step", "epoch", "final epoch")}


def predictions(run: Run) -> list[dict[str, Any]]:
    """The held-out rows that a run left with its predictions; none where it has none or the file is damaged."""
    try:
        path = default().home.file(run.id, "predictions.json")
        if path.stat().st_size > PREDICTION_BYTES:
            return []
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []

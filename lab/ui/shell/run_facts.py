"""What pages show of a run: its row in the list, its curves, its files. Reads the store and formats; changes nothing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.results import compare, facts
from lab.results.labels import labels
from lab.runs import OVER, Run, default
from lab.ui.shell.curve_cache import Follower
from lab.ui.shell.markup import esc
from lab.ui.shell.run_styles import COLOURS
from lab.ui.words.refusals import refused
from lab.ui.words.table import say, time_units

FOLLOWER = Follower()
PREDICTION_BYTES = 512 * 1024
SOON = 8.0  # seconds, below which none are counted


def colour(run: Run, further: int = 0) -> str:
    """A run's colour on every page, from its number; `further`: another one, so many on."""
    return f"var(--run-{(run.number + further) % COLOURS})"


def row(run: Run) -> dict[str, Any]:
    """A run as the list shows it."""
    judged = facts.score(run)
    return {
        "id": run.id, "name": run.name, "state": run.state, "colour": colour(run), "step": run.step, "total": run.total_steps or 0,
        "created": run.created, "seconds": facts.seconds(run) or 0.0, "tags": run.tags,
        "metric": numbers.number(judged.value) if judged else "", "metric_name": judged.metric.name if judged else "",
        "trainable": numbers.weights(run.result.get("trainable")) if run.result.get("trainable") else "",
        "value": judged.value if judged and math.isfinite(judged.value) else None, "weights": run.result.get("trainable") or None,
    }  # fmt: skip


def labelled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a list with a label each: the name, or what tells it from the others first."""
    found = labels({row["id"]: row["name"] for row in rows})
    return [{**row, "label": found[row["id"]]} for row in rows]


def judged(counts: Mapping[str, float], language: str) -> str:
    """How often a run is judged and on how many rows, from `EvaluationPlan.told`; "" where there are no rows."""
    if not counts["validation_rows"]:
        return ""
    key = "judged.once" if counts["evaluations"] == 1 else "judged.often"
    key += ".end" if counts["evaluation_rows"] < counts["judged_rows"] else ".all" if counts["evaluation_rows"] == counts["validation_rows"] else ""
    return say(language, key, **{name.removesuffix("_rows"): f"{int(count):,}" for name, count in counts.items()})


def apart(found: list[Run], language: str) -> str:
    """A note where runs of one task were not judged on the same rows."""
    rows = ", ".join(f"{rows:,}" for rows in compare.judged_apart(found))
    return f'<p class="lab-said" role="note">{esc(say(language, "compare.judged", rows=rows))}</p>' if rows else ""


def chosen(run_id: str) -> Run | None:
    """The run of that id; for an empty id the newest that goes on, else the newest that is over, else the next of the queue. None where there is none."""
    store = default().store
    try:
        if run_id:
            return store.get(run_id)
        found = (
            store.active()[-1:] or store.list(OVER, specs=False, limit=1) or store.list(specs=False, limit=1)
        )  # what goes on, else what came out last, else what waits
        return store.get(found[0].id) if found else None
    except Refusal:
        return None


def missing(run_id: str, language: str) -> str:
    """What a page says in the place of a run that its address names and that is not there: in the bin, gone, or no run's id."""
    try:
        if run_id:
            default().store.get(run_id)
    except Refusal as problem:
        return f'<div class="lab-empty" role="alert"><p>{esc(refused(language, problem))}</p><p>{esc(say(language, "runs.none"))}</p></div>'
    return ""


def not_here(ids: Any, found: Iterable[Run], language: str) -> str:
    """A note on the runs that an address names besides those that were found; "" where there are none."""
    there = {run.id for run in found}
    lost = [one[:40] for one in ids if isinstance(one, str) and one not in there] if isinstance(ids, list) else []
    return f'<p class="lab-said" role="note">{esc(say(language, "runs.not_here", runs=", ".join(lost[:5])))}</p>' if lost else ""


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


def eta(run: Run) -> float | None:
    """Seconds that a run still needs by its own last word, evaluations included, below 0 where it takes longer than it thought; None before it can know."""
    if run.state not in ("running", "stopping"):
        return None
    last = default().store.latest(run.id, ["eta_seconds"]).get("eta_seconds")
    if last is None or run.started is None or not math.isfinite(last[1]):
        return None
    return last[1] - (time.time() - last[2])


def time_left(seconds: float | None, language: str) -> str:
    """How long it still takes, in words; what is said before that is known."""
    if seconds is None:
        return say(language, "runs.eta.unknown")
    if seconds < -SOON:
        return say(language, "runs.eta.late")
    return say(language, "runs.eta.soon") if seconds < SOON else say(language, "runs.eta", time=time_units(language, numbers.about(seconds)))


def phase(run: Run) -> str:
    """What a run that a worker has is busy with; "" for any other."""
    return (run.phase or "starting") if run.state == "running" else "starting" if run.state == "starting" else ""


def tab(runs: Sequence[Run], language: str) -> dict[str, Any]:
    """{"text": what the browser's tab says of these runs, "going": whether they are not over yet}: `42 % · lora · Delta Lab`."""
    if not runs:
        return {"text": "", "going": False}
    going = [run for run in runs if not run.over]
    done = [1.0 if run.over else run.progress or 0.0 for run in runs]
    name = runs[0].name or runs[0].id if len(runs) == 1 else say(language, "tab.runs", n=len(runs))
    states = dict.fromkeys(run.state for run in runs)
    busy = len(runs) > 1 or runs[0].state in ("running", "stopping")
    first = f"{100 * sum(done) / len(done):.0f} %" if going and busy else say(language, f"state.{next(iter(states))}") if len(states) == 1 else ""
    return {"text": " · ".join(filter(None, (first, name))), "going": bool(going)}


def read_series(run: Run, names: Iterable[str]) -> dict[str, Any]:
    """The curves of a run, thinned for display."""
    return FOLLOWER.read(default().store, run, names)


def metric_names(run: Run, series: Iterable[str]) -> list[str]:
    """The evaluation metrics among a run's curves, the one that judges it first; the loss left out."""
    return facts.evaluations(run, list(series))


def those(ids: Any, most: int) -> list[Run]:
    """The runs that there are of the named ones, in their order; at most so many. Whatever is no id names none."""
    found = []
    for run in list(dict.fromkeys(one for one in ids if isinstance(one, str)))[:most] if isinstance(ids, list) else []:
        try:
            found.append(default().store.get(run))
        except Refusal:
            continue
    return found


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

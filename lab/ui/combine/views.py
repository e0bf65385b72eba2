"""What the Combine page shows: the runs that may be put together, numbers, and answers by task."""

from __future__ import annotations

from typing import Any

from lab.design.plain import numbers
from lab.results.facts import method_of, model_of, task_of
from lab.runs import Run, default
from lab.ui.shell import run_facts
from lab.ui.shell.answers import side
from lab.ui.shell.markup import esc

LISTED = 200


def rows() -> list[dict[str, Any]]:
    """The runs that are over and have an adapter, newest first; `base`: the same for those that go together."""
    found = []
    for run in default().store.list(limit=LISTED):
        if run.over and run_facts.has_adapter(run):
            judged = run_facts.row(run)
            found.append({"id": run.id, "name": run.name or run.id, "colour": run_facts.colour(run), "model": model_of(run), "task": task_of(run),
                          "method": method_of(run), "base": _base(run), "metric": judged["metric"], "metric_name": judged["metric_name"]})  # fmt: skip
    return run_facts.labelled(found)


def _base(run: Run) -> str:
    origins = run.spec.get("origins") or {}
    return (origins.get("weights") if isinstance(origins, dict) else "") or model_of(run)


def number(row: dict[str, Any]) -> str:
    """The value of a task's metric, as everywhere."""
    return numbers.number(float(row["value"]))


def answers(found: list[dict[str, Any]], language: str) -> str:
    """A card for each task, with the change and without."""
    cards = "".join(
        f'<article class="lab-card lab-tried"><header><h3>{esc(one["task"])}</h3></header>'
        f"{side('try.on', 'on', one, language)}{side('try.off.text' if one['kind'] == 'text' else 'try.off', 'off', one, language)}</article>"
        for one in found
    )
    return f'<div class="lab-answers" role="status">{cards}</div>'

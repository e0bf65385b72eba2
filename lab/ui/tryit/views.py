"""What models made of a text, run by run, with Δ and without."""

from __future__ import annotations

import functools
import json
from typing import Any

from lab.design.plain.refusal import Refusal
from lab.results.facts import method_of, model_of, task_of
from lab.runs import Run, default
from lab.tasks import FAMILIES, resolve
from lab.ui.shell import run_facts
from lab.ui.shell.answers import side
from lab.ui.shell.json_text import text
from lab.ui.shell.markup import esc
from lab.ui.words.refusals import refused
from lab.ui.words.table import say, titled

LISTED = 200
SAMPLED, SAMPLES, SAMPLE = 20, 5, 2000  # runs whose held-out rows are read, rows of each, letters of a row


def rows() -> list[dict[str, Any]]:
    """The runs that have an adapter to try, newest first."""
    compares, found = functools.cache(_compares), []  # for this answer only: a task of one's own may be imported anew under its name
    for run in default().store.list(limit=LISTED):
        if run.state != "queued" and run_facts.has_adapter(run):
            samples = (
                [[str(row.get(key, ""))[:SAMPLE] for key in ("text", "pair")] for row in run_facts.predictions(run)[:SAMPLES] if row.get("text")]
                if len(found) < SAMPLED
                else []
            )
            found.append({"id": run.id, "samples": samples, "name": run.name or run.id, "colour": run_facts.colour(run), "model": model_of(run), "task": task_of(run),
                          "pair": any(compares(text(task)) for task in (run.spec.get("task", ""), *(run.spec.get("further") or ()))), "metric": run_facts.row(run)["metric"], "metric_name": run_facts.row(run)["metric_name"]})  # fmt: skip
    return run_facts.labelled(found)


def _compares(task: str) -> bool:
    """Whether a run's task, as JSON, reads two texts; False where it is not known here any more."""
    try:
        spec = resolve(json.loads(task))
        return len(FAMILIES[spec.family]().asks(spec)) > 1
    except Refusal:
        return False


def card(run: Run, answer: dict[str, Any] | None, problem: str, language: str, task: str = "") -> str:
    """One run's answers (of several tasks those of one): what it answers, what is wrong, or that it is being asked."""
    head = (f'<header><span class="lab-dot" style="background:{run_facts.colour(run)}"></span><h3><a href="runs?run={run.id}">{esc(run.name or run.id)}</a></h3></header>'
            f'<p class="lab-muted">{esc(model_of(run))} · {f"<b>{esc(task)}</b>" if task else esc(task_of(run))} · {esc(titled(language, method_of(run)))}</p>')  # fmt: skip
    if problem:
        body = f'<p class="lab-said wrong" role="alert">{esc(problem)}</p>'
    elif answer is None:
        body = f'<p class="lab-muted lab-asking">{esc(say(language, "try.phase.waiting"))}</p>'
    else:
        body = side("try.on", "on", answer, language) + side("try.off.text" if answer["kind"] == "text" else "try.off", "off", answer, language)
        if note := answer.get("note"):
            body = f'<p class="lab-said" role="note">{esc(refused(language, note))}</p>{body}'
    return f'<article class="lab-card lab-tried" data-run="{run.id}">{head}{body}</article>'

"""What the quick start ends with: which of its runs came out best, and what one can do with it now."""

from __future__ import annotations

from collections.abc import Sequence

from lab.results import facts
from lab.runs import Run
from lab.ui.shell import run_facts
from lab.ui.shell.markup import esc
from lab.ui.words.table import say

TAG = "quick start"  # that the bench gives to its runs


def steps(runs: Sequence[Run], language: str) -> str:
    """Links, once all of the runs are over and one of them has an adapter; "" before, and for other runs."""
    there = [run for run in runs if facts.result(run) and run_facts.has_adapter(run)]
    if not there or not all(run.over and TAG in run.tags for run in runs):
        return ""
    first = facts.result(there[0])
    greater = first is None or first.metric.greater
    best = sorted(there, key=lambda run: found.value if (found := facts.result(run)) else 0.0, reverse=greater)[0]
    links = [("tryit?runs=" + ",".join(run.id for run in there), "next.try"), (f"export?run={best.id}", "next.export"), (f"./?run={best.id}", "next.bench"),
             ("sweep", "next.sweep"), ("data", "next.data")]  # fmt: skip
    made = "".join(f'<a class="lab-button" href="{to}">{esc(say(language, key))}</a>' for to, key in links)
    return (f'<div class="lab-next"><h2>{esc(say(language, "next.title"))}</h2><p class="lab-muted">{esc(say(language, "next.best", name=best.name or best.id))}</p>'
            f'<p class="lab-many">{made}</p></div>')  # fmt: skip

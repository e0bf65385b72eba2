"""How far the runs of a sweep are, and how long they still take: those that go on by their own pace, the others by runs that were measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lab.planning import devices
from lab.runs import Run, default
from lab.runs.estimates import estimate, time_left
from lab.runs.processes import identity
from lab.ui.shell import run_facts
from lab.ui.shell.markup import esc
from lab.ui.words.table import say

PAST, MOST = 300, 64  # runs that are over, newest first; different settings whose time is estimated
_KNOWN: dict[str, Any] = {}  # the estimates of the last question: {"of": what they depend on, "seconds": {setting: seconds or None}}


def news(runs: Sequence[Run], language: str) -> dict[str, Any]:
    """{"progress": HTML, "many": {"runs", "going"} for the buttons, "tab"} of a sweep's runs."""
    going = [run.id for run in runs if not run.over and run.state != "stopping"]
    return {"progress": _progress(runs, language), "many": {"runs": [run.id for run in runs], "going": going}, "tab": run_facts.tab(runs, language)}


def _progress(runs: Sequence[Run], language: str) -> str:
    open_ones = [run for run in runs if not run.over]
    if not open_ones:
        return ""
    share = sum(1.0 if run.over else run.progress or 0.0 for run in runs) / len(runs)
    words = say(language, "sweep.progress", done=len(runs) - len(open_ones), all=len(runs))
    seconds, unknown = left(open_ones)
    if seconds is None:
        words += " · " + say(language, "sweep.left.unknown")
    else:
        words += " · " + run_facts.time_left(seconds, language)
        words += " " + say(language, "sweep.left.some", n=unknown) if unknown else ""
    bar = f'<div class="lab-progress" role="progressbar" aria-valuenow="{100 * share:.0f}" aria-valuemin="0" aria-valuemax="100" aria-label="{esc(words)}"><i style="width:{100 * share:.2f}%"></i></div>'
    return f'{bar}<p class="lab-muted">{esc(words)}</p>'


def left(runs: Sequence[Run]) -> tuple[float | None, int]:
    """(seconds until all of these runs are over, None where nothing is known of any; of how many of them nothing is known)."""
    whole = _estimates(runs)
    going: list[float | None] = []
    waiting: list[float | None] = []
    for run in runs:
        seconds = whole.get(_setting(run.spec))
        if run.state == "queued":
            waiting.append(seconds)
            continue
        own = run_facts.eta(run)
        going.append(max(0.0, own) if own is not None else seconds * (1.0 - (run.progress or 0.0)) if seconds is not None else None)
    known = [one for one in (*going, *waiting) if one is not None]
    if not known:
        return None, len(runs)
    begun, rest = [one for one in going if one is not None], [one for one in waiting if one is not None]
    return time_left(begun, rest, default().count), len(runs) - len(known)


def _estimates(runs: Sequence[Run]) -> dict[str, float | None]:
    """{setting: seconds of a whole run}; asked anew when another run has succeeded or other settings wait."""
    specs = {_setting(run.spec): run.spec for run in runs if run.spec}
    of = json.dumps([sorted(specs), default().store.counts()["succeeded"], str(default().home.path)])
    if _KNOWN.get("of") != of:
        past, here = default().store.list(["succeeded"], limit=PAST), devices.memory()
        device = "cpu" if here["kind"] == "cpu" else str(here["name"])
        found = {name: estimate(spec, past, _place(spec, device), identity().host) for name, spec in list(specs.items())[:MOST]}
        _KNOWN.update(of=of, seconds={name: one.seconds if one else None for name, one in found.items()})
    return _KNOWN["seconds"]


def _place(spec: Mapping[str, Any], device: str) -> str:
    return "cpu" if (spec.get("training") or {}).get("device") == "cpu" else device


def _setting(spec: Mapping[str, Any]) -> str:
    return json.dumps([spec.get(name) for name in ("model", "quantisation", "task", "further", "method", "training")], sort_keys=True)

"""What pages do to several runs at once: stop them, put them into the bin, give them a tag or take it away. What one refuses stops none of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lab.design.plain.refusal import Refusal
from lab.runs import default
from lab.runs.records import ACTIVE, QUEUED, check_tags
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked, say

MOST = 5000


def act(asked: Any) -> dict[str, Any]:
    """Do {"act": stop, bin, tag or untag, "runs": ids, "tag"} to each: {"words": what became of it, "done": how many, "wrong": whether some were refused}."""
    asked = asked if isinstance(asked, Mapping) else {}
    language, name, given = language_asked(asked), asked.get("act"), asked.get("runs")
    runs = list(dict.fromkeys(run for run in given if isinstance(run, str)))[:MOST] if isinstance(given, list) else []
    verbs: dict[Any, Callable[[str], bool]] = {
        "stop": _stop,
        "tag": lambda run: _tag(run, asked, True),
        "untag": lambda run: _tag(run, asked, False),
    }
    done, problems = 0, []
    if name == "bin" and runs:
        kept = default().bin_all(runs)
        done, problems = len(runs) - len(kept), [refused(language, sentence) for sentence in kept.values()]
    for run in runs if name in verbs else ():
        try:
            done += verbs[name](run)
        except Refusal as problem:
            problems.append(refused(language, problem))
    if name == "stop" and done:
        default().reconcile()
    words = [say(language, f"many.{name}", n=done, tag=str(asked.get("tag") or "").strip())] if done or not problems and name in (*verbs, "bin") else []
    words += [say(language, "many.refused", n=len(problems), why=problems[0])] if problems else []
    return {"words": " ".join(words), "done": done, "wrong": bool(problems)}


def _stop(run: str) -> bool:
    """Ask it to stop; whether it was to be stopped at all."""
    return default().store.get(run).state in (QUEUED, *ACTIVE) and bool(default().store.ask_stop(run))


def _tag(run: str, asked: Mapping[str, Any], there: bool) -> bool:
    tags, (tag, *_) = default().store.get(run).tags, [*check_tags([asked.get("tag")]), ""]
    if not tag or (tag in tags) is there:
        return False
    default().tag(run, [*tags, tag] if there else [one for one in tags if one != tag])
    return True

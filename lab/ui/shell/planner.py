"""The one client of the planner's process, and how a page's script puts a question to it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from lab.planning.client import PlanClient
from lab.runs import default
from lab.ui.shell.markup import esc


@functools.cache
def client() -> PlanClient:
    """The one planner of this app; its process starts with the first question that the cache cannot answer."""
    return PlanClient(default().home)


def question_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Which page asks ("topic"), and its how manieth question this is ("turn")."""
    turn = asked.get("turn")
    return {"topic": str(asked.get("topic") or "page")[:40], "turn": turn if isinstance(turn, int) and 0 < turn < 2**53 else None}


def announce(asked: Any) -> None:
    """Let older questions of this page give up."""
    question = question_of(asked) if isinstance(asked, Mapping) else {}
    if question.get("turn") is not None:
        client().announce(**question)


def busy(words: str) -> dict[str, Any]:
    """The answer where too many wait."""
    return {"html": f'<p class="lab-muted" role="status">{esc(words)}</p>', "more": False}

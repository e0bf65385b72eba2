"""Try it: a text, and what several runs' adapters make of it, with Δ and without. The models live in a process of their own."""

from __future__ import annotations

import functools
import threading
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import gradio as gr

from lab.asking import answering
from lab.child import Child, Overtaken
from lab.design.plain.refusal import Refusal
from lab.results.facts import tasks_of
from lab.ui.shell import run_facts
from lab.ui.shell.json_text import text
from lab.ui.shell.lanes import Lane
from lab.ui.shell.markup import empty
from lab.ui.shell.parts import part, unseen
from lab.ui.shell.poll import Seen, Update, watched
from lab.ui.tryit import views
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked, say

TITLE, PLACE = "Try it", 6  # of its tab, among the pages
SKIPS = (("skip.answers", "answers"),)  # the words of a link, where it goes
MOST = 6
ASKED = Lane(4, 30)
PAGES_KEPT = 200  # whose newest question is remembered


@functools.cache
def client() -> Child:
    """The one client of this app."""
    return answering()


def build(demo: gr.Blocks) -> None:
    """Lay out the page."""
    with gr.Row(elem_classes="lab-pair", equal_height=False):
        with gr.Column(elem_classes="lab-narrow", min_width=0):
            part(f"Lab.tryForm(element, ...Lab.fed('rows'), {MOST})", elem_classes="lab-card lab-form", elem_id="try-form")
        with gr.Column(elem_classes="lab-detail", min_width=0):
            part(
                "Lab.tryAnswers(element, Lab.served(server))", server_functions=[begin, ASKED(answer, lambda words: {"wrong": words}), phase], elem_id="answers"
            )
    unseen("Lab.watching('tryit', () => ({}))")


@watched("tryit")
def look(chosen: dict[str, Any], seen: Seen, language: str) -> Update:
    """The runs that can be tried, where they are others than before: one that trains has an adapter after its first evaluation."""
    rows = views.rows()
    printed = f"{zlib.crc32(text(rows).encode()):x}"
    return {} if printed == seen.mark else {"rows": {"rows": rows}}, printed


def begin(asked: Any = None) -> dict[str, Any]:
    """{"cards": [{"run", "task", "html": what is shown until its answer comes}]} of {"runs"}: a run of several tasks answers with each head."""
    asked, language = _request(asked)
    found = run_facts.those(asked.get("runs"), MOST)
    return {"cards": [{"run": run.id, "task": task, "html": views.card(run, None, "", language, task)} for run in found for task in tasks_of(run) or [""]]}


def answer(asked: Any = None) -> dict[str, Any]:
    """{"html"}: the card of {"run", "task", "text", "pair", "page", "turn"} with its answer; {"old": true} where the page has asked anew meanwhile."""
    asked, language = _request(asked)
    page, turn, task = str(asked.get("page", ""))[:40], asked.get("turn"), str(asked.get("task") or "")
    question = {"run": str(asked.get("run", "")), "task": task, "text": asked.get("text"), "pair": asked.get("pair")}
    found = run_facts.those([question["run"]], 1)
    if not found:
        return {"html": empty(language, "try.empty")}
    NEWEST.ask(page, turn, question)
    try:
        return {"html": views.card(found[0], client().ask(question, wanted=lambda: NEWEST.is_newest(page, turn)), "", language, task)}
    except Overtaken:
        return {"old": True}
    except Refusal as problem:
        return {"html": views.card(found[0], None, refused(language, problem), language, task)}


def phase(asked: Any = None) -> dict[str, str]:
    """{"words"}: what goes on for the newest question of {"page"}."""
    asked, language = _request(asked)
    question = NEWEST.question(str(asked.get("page", ""))[:40])
    return {"words": say(language, f"try.phase.{client().phase(question)}") if question else ""}


def _request(asked: Any) -> tuple[dict[str, Any], str]:
    return (dict(asked) if isinstance(asked, Mapping) else {}), language_asked(asked)


class _Newest:
    """The newest question of each open page: those before it are put to no model any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: OrderedDict[str, tuple[Any, dict[str, Any]]] = OrderedDict()

    def ask(self, page: str, turn: Any, question: dict[str, Any]) -> None:
        with self._lock:
            self._pages[page] = turn, question
            self._pages.move_to_end(page)
            while len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)

    def is_newest(self, page: str, turn: Any) -> bool:
        return self._pages.get(page, (turn,))[0] == turn

    def question(self, page: str) -> dict[str, Any] | None:
        found = self._pages.get(page)
        return found[1] if found else None


NEWEST = _Newest()

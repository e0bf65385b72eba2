"""Try it: a text, and what several runs' adapters make of it, with Δ and without. The models live in a process of their own."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from typing import Any

import gradio as gr

from lab.design.plain.refusal import Refusal
from lab.results.facts import tasks_of
from lab.trying.client import TryClient
from lab.ui.shell import run_facts
from lab.ui.shell.gradio_private import payload
from lab.ui.shell.json_text import text
from lab.ui.shell.markup import empty
from lab.ui.shell.parts import QUIET, part, unseen
from lab.ui.shell.poll import Seen, Update, watched
from lab.ui.tryit import views
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_of

TITLE, PLACE = "Try it", 6  # of its tab, among the pages
MOST = 6


@functools.cache
def client() -> TryClient:
    """The one client of this app."""
    return TryClient()


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    with gr.Row(elem_classes="lab-pair", equal_height=False):
        with gr.Column(elem_classes="lab-narrow", min_width=0):
            form = part(f"Lab.tryForm(element, ...Lab.fed('rows'), trigger, 'ask', {MOST})", elem_classes="lab-card lab-form", elem_id="try-form")
        with gr.Column(elem_classes="lab-detail", min_width=0):
            answers = gr.HTML(apply_default_css=False, elem_id="answers")
    unseen("Lab.watching('tryit', () => ({}))")
    form.ask(ask, None, [answers], trigger_mode="once", concurrency_limit=2, show_progress="hidden", api_visibility="private")
    demo.load(begin, None, [answers], **QUIET)


def begin(request: gr.Request) -> str:
    """What to do first."""
    return empty(language_of(request), "try.empty" if views.rows() else "try.none")


@watched("tryit")
def look(chosen: dict[str, Any], seen: Seen, language: str) -> Update:
    """The runs that can be tried, where they are others than before: one that trains has an adapter after its first evaluation."""
    rows = views.rows()
    printed = f"{zlib.crc32(text(rows).encode()):x}"
    return {} if printed == seen.mark else {"rows": {"rows": rows}}, printed


def ask(event: gr.EventData, request: gr.Request) -> Iterator[str]:
    """The cards of the chosen runs, each filled as its answer comes."""
    asked, language = payload(event), language_of(request)
    runs = run_facts.those(asked.get("runs"), MOST)
    if not runs:
        yield empty(language, "try.empty")
        return
    each = [(run, task) for run in runs for task in tasks_of(run) or [""]]  # a run of several tasks answers with each head
    cards = [views.card(run, None, "", language, task) for run, task in each]
    yield _cards(cards)
    for index, (run, task) in enumerate(each):
        try:
            answer = client().ask({"run": run.id, "task": task, "text": asked.get("text"), "pair": asked.get("pair")})
            cards[index] = views.card(run, answer, "", language, task)
        except Refusal as problem:
            cards[index] = views.card(run, None, refused(language, problem), language, task)
        yield _cards(cards)


def _cards(cards: list[str]) -> str:
    return f'<div class="lab-answers" role="status">{"".join(cards)}</div>'

"""Try it: a text, and what several runs' adapters make of it, with Δ and without. The models live in a process of their own."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import gradio as gr

from lab.design.refusal import Refusal
from lab.runs import Run, default
from lab.trying.client import TryClient
from lab.ui import reading, views_tryit
from lab.ui.markup import empty
from lab.ui.words import language_of, say

QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
MOST = 6


@functools.cache
def client() -> TryClient:
    """The one client of this app."""
    return TryClient()


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    with gr.Row(elem_classes="lab-pair", equal_height=False):
        with gr.Column(elem_classes="lab-narrow", min_width=0):
            form = gr.HTML(html_template="", js_on_load=f"Lab.tryit(element, props, watch, trigger, 'ask', {MOST})", apply_default_css=False,
                           elem_classes="lab-card lab-form", elem_id="try-form")  # fmt: skip
        with gr.Column(elem_classes="lab-detail", min_width=0):
            answers = gr.HTML(apply_default_css=False, elem_id="answers")
    seen = gr.Textbox("", visible="hidden")
    form.ask(ask, None, [answers], trigger_mode="once", concurrency_limit=2, show_progress="hidden", api_visibility="private")
    demo.load(begin, None, [form, answers], **QUIET)
    gr.Timer(3).tick(look, [seen], [form, seen], trigger_mode="once", **QUIET)


def begin(request: gr.Request) -> list[Any]:
    """The runs that can be tried."""
    found = views_tryit.rows()
    return [reading.text({"rows": found}), empty(language_of(request), "try.empty" if found else "try.none")]


def look(seen: str) -> list[Any]:
    """The runs again where the store has changed: one that trains has an adapter after its first evaluation."""
    version = str(default().store.store_version())
    return [gr.skip(), gr.skip()] if seen == version else [reading.text({"rows": views_tryit.rows()}), version]


def ask(event: gr.EventData, request: gr.Request) -> Iterator[str]:
    """The cards of the chosen runs, each filled as its answer comes."""
    asked, language = event._data if isinstance(event._data, dict) else {}, language_of(request)
    runs = _runs(asked.get("runs"))
    if not runs:
        yield empty(language, "try.empty")
        return
    cards = [views_tryit.card(run, None, "", language) for run in runs]
    yield _shown(cards)
    for index, run in enumerate(runs):
        try:
            cards[index] = views_tryit.card(run, client().ask({"run": run.id, "text": asked.get("text"), "pair": asked.get("pair")}), "", language)
        except Refusal as problem:
            sentence = say(language, "try.text.empty") if problem.field == "text" and not str(asked.get("text") or "").strip() else problem.sentence
            cards[index] = views_tryit.card(run, None, sentence, language)
        yield _shown(cards)


def _shown(cards: list[str]) -> str:
    return f'<div class="lab-answers" role="status">{"".join(cards)}</div>'


def _runs(asked: Any) -> list[Run]:
    found = []
    for run in list(dict.fromkeys(asked))[:MOST] if isinstance(asked, list) and all(isinstance(one, str) for one in asked) else []:
        try:
            found.append(default().store.get(run))
        except Refusal:
            continue
    return found

"""Inside: one run's weights, layers and answers; with a second run, the rows on which they differ. The models live in a process of their own."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from typing import Any

import gradio as gr

from lab.asking import looking
from lab.child import Child
from lab.design.plain.refusal import Refusal
from lab.results.facts import tasks_of
from lab.ui.inside import views
from lab.ui.shell import run_facts
from lab.ui.shell.gradio_private import payload
from lab.ui.shell.json_text import text
from lab.ui.shell.markup import empty, esc
from lab.ui.shell.parts import QUIET, part, unseen
from lab.ui.shell.poll import Seen, Update, watched
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_of

TITLE, PLACE = "Inside", 6.7  # of its tab, among the pages
MOST = 2


@functools.cache
def client() -> Child:
    """The one client of this app."""
    return looking()


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    with gr.Row(elem_classes="lab-pair", equal_height=False):
        with gr.Column(elem_classes="lab-narrow", min_width=0):
            form = part(f"Lab.insideForm(element, ...Lab.fed('rows'), trigger, 'ask', {MOST})", elem_classes="lab-card lab-form", elem_id="inside-form")
        with gr.Column(elem_classes="lab-detail", min_width=0):
            found = gr.HTML(apply_default_css=False, elem_id="inside", html_template="${value}", js_on_load="Lab.insideLists(element, watch)")
    unseen("Lab.watching('inside', () => ({}))")
    form.ask(ask, None, [found], trigger_mode="once", concurrency_limit=2, show_progress="hidden", api_visibility="private")
    demo.load(begin, None, [found], **QUIET)


def begin(request: gr.Request) -> str:
    """What to do first."""
    return empty(language_of(request), "inside.empty" if views.rows() else "try.none")


@watched("inside")
def look(chosen: dict[str, Any], seen: Seen, language: str) -> Update:
    """The runs that can be looked into, where they are others than before."""
    rows = views.rows()
    printed = f"{zlib.crc32(text(rows).encode()):x}"
    return {} if printed == seen.mark else {"rows": {"rows": rows}}, printed


def ask(event: gr.EventData, request: gr.Request) -> Iterator[str]:
    """The cards of the chosen run, of each of its tasks; of two runs, what they answer differently before them."""
    asked, language = payload(event), language_of(request)
    runs = run_facts.those(asked.get("runs"), MOST)
    if not runs:
        yield empty(language, "inside.empty")
        return
    yield f'<div role="status">{empty(language, "inside.asking")}</div>'
    found: list[str] = []
    if len(runs) > 1:
        theirs = tasks_of(runs[1])
        for task in [task for task in tasks_of(runs[0]) if not theirs or task in theirs] or [""]:
            question = {"run": runs[0].id, "other": runs[1].id, "task": task}
            found.append(_answered(question, lambda answer: views.differing(runs[0], runs[1], answer, language), language))
            yield "".join(found)
    for run in runs:
        for task in tasks_of(run) or [""]:
            title = f'<h2 class="lab-in-title">{esc(run.name or run.id)}{f" · {esc(task)}" if task else ""}</h2>'
            found.append(title + _answered({"run": run.id, "task": task}, lambda answer: views.look(answer, language), language))
            yield "".join(found)


def _answered(question: dict[str, Any], render: Any, language: str) -> str:
    try:
        return render(client().ask(question))
    except Refusal as problem:
        return f'<p class="lab-said wrong" role="alert">{esc(refused(language, problem))}</p>'

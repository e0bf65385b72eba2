"""Search: the best design under a budget. The form says a search; its trade-offs, trials and verdict fill in while it goes on."""

from __future__ import annotations

import zlib
from typing import Any

import gradio as gr

from lab import searching
from lab.design.plain.refusal import Refusal
from lab.ui.search import form, views
from lab.ui.shell.draft import start
from lab.ui.shell.gradio_private import payload
from lab.ui.shell.json_text import text
from lab.ui.shell.markup import empty, esc
from lab.ui.shell.parts import QUIET, part, unseen
from lab.ui.shell.poll import Seen, Update, watched
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_of, say

TITLE, PLACE = "Search", 5.5  # of its tab, among the pages
LISTED = 60


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    with gr.Row(elem_classes="lab-pair", equal_height=False):
        with gr.Column(elem_classes="lab-narrow", min_width=0):
            fields = part(
                "Lab.searchForm(element, props)",
                start=start(),
                paths=form.paths(),
                presets=form.presets(),
                elem_classes="lab-card lab-form",
                elem_id="search-form",
            )
            before = part("Lab.show(element, props, watch)", elem_classes="lab-card", elem_id="search-told")
            begin = gr.Button(gr.I18n()("native.search"), variant="primary", elem_id="search-begin", interactive=False)
        with gr.Column(elem_classes="lab-detail", min_width=0):
            notice = gr.HTML(apply_default_css=False, elem_id="search-said")
            tools = part("Lab.searchTools(element, trigger, ['halt', 'go_on'], ...Lab.fed('view'))", elem_classes="lab-tools", elem_id="search-view")
            part("Lab.htmlPart(element, 'verdict')", elem_classes="lab-card", elem_id="search-verdict")
            part("Lab.chartGrid(element, ...Lab.fed('charts'))", elem_id="search-charts")
            part("Lab.htmlPart(element, 'matters')", elem_classes="lab-card", elem_id="search-matters")
            part("Lab.htmlPart(element, 'trials')", elem_classes="lab-card", elem_id="search-trials")
    unseen("Lab.watching('search', Lab.chosenSearch)")
    started = unseen("watch('value', () => props.value && Lab.emit('search', props.value))")
    fields.change(check, [fields], [before, begin], trigger_mode="always_last", **QUIET)
    begin.click(begin_one, [fields], [notice, started], trigger_mode="once", **QUIET)
    tools.halt(halt, None, [notice], **QUIET)
    tools.go_on(go_on, None, [notice], **QUIET)


def check(asked: dict[str, Any] | None, request: gr.Request) -> list[Any]:
    """What the form would begin, or what is wrong with it."""
    words, fine = views.before(asked or {}, language_of(request))
    return [words, gr.Button(interactive=fine)]


def begin_one(asked: dict[str, Any] | None, request: gr.Request) -> list[Any]:
    """Begin the search, driven by a process of its own, and show it."""
    try:
        name = searching.begin(form.spec_of_form(asked))
        searching.start(name)
    except Refusal as problem:
        return [_wrong(problem, request), gr.skip()]
    return [_said("search.begun", request, name=name), {"name": name}]


def halt(event: gr.EventData, request: gr.Request) -> str:
    """Ask the chosen search to stop."""
    return _done(searching.stop, "search.halted", event, request)


def go_on(event: gr.EventData, request: gr.Request) -> str:
    """Take the chosen search up again."""
    return _done(searching.start, "search.resumed", event, request)


def _done(work: Any, key: str, event: gr.EventData, request: gr.Request) -> str:
    name = str(payload(event).get("name") or "")
    try:
        work(name)
    except Refusal as problem:
        return _wrong(problem, request)
    return _said(key, request, name=name)


def _wrong(problem: Refusal, request: gr.Request) -> str:
    return f'<p class="lab-said wrong" role="alert">{esc(refused(language_of(request), problem))}</p>'


def _said(key: str, request: gr.Request, **values: Any) -> str:
    return f'<p class="lab-said" role="status">{esc(say(language_of(request), key, **values))}</p>'


@watched("search")
def look(asked: dict[str, Any], seen: Seen, language: str) -> Update:
    """The chosen search, or the newest one."""
    names = searching.names()[:LISTED]
    wanted = asked.get("name") if isinstance(asked.get("name"), str) else ""
    name = wanted if wanted in names else next(iter(names), "")
    view: dict[str, Any] = {"names": names, "name": name, "halt": False, "go_on": False}
    parts: dict[str, Any] = {"view": view, "verdict": empty(language, "search.empty"), "charts": None, "matters": "", "trials": ""}
    if name:
        try:
            record = searching.read(name)
            state = views.state_of(record)
            parts = {"view": {**view, **views.may(record, state)}, "verdict": views.verdict(record, state, language), "charts": views.charts(record),
                     "matters": views.matters(record, language) if record.trials else "", "trials": views.trials(record, language)}  # fmt: skip
        except Refusal as problem:
            parts["verdict"] = f'<p class="lab-said wrong" role="alert">{esc(refused(language, problem))}</p>'
    printed = f"{zlib.crc32(text(parts).encode()):x}"
    return ({} if printed == seen.mark and not seen.chose else parts), printed

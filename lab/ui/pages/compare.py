"""Compare: pick runs, see their curves over each other, a table of results and one of what differs. The address keeps the choice."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from lab.design.refusal import Refusal
from lab.runs import Run, default
from lab.ui import comparing, curves, listing, reading, report, views_compare
from lab.ui.words import language_of

QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
MOST = 50


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    picked = gr.HTML(html_template="", js_on_load="Lab.picked(element, props)", elem_classes="lab-unseen")
    seen = gr.Textbox("", visible="hidden")
    with gr.Row(elem_classes="lab-runs", equal_height=False):
        with gr.Column(elem_classes="lab-side", min_width=0):
            runs = gr.HTML(html_template="", js_on_load="Lab.picker(element, props, watch)", apply_default_css=False, elem_id="picker")
        with gr.Column(elem_classes="lab-detail", min_width=0):
            tools = gr.HTML(html_template="", js_on_load="Lab.comparing(element, trigger, ['csv', 'report'])", apply_default_css=False, elem_classes="lab-tools", elem_id="compare-tools")
            results = gr.HTML(js_on_load="Lab.emitting(element); Lab.sortable(element, watch)", apply_default_css=False, elem_classes="lab-card", elem_id="results")
            charts = gr.HTML(html_template="", js_on_load="Lab.charts(element, props, watch)", apply_default_css=False, elem_id="compare-charts")
            lines = gr.HTML(html_template="", js_on_load="Lab.parallel(element, props, watch)", apply_default_css=False, elem_classes="lab-card", elem_id="parallel")
            settings = gr.HTML(apply_default_css=False, elem_classes="lab-card", elem_id="settings")
    sight = [runs, results, charts, lines, settings, seen]
    saving = gr.HTML(html_template="", js_on_load="Lab.saving(element, props, watch)", elem_classes="lab-unseen")
    tools.csv(take_csv, [picked], [saving], **QUIET)
    tools.report(take_report, [picked], [saving], **QUIET)
    picked.change(look_anew, [picked], sight, trigger_mode="always_last", **QUIET)
    gr.Timer(1).tick(look, [picked, seen], sight, trigger_mode="once", **QUIET)


def look_anew(picked: dict[str, Any] | None, request: gr.Request) -> list[Any]:
    """Everything about the picked runs."""
    return look(picked, "", request)


def look(picked: dict[str, Any] | None, seen: str, request: gr.Request) -> list[Any]:
    """What has changed since `seen`; nothing where the store's version is the same."""
    before, _, known = (seen or "").partition("/")
    told, now = listing.news(before)
    if told is None:
        return [gr.skip()] * 6
    language, found = language_of(request), _runs(picked)
    rows = reading.text({**told, "picked": [run.id for run in found]})
    chosen = ",".join(f"{run.id}:{run.version}" for run in found)
    mark = f"{now}/{chosen}"
    if seen and known == chosen:
        return [rows, *[gr.skip()] * 4, mark]
    if not found:
        return [rows, views_compare.nothing(language, default().store.counts()), None, None, "", mark]
    same = [part.partition(":")[0] for part in known.split(",")] == [run.id for run in found]  # specs are frozen
    settings = gr.skip() if same else views_compare.settings(found, language, _option(picked, "settings", ("differing", "all")) == "all")
    return [rows, views_compare.results(found, language), reading.text(_charts(found, picked)), reading.text(comparing.parallel(found, language)), settings, mark]


def _option(picked: dict[str, Any] | None, name: str, choices: tuple[str, ...]) -> str:
    asked = picked.get(name) if isinstance(picked, dict) else None
    return asked if asked in choices else choices[0]


def _charts(found: list[Run], picked: dict[str, Any] | None) -> dict[str, Any]:
    return curves.of_runs(found, _option(picked, "along", comparing.AXES), _option(picked, "group", ("no", "yes")) == "yes",
                          _option(picked, "papers", ("yes", "no")) == "yes")  # fmt: skip


def take_csv(picked: dict[str, Any] | None) -> dict[str, Any]:
    """The table as a file."""
    return {"name": "comparison.csv", "type": "text/csv", "text": comparing.as_csv(_runs(picked)), "again": time.time()}


def take_report(picked: dict[str, Any] | None, request: gr.Request) -> dict[str, Any]:
    """The comparison as one HTML file."""
    found = _runs(picked)
    made = time.strftime("%Y-%m-%d %H:%M")
    return {"name": "comparison.html", "type": "text/html", "text": report.report(found, _charts(found, picked)["charts"], language_of(request), made), "again": time.time()}


def _runs(picked: dict[str, Any] | None) -> list[Run]:
    """The picked runs that there are, in the order in which they were picked."""
    asked = (picked or {}).get("runs") if isinstance(picked, dict) else None
    found = []
    for run in list(dict.fromkeys(asked or []))[:MOST] if isinstance(asked, list) else []:
        try:
            found.append(default().store.get(run))
        except Refusal:
            continue
    return found

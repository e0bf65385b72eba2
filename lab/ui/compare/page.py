"""Compare: pick runs, see their curves over each other, a table of results and one of what differs. The address keeps the choice."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from lab.results import compare
from lab.results.curves import AXES
from lab.runs import Run, default
from lab.ui.compare import appendix, coordinates, overlay, report, views, what_next
from lab.ui.shell import run_facts, run_list
from lab.ui.shell.gradio_private import payload
from lab.ui.shell.parts import QUIET, part, unseen
from lab.ui.shell.poll import Seen, Update, watched
from lab.ui.words.table import language_of

TITLE, PLACE = "Compare", 4  # of its tab, among the pages
SKIPS = (("skip.results", "results"), ("skip.charts", "compare-charts"), ("skip.settings", "settings"))  # the words of a link, where it goes
MOST = 50


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    unseen("Lab.watching('compare', Lab.pickedRuns); Lab.tabTitle(...Lab.fed('tab'))")
    with gr.Row(elem_classes="lab-runs", equal_height=False):
        with gr.Column(elem_classes="lab-side", min_width=0):
            part("Lab.picker(element, ...Lab.fed('rows'))", elem_id="picker")
        with gr.Column(elem_classes="lab-detail", min_width=0):
            tools = part(
                "Lab.compareTools(element, trigger, ['csv', 'report', 'latex', 'markdown', 'bibtex', 'appendix'])",
                elem_classes="lab-tools",
                elem_id="compare-tools",
            )
            part("Lab.htmlPart(element, 'next')", elem_id="what-next")
            part(
                "Lab.htmlPart(element, 'results'); Lab.emitting(element); Lab.sortable(element, Lab.fed('results')[1]); Lab.pins(element)",
                elem_classes="lab-card",
                elem_id="results",
            )
            part("Lab.htmlPart(element, 'answers')", elem_classes="lab-card", elem_id="answers")
            part("Lab.chartGrid(element, ...Lab.fed('charts'))", elem_id="compare-charts")
            part("Lab.parallelPlot(element, ...Lab.fed('lines'))", elem_classes="lab-card", elem_id="parallel")
            part("Lab.htmlPart(element, 'settings')", elem_classes="lab-card", elem_id="settings")
    saving = unseen("Lab.savedFile(element, props, watch)")
    tools.csv(take_csv, None, [saving], **QUIET)
    tools.report(take_report, None, [saving], **QUIET)
    for form in ("latex", "markdown", "bibtex"):
        getattr(tools, form)(taking(form), None, [saving], **QUIET)
    tools.appendix(take_appendix, None, [saving], **QUIET)


@watched("compare")
def look(picked: dict[str, Any], seen: Seen, language: str) -> Update:
    """What has changed of the list and of the picked runs. The mark: "print of the order/run:version,…"."""
    order, _, known = seen.mark.partition("/")
    rows, printed = run_list.news(seen.before, order)
    found = _runs(picked)
    parts = {"rows": {**rows, "picked": [run.id for run in found]}}
    chosen = ",".join(f"{run.id}:{run.version}" for run in found)
    if seen.before is not None and known == chosen and not seen.chose:
        return parts, f"{printed}/{chosen}"
    if not found:
        nothing = run_facts.not_here(picked.get("runs"), found, language) + views.nothing(language, default().store.counts())
        none = {"results": nothing, "answers": "", "charts": None, "lines": None, "settings": "", "next": "", "tab": run_facts.tab([], language)}
        return {**parts, **none}, f"{printed}/"
    same = not seen.chose and [one.partition(":")[0] for one in known.split(",")] == [run.id for run in found]  # specs are frozen
    settings = {} if same else {"settings": views.settings(found, language, _option(picked, "settings", ("differing", "all")) == "all")}
    gone, baseline = run_facts.not_here(picked.get("runs"), found, language), _pinned(picked)
    tables = {"results": gone + views.results(found, language, _by_seeds(picked), baseline), "answers": views.answers(found, language, baseline)}
    drawn = {**tables, "charts": _charts(found, picked), "lines": coordinates.parallel(found, language)}
    drawn |= {"next": what_next.steps(found, language), "tab": run_facts.tab(found, language)}
    return {**parts, **drawn, **settings}, f"{printed}/{chosen}"


def _option(picked: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    asked = picked.get(name)
    return asked if asked in choices else choices[0]


def _by_seeds(picked: dict[str, Any]) -> bool:
    return _option(picked, "group", ("yes", "no")) == "yes"


def _charts(found: list[Run], picked: dict[str, Any]) -> dict[str, Any]:
    return overlay.of_runs(found, _option(picked, "along", AXES), _by_seeds(picked),
                          _option(picked, "papers", ("yes", "no")) == "yes")  # fmt: skip


def take_csv(event: gr.EventData) -> dict[str, Any]:
    """The table as a file."""
    return {"name": "comparison.csv", "type": "text/csv", "text": compare.as_csv(_runs(payload(event))), "again": time.time()}


def take_report(event: gr.EventData, request: gr.Request) -> dict[str, Any]:
    """The comparison as one HTML file."""
    picked = payload(event)
    found = _runs(picked)
    made, language = time.strftime("%Y-%m-%d %H:%M"), language_of(request)
    return {
        "name": "comparison.html",
        "type": "text/html",
        "text": report.report(found, _charts(found, picked)["charts"], language, made, _pinned(picked)),
        "again": time.time(),
    }


def taking(form: str) -> Callable[[gr.EventData], dict[str, Any]]:
    """What gives the table, or the references, for a paper as a file."""

    def take(event: gr.EventData) -> dict[str, Any]:
        return {"name": appendix.FORMS[form][0], "type": "text/plain", "text": appendix.text_of(_runs(payload(event)), form), "again": time.time()}

    return take


def take_appendix(event: gr.EventData) -> dict[str, Any]:
    """Everything that a paper needs as one zip."""
    picked = payload(event)
    packed = appendix.appendix(_runs(picked), baseline=_pinned(picked))
    return {"name": "comparison.zip", "type": "application/zip", "base64": base64.b64encode(packed).decode(), "again": time.time()}


def _pinned(picked: Any) -> str:
    asked = picked.get("baseline") if isinstance(picked, dict) else None
    return asked if isinstance(asked, str) else ""


def _runs(picked: Any) -> list[Run]:
    return run_facts.those(picked.get("runs") if isinstance(picked, dict) else None, MOST)

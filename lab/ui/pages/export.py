"""Export: a run's adapter in every format that the export room has, its files shown before they are taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from lab.design import numbers
from lab.design.refusal import Refusal
from lab.export import FORMATS, formats
from lab.export.source import note_of
from lab.runs import Run, default
from lab.ui import listing, packing, reading
from lab.ui.refusing import refused
from lab.ui.watching import Answer, Seen, watched
from lab.ui.words import TABLE, language_of, metric_name, say

QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    gr.HTML(html_template="", js_on_load="Lab.watching('export', Lab.chosen)", elem_classes="lab-unseen")
    with gr.Row(elem_classes="lab-runs", equal_height=False):
        with gr.Column(elem_classes="lab-side", min_width=0):
            gr.HTML(html_template="", js_on_load="Lab.list(element, ...Lab.fed('rows'))", apply_default_css=False, elem_id="runs")
        with gr.Column(elem_classes="lab-detail", min_width=0):
            form = gr.HTML(html_template="", js_on_load="Lab.exporting(element, ...Lab.fed('form'), trigger, 'make', 'left')", apply_default_css=False,
                           elem_classes="lab-card lab-form", elem_id="export-form")  # fmt: skip
            take = gr.DownloadButton(gr.I18n()("native.export.download"), visible=False, variant="primary", elem_id="export-take")
            made = gr.HTML(html_template="", js_on_load="Lab.exported(element, props, watch)", apply_default_css=False, elem_id="export-files")
    form.left(lambda: [None, gr.DownloadButton(visible=False)], None, [made, take], **QUIET)
    form.make(make, None, [made, take], trigger_mode="always_last", concurrency_limit=2, show_progress="hidden", api_visibility="private")


@watched("export")
def look(chosen: dict[str, Any], seen: Seen, language: str) -> Answer:
    """What has changed of the list; the form only where another run is chosen or it has got another adapter."""
    order, _, known = seen.mark.partition("/")
    told, printed = listing.news(seen.before, order)
    asked = chosen.get("run")
    run = reading.chosen(asked) if isinstance(asked, str) and asked else _newest()
    parts = {"rows": {**told, "selected": run.id if run else ""}}
    mark = f"{run.id}:{run.state}:{run.name}:{','.join(reading.adapters(run))}" if run else ""
    form = {} if known and known == mark and not seen.chose else {"form": options(run, language)}
    return {**parts, **form}, f"{printed}/{mark}"


def _newest() -> Run | None:
    """The newest run that has an adapter, else the newest."""
    runs = default().store.list(limit=50)
    return next((run for run in runs if reading.has_adapter(run)), next(iter(runs), None))


def options(run: Run | None, language: str) -> dict[str, Any] | None:
    """What static/export.js draws the form from: the run, its adapters, and every format with the reason where it has none for the method."""
    if run is None:
        return None
    try:
        found = formats(run.spec)
    except Refusal as problem:  # its model or task is not known here any more
        found = [{"format": name, "help": known.help, "refusal": problem.sentence.rstrip(".")} for name, known in FORMATS.items()]
    kept, judged = reading.adapters(run), reading.best(run)
    for each in found:
        each["help"] = say(language, "format." + each["format"]) if "format." + each["format"] in TABLE else each["help"]
        each["refusal"] = refused(language, each.get("refusal") or "") or None
        each["waits"] = FORMATS[each["format"]].weights and not kept
    about = [reading.model_of(run), reading.task_of(run), reading.method_of(run), f"{metric_name(language, judged[0])} {numbers.number(judged[1])}" if judged else ""]
    return {"run": run.id, "name": run.name or run.id, "state": run.state, "colour": reading.colour(run), "about": " · ".join(filter(None, about)), "adapters": kept, "formats": found}


def make(event: gr.EventData, request: gr.Request) -> Iterator[list[Any]]:
    """Write the export and show its files; the download stands beside them."""
    asked = event._data if isinstance(event._data, dict) else {}
    told = {name: str(asked.get(name, "")) for name in ("run", "format", "adapter")}
    yield [{**told, "state": "making"}, gr.DownloadButton(visible=False)]
    try:
        packed = packing.PACKER.make(told["run"], told["format"], told["adapter"] or "best")
        files, note = packed.files(), note_of(told["run"], told["adapter"] or "best") if FORMATS[told["format"]].weights else ""
        yield [{**told, "state": "made", "note": refused(language_of(request), note), "files": files, "size": numbers.memory(sum(file["bytes"] for file in files))}, gr.DownloadButton(value=str(packed.zip()), visible=True)]
    except Refusal as problem:
        yield [{**told, "state": "wrong", "sentence": refused(language_of(request), problem)}, gr.DownloadButton(visible=False)]

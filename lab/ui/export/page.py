"""Export: a run's adapter in every format that the export room has, its files shown before they are taken; and adapters from elsewhere, which become runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from lab.blocks import note_of
from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.export import FORMATS, formats
from lab.export.base import Facts
from lab.results.facts import method_of, model_of, score, task_of
from lab.runs import Run, default
from lab.tasks import names as task_names
from lab.ui.export import bringer, packer, pusher
from lab.ui.shell import run_facts, run_list
from lab.ui.shell.gradio_private import payload
from lab.ui.shell.markup import esc
from lab.ui.shell.parts import QUIET, part, unseen
from lab.ui.shell.poll import Seen, Update, watched
from lab.ui.words.refusals import refused
from lab.ui.words.table import TABLE, language_of, metric_name, say, titled

TITLE, PLACE = "Export", 7  # of its tab, among the pages
FOLLOWED = 0.5  # seconds between two looks at a push that goes on
SKIPS = (("skip.formats", "export-form"),)  # the words of a link, where it goes


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    unseen("Lab.watching('export', Lab.chosenRun)")
    with gr.Row(elem_classes="lab-runs", equal_height=False):
        with gr.Column(elem_classes="lab-side", min_width=0):
            part("Lab.chosenList(element, ...Lab.fed('rows'))", elem_id="runs")
        with gr.Column(elem_classes="lab-detail", min_width=0):
            form = part("Lab.exportForm(element, ...Lab.fed('form'), trigger, 'make', 'left')", elem_classes="lab-card lab-form", elem_id="export-form")
            take = gr.DownloadButton(gr.I18n()("native.export.download"), visible=False, variant="primary", elem_id="export-take")
            made = part("Lab.exportedFiles(element, props, watch)", elem_id="export-files")
            push = part("Lab.pushForm(element, props, watch, trigger, 'ask', 'send')", elem_id="export-push")
            _bring_in()
    form.left(lambda: [None, gr.DownloadButton(visible=False), None], None, [made, take, push], **QUIET)
    heavy = {"show_progress": "hidden", "api_visibility": "private"}
    form.make(make, None, [made, take, push], trigger_mode="always_last", concurrency_limit=2, **heavy)
    push.ask(ask, None, push, concurrency_limit=2, **heavy)
    push.send(send, None, push, concurrency_limit=4, **heavy)


def _bring_in() -> None:
    """The form of adapters from elsewhere, which become runs."""
    words = gr.I18n()
    with gr.Accordion(words("native.bring"), open=False, elem_id="bring-form", elem_classes="lab-card lab-form"):
        upload = gr.File(
            label=words("native.bring.upload"), file_types=[".zip"], type="filepath", height=132, elem_id="bring-upload", elem_classes="lab-dropzone"
        )
        form = part("Lab.bringForm(element, props)", tasks=list(task_names()))
        start = gr.Button(words("native.bring.start"), variant="primary", elem_id="bring-start")
        outcome = part("Lab.show(element, props, watch)", elem_id="bring-outcome")
    start.click(bring_in, [form, upload], [outcome, upload], trigger_mode="once", concurrency_limit=1, show_progress="hidden", api_visibility="private")


def bring_in(form: dict[str, Any] | None, upload: str | None, request: gr.Request) -> Iterator[list[Any]]:
    """Import an adapter as a run: say that it is being read, then which run it is, or why not. `form`: {"source", "task", "model"}."""
    language = language_of(request)
    source, task, model = (str((form or {}).get(name) or "").strip() for name in ("source", "task", "model"))
    yield [f'<p class="lab-muted" role="status">{esc(say(language, "bring.going"))}</p>', upload]
    try:
        if source and upload:
            raise Refusal("Give a file or an address, not both: take one of them away.", "source")
        if not source and not upload:
            raise Refusal("Say where the adapter is: a folder, a zip, or a hub id.", "source")
        found = bringer.bring(source, task, model, upload=upload or "")
    except Refusal as problem:
        yield [f'<p class="lab-said wrong" role="alert" data-field="{esc(problem.field)}">{esc(refused(language, problem))}</p>', upload]
        return
    words = say(language, "bring.done", name=found["name"], run=found["run"], method=found["method"], weights=f"{found['trainable']:,}")
    links = "".join(
        f' <a href="{page}={esc(found["run"])}">{esc(say(language, key))}</a>' for key, page in (("page.runs", "runs?run"), ("page.tryit", "tryit?runs"))
    )
    yield [f'<p class="lab-said" role="status">{esc(words)}{links}</p>', None]


@watched("export")
def look(chosen: dict[str, Any], seen: Seen, language: str) -> Update:
    """What has changed of the list; the form only where another run is chosen or it has got another adapter."""
    order, _, known = seen.mark.partition("/")
    rows, printed = run_list.news(seen.before, order)
    asked = chosen.get("run")
    run = run_facts.chosen(asked) if isinstance(asked, str) and asked else _newest()
    parts = {"rows": {**rows, "selected": run.id if run else ""}}
    mark = f"{run.id}:{run.state}:{run.name}:{','.join(run_facts.adapters(run))}" if run else ""
    form: dict[str, Any] = {} if known and known == mark and not seen.chose else {"form": options(run, language)}
    if run is None and asked:
        form = {"form": {"missing": run_facts.missing(str(asked), language)}}
    return {**parts, **form}, f"{printed}/{mark}"


def _newest() -> Run | None:
    """The newest run that has an adapter, else the newest."""
    runs = default().store.list(limit=50)
    return next((run for run in runs if run_facts.has_adapter(run)), next(iter(runs), None))


def options(run: Run | None, language: str) -> dict[str, Any] | None:
    """What export/export.js draws the form from: the run, its adapters, and every format with the reason where it has none for the method."""
    if run is None:
        return None
    try:
        found, heads = formats(run.spec), list(Facts.of(run.spec).heads)
    except Refusal as problem:  # its model or task is not known here any more
        heads = []
        found = [{"format": name, "help": known.help, "refusal": problem.sentence.clause()} for name, known in FORMATS.items()]
    kept, judged = run_facts.adapters(run), score(run)
    for each in found:
        each["help"] = say(language, "format." + each["format"]) if "format." + each["format"] in TABLE else each["help"]
        each["refusal"] = refused(language, each.get("refusal") or "") or None
        each["one_head"] = FORMATS[each["format"]].one_head
        each["waits"] = FORMATS[each["format"]].weights and not kept
    about = [
        model_of(run),
        task_of(run),
        titled(language, method_of(run)),
        f"{metric_name(language, judged.metric.name)} {numbers.number(judged.value)}" if judged else "",
    ]
    return {
        "run": run.id,
        "name": run.name or run.id,
        "state": run.state,
        "colour": run_facts.colour(run),
        "about": " · ".join(filter(None, about)),
        "adapters": kept,
        "heads": heads,
        "formats": found,
    }


def make(event: gr.EventData, request: gr.Request) -> Iterator[list[Any]]:
    """Write the export and show its files; the download stands beside them."""
    asked = payload(event)
    choice = {name: str(asked.get(name, "")) for name in ("run", "format", "adapter", "task")}
    yield [{**choice, "state": "making"}, gr.DownloadButton(visible=False), None]
    try:
        packed = packer.PACKER.make(choice["run"], choice["format"], choice["adapter"] or "best", choice["task"])
        files, note = packed.files(), note_of(choice["run"], choice["adapter"] or "best") if FORMATS[choice["format"]].weights else ""
        yield [
            {
                **choice,
                "state": "made",
                "note": refused(language_of(request), note),
                "files": files,
                "size": numbers.memory(sum(file["bytes"] for file in files)),
            },
            gr.DownloadButton(value=str(packed.zip()), visible=True),
            _pushing(choice, language_of(request)),
        ]
    except Refusal as problem:
        yield [{**choice, "state": "wrong", "sentence": refused(language_of(request), problem)}, gr.DownloadButton(visible=False), None]


def _pushing(choice: dict[str, str], language: str) -> dict[str, Any]:
    """What export/push.js begins with: an empty form, the run's push that goes on or has ended, or why there is none."""
    if not os.environ.get(pusher.VARIABLE):
        return {"choice": choice, "state": "off", "sentence": refused(language, pusher.OFF)}
    last = pusher.PUSHER.of_run(choice["run"])
    return {"choice": choice, "state": "form"} if last is None or last["format"] != choice["format"] else _shown(last, choice, language)


def _shown(document: dict[str, Any], choice: dict[str, str], language: str) -> dict[str, Any]:
    """A push for the page: sizes in words, sentences in its language."""
    files = [{**file, "size": numbers.memory(file["bytes"])} for file in document["files"]]
    share = 100 * document["done"] / max(1, document["bytes"])
    sentences = {"notes": [refused(language, note) for note in document["notes"]], "sentence": refused(language, document["sentence"])}
    return {**document, **sentences, "choice": choice, "files": files, "size": numbers.memory(document["bytes"]), "share": share}


def ask(event: gr.EventData, request: gr.Request) -> Iterator[dict[str, Any]]:
    """Look at the repository; what would be sent there is shown, and nothing is sent."""
    asked, language = payload(event), language_of(request)
    choice = {name: str((asked.get("choice") or {}).get(name, "")) for name in ("run", "format", "adapter", "task")}
    yield {"choice": choice, "state": "asking"}
    try:
        found = pusher.PUSHER.look(
            choice["run"], str(asked.get("repo", "")), choice["format"], choice["adapter"] or "best", choice["task"], asked.get("public") is True
        )
        yield _shown(found, choice, language)
    except Refusal as problem:
        yield {"choice": choice, "state": "wrong", "sentence": refused(language, problem)}


def send(event: gr.EventData, request: gr.Request) -> Iterator[dict[str, Any]]:
    """Send what was looked at, or go on following it; it goes on when the page is left."""
    asked, language = payload(event), language_of(request)
    choice = {name: str((asked.get("choice") or {}).get(name, "")) for name in ("run", "format", "adapter", "task")}
    confirm = str(asked.get("confirm", ""))
    try:
        found = pusher.PUSHER.send(confirm, replace=asked.get("replace") is True)
        while found["state"] == "sending":
            yield _shown(found, choice, language)
            time.sleep(FOLLOWED)
            found = pusher.PUSHER.standing(confirm)
        yield _shown(found, choice, language)
    except Refusal as problem:
        yield {"choice": choice, "state": "wrong", "sentence": refused(language, problem)}

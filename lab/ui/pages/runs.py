"""Runs: the list with states; one run live, with its own frozen spec. The store is polled; nothing lives in the page."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lab.design.refusal import Refusal
from lab.runs import Run, default
from lab.runs.records import check_name, check_notes, check_tags
from lab.ui import curves, listing, memory, reading, views_readings, views_runs
from lab.ui.markup import esc
from lab.ui.words import language_of, say

QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
LOG_LINES = 200


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    native = gr.I18n()
    chosen = gr.HTML(html_template="", js_on_load="Lab.chosen(element, props)", elem_classes="lab-unseen")
    seen = gr.Textbox("", visible="hidden")
    with gr.Row(elem_classes="lab-runs", equal_height=False):
        with gr.Column(elem_classes="lab-side", min_width=0):
            runs = gr.HTML(html_template="", js_on_load="Lab.list(element, props, watch)", apply_default_css=False, elem_id="runs")
        with gr.Column(elem_classes="lab-detail", min_width=0):
            head = gr.HTML(js_on_load="Lab.actions(element, trigger, watch, ['stop', 'resume', 'remove', 'duplicate', 'next', 'sooner', 'later'])", apply_default_css=False, elem_classes="lab-card", elem_id="run-head")
            said = gr.HTML(apply_default_css=False, elem_id="run-said")
            charts = gr.HTML(html_template="", js_on_load="Lab.charts(element, props, watch, server)", server_functions=[curves.detail], apply_default_css=False, elem_id="run-charts")
            peaks = gr.HTML(html_template="", js_on_load="Lab.runMemory(element, props, watch, server)", server_functions=[memory.predict], apply_default_css=False, elem_id="run-memory")
            with gr.Tabs(elem_id="run-tabs"):
                with gr.Tab(native("native.readings")):
                    maps = gr.HTML(html_template="", js_on_load="Lab.readings(element, props, watch)", apply_default_css=False, elem_id="run-maps")
                with gr.Tab(native("native.predictions")):
                    made = gr.HTML(apply_default_css=False, elem_id="run-predictions")
                with gr.Tab(native("native.about")):
                    about = gr.HTML(html_template="", js_on_load="Lab.about(element, props, watch, trigger, 'keep')", apply_default_css=False, elem_id="run-about", elem_classes="lab-about")
                with gr.Tab(native("native.spec")):
                    spec = gr.HTML(js_on_load="Lab.actions(element, trigger)", apply_default_css=False, elem_id="run-spec")
                with gr.Tab(native("native.log")):
                    log = gr.HTML(html_template="", js_on_load="Lab.log(element, props, watch)", apply_default_css=False, elem_id="run-log")
    leaving = gr.HTML(html_template="", js_on_load="Lab.leave(element, props, watch)", elem_classes="lab-unseen")
    sight = [runs, head, charts, peaks, spec, log, maps, made, about, seen]
    chosen.change(look_anew, [chosen], sight, trigger_mode="always_last", **QUIET)
    gr.Timer(1).tick(look, [chosen, seen], sight, trigger_mode="once", **QUIET)
    for act, verb in (("stop", stop), ("resume", resume), ("remove", remove), ("duplicate", duplicate),
                      ("next", to_front), ("sooner", sooner), ("later", later)):  # fmt: skip
        getattr(head, act)(verb, [chosen], [said, leaving], trigger_mode="once", **QUIET).then(look_anew, [chosen], sight, **QUIET)
    about.keep(keep, [chosen], [said, leaving], trigger_mode="once", **QUIET).then(look_anew, [chosen], sight, **QUIET)
    chosen.change(lambda: "", None, [said], **QUIET)


def look_anew(chosen: dict[str, Any] | None, request: gr.Request) -> list[Any]:
    """Everything about the chosen run."""
    return look(chosen, "", request)


def look(chosen: dict[str, Any] | None, seen: str, request: gr.Request) -> list[Any]:
    """What has changed since `seen`, "mark of the list/run:run version:step of the newest reading"; nothing where that is the same."""
    asked = _asked(chosen)
    before, _, known = (seen or "").partition("/")
    told, mark = listing.news(before)
    if told is None:
        return [gr.skip()] * 10
    language = language_of(request)
    run = reading.chosen(asked)
    rows = reading.text({**told, "selected": run.id if run else ""})
    if run is None:
        return [rows, views_runs.head(None, asked, None, {}, language), None, None, "", "", None, "", None, f"{mark}/"]
    old, state, read = (known.split(":") + ["", ""])[:3] if known.startswith(run.id) else ("", "", "")
    if state == str(run.version):
        return [rows, *[gr.skip()] * 8, f"{mark}/{known}"]
    found = views_readings.names(run)
    newest = str(views_readings.newest(run, found))
    maps = gr.skip() if old and read == newest else reading.text(views_readings.readings(run, found))
    return [rows, *_detail(run, language, maps, fresh=not old), f"{mark}/{run.id}:{run.version}:{newest}"]


def _asked(chosen: dict[str, Any] | None) -> str:
    run = (chosen or {}).get("run") if isinstance(chosen, dict) else ""
    return run if isinstance(run, str) else ""


def _detail(run: Run, language: str, maps: Any, fresh: bool) -> list[Any]:
    drawn, series = curves.of_run(run)
    latest = {name: (int(steps[-1]), float(values[-1])) for name, (steps, values, _) in series.items()}
    head = views_runs.head(run, run.id, reading.eta(run, series), latest, language)
    return [head, reading.text(drawn), memory.of_run(run, series), views_runs.spec(run, language) if fresh else gr.skip(), default().log_tail(run.id, LOG_LINES), maps,
            views_readings.predictions(run, language) if fresh or run.over else gr.skip(),
            {"run": run.id, "name": run.name, "tags": run.tags, "notes": run.notes}]  # fmt: skip


def stop(chosen: dict[str, Any] | None, event: gr.EventData, request: gr.Request) -> list[Any]:
    """Ask the run to end."""
    return _tried(lambda run: default().stop(run, wait=False), "said.stop", event, request)


def resume(chosen: dict[str, Any] | None, event: gr.EventData, request: gr.Request) -> list[Any]:
    """Queue the run again from its last checkpoint."""
    return _tried(default().resume, "said.resume", event, request)


def remove(chosen: dict[str, Any] | None, event: gr.EventData, request: gr.Request) -> list[Any]:
    """Delete the run with its files."""
    def verb(run: str) -> None:
        if default().store.get(run).state == "queued":
            default().stop(run, wait=False)
        default().delete(run)

    words, left = _tried(verb, "said.delete", event, request)
    return [words, {"run": ""} if "wrong" not in words else left]


def duplicate(chosen: dict[str, Any] | None, event: gr.EventData, request: gr.Request) -> list[Any]:
    """Queue a new run with the same spec and go to it."""
    made: list[str] = []
    words, left = _tried(lambda run: made.append(default().duplicate(run)), "said.duplicate", event, request)
    return [words, {"run": made[0]} if made else left]


def to_front(chosen: dict[str, Any] | None, event: gr.EventData, request: gr.Request) -> list[Any]:
    """Make a queued run the next to start."""
    return _tried(lambda run: default().reorder(run, 0), "said.moved", event, request)


def sooner(chosen: dict[str, Any] | None, event: gr.EventData, request: gr.Request) -> list[Any]:
    """One place forwards in the queue."""
    return _tried(lambda run: _shift(run, -1), "said.moved", event, request)


def later(chosen: dict[str, Any] | None, event: gr.EventData, request: gr.Request) -> list[Any]:
    """One place backwards in the queue."""
    return _tried(lambda run: _shift(run, 1), "said.moved", event, request)


def _shift(run: str, by: int) -> None:
    queue = [one.id for one in default().store.list(["queued"], specs=False)]
    default().reorder(run, max(0, queue.index(run) + by) if run in queue else 0)


def keep(chosen: dict[str, Any] | None, event: gr.EventData, request: gr.Request) -> list[Any]:
    """Write name, tags and notes; nothing is written where one of them is wrong."""
    told = event._data

    def verb(run: str) -> None:
        name, tags, notes = check_name(told.get("name")), check_tags(told.get("tags")), check_notes(told.get("notes"))
        if not name:
            raise Refusal(say(language_of(request), "about.name.empty"), "name")
        default().rename(run, name)
        default().tag(run, tags)
        default().annotate(run, notes)

    return _tried(verb, "said.kept", event, request)


def _tried(verb: Any, key: str, event: gr.EventData, request: gr.Request) -> list[Any]:
    try:
        verb(str(event._data.get("run", "")))
    except Refusal as problem:
        return [f'<p class="lab-said wrong" role="alert">{esc(problem.sentence)}</p>', gr.skip()]
    return [f'<p class="lab-said" role="status">{esc(say(language_of(request), key))}</p>', gr.skip()]

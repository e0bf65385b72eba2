"""Runs: the list with states; one run live, with its own frozen spec. The store is polled; nothing lives in the page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gradio as gr

from lab.design.plain.refusal import Refusal
from lab.runs import OVER, Run, default
from lab.runs.records import check_name, check_notes, check_tags
from lab.ui.runs import curves, readings, run_memory, table, views
from lab.ui.shell import bin as bins
from lab.ui.shell import bulk, run_facts, run_list
from lab.ui.shell.gradio_private import payload
from lab.ui.shell.lanes import PLANS, Lane
from lab.ui.shell.markdown import markdown
from lab.ui.shell.markup import esc
from lab.ui.shell.parts import QUIET, part, unseen
from lab.ui.shell.poll import Seen, Update, watched
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked, language_of, say
from lab.verbs import duplicate as duplicate_run
from lab.verbs import resume as resume_run

TITLE, PLACE = "Runs", 3  # of its tab, among the pages
SKIPS = (("skip.run", "run-head"), ("skip.charts", "run-charts"), ("skip.readings", "run-tabs"))  # the words of a link, where it goes
LOG_LINES = 200
READ = Lane(2, 30)  # hostile notes take a second or two to read


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    native = gr.I18n()
    unseen("Lab.watching('runs', Lab.chosenRun); Lab.tabTitle(...Lab.fed('tab'))")
    part("Lab.viewSwitch(element)", elem_id="runs-view")
    part("Lab.runTable(element, ...Lab.fed('table'), Lab.served(server))", server_functions=[bulk.act, table.view], elem_id="run-table")
    with gr.Row(elem_classes=["lab-runs", "as-list"], equal_height=False):
        with gr.Column(elem_classes="lab-side", min_width=0):
            part("Lab.chosenList(element, ...Lab.fed('rows'), Lab.served(server))", server_functions=[bulk.act], elem_id="runs")
            part("Lab.binPart(element, Lab.served(server), 'run')", server_functions=bins.FUNCTIONS, elem_id="runs-bin")
        with gr.Column(elem_classes="lab-detail", min_width=0):
            head = part(
                "Lab.htmlPart(element, 'head'); Lab.actions(element, trigger, Lab.fed('head')[1], ['stop', 'resume', 'duplicate', 'next', 'sooner', 'later'])",
                elem_classes="lab-card",
                elem_id="run-head",
            )
            notice = gr.HTML(
                js_on_load="Lab.listen('choose', () => { props.value = ''; })", apply_default_css=False, elem_id="run-said"
            )  # what was said of one run is not said of the next
            part("Lab.chartGrid(element, ...Lab.fed('charts'), Lab.served(server))", server_functions=[curves.detail], elem_id="run-charts")
            part(
                "Lab.runMemory(element, ...Lab.fed('memory'), Lab.served(server))",
                server_functions=[PLANS(run_memory.predict, lambda words: {"wrong": words})],
                elem_id="run-memory",
            )
            with gr.Tabs(elem_id="run-tabs"):
                with gr.Tab(native("native.readings")):
                    part("Lab.readingMaps(element, ...Lab.fed('maps'))", elem_id="run-maps")
                with gr.Tab(native("native.predictions")):
                    part("Lab.htmlPart(element, 'predictions')", elem_id="run-predictions")
                with gr.Tab(native("native.about")):
                    about = part("Lab.aboutForm(element, ...Lab.fed('about'), trigger, 'keep', Lab.served(server))", server_functions=[READ(read, lambda words: {"wrong": words})],
                                 elem_id="run-about", elem_classes="lab-about")  # fmt: skip
                with gr.Tab(native("native.spec")):
                    part("Lab.htmlPart(element, 'spec'); Lab.actions(element, trigger)", elem_id="run-spec")
                with gr.Tab(native("native.log")):
                    part("Lab.logBox(element, ...Lab.fed('log'))", elem_id="run-log")
    leaving = unseen("Lab.leaveRun(element, props, watch)")
    for act, verb in (("stop", stop), ("resume", resume), ("duplicate", duplicate),
                      ("next", to_front), ("sooner", sooner), ("later", later)):  # fmt: skip
        getattr(head, act)(verb, None, [notice, leaving], trigger_mode="once", **QUIET)
    about.keep(keep, None, [notice, leaving], trigger_mode="once", **QUIET)


@watched("runs")
def look(chosen: dict[str, Any], seen: Seen, language: str) -> Update:
    """What has changed of the list and of the chosen run. The mark: "print of the order/run:version:step of the newest reading"."""
    if chosen.get("view") == "table":
        news, mark = table.look(chosen, seen, language)
        return {**news, "tab": run_facts.tab([], language)}, mark
    if seen.mark.startswith("t"):  # what a table has shown says nothing of a list
        seen = Seen(None, "", True)
    order, _, known = seen.mark.partition("/")
    rows, printed = run_list.news(seen.before, order)
    asked = chosen.get("run") if isinstance(chosen.get("run"), str) else ""
    run = run_facts.chosen(asked)
    parts = {"rows": {**rows, "selected": run.id if run else ""}}
    if run is None:
        head = views.head(None, asked, None, {}, language)
        return {
            **parts,
            "head": head,
            **dict.fromkeys(("charts", "memory", "maps", "about")),
            **dict.fromkeys(("spec", "log", "predictions"), ""),
            "tab": run_facts.tab([], language),
        }, f"{printed}/"
    old, state, read = (known.split(":") + ["", ""])[:3] if known.startswith(run.id) and not seen.chose else ("", "", "")
    if state == str(run.version):
        return parts, f"{printed}/{known}"
    found = readings.names(run)
    newest = str(readings.newest(run, found))
    maps = {} if old and read == newest else {"maps": readings.readings(run, found)}
    return {**parts, **_detail(run, language, fresh=not old), **maps}, f"{printed}/{run.id}:{run.version}:{newest}"


def _detail(run: Run, language: str, fresh: bool) -> dict[str, Any]:
    drawn, series = curves.of_run(run)
    latest = {name: (int(steps[-1]), float(values[-1])) for name, (steps, values, _) in series.items()}
    more = [*(views.TOLD if run.active else ()), *([f"energy_kept/{order}" for order in views.ORDERS] if views.order_of(run) else ())]
    if more:
        latest |= {name: (step, value) for name, (step, value, _) in default().store.latest(run.id, more).items()}
    return {"tab": run_facts.tab([run], language), "head": views.head(run, run.id, run_facts.eta(run), latest, language), "charts": drawn, "memory": run_memory.of_run(run, series),
            **({"spec": views.spec(run, language)} if fresh else {}), "log": default().log_tail(run.id, LOG_LINES),
            **({"predictions": readings.predictions(run, language)} if fresh or run.over else {}),
            "about": {"run": run.id, "name": run.name, "tags": run.tags, "notes": run.notes}}  # fmt: skip


def stop(event: gr.EventData, request: gr.Request) -> tuple[str, dict[str, Any]]:
    """Ask the run to end: one that waits has ended with that, one that had ended says so."""
    state: list[str] = []
    words, again = _tried(lambda run: state.append(default().stop(run, wait=False)), "said.stop", event, request)
    if state and state[0] in OVER:
        language = language_of(request)
        words = f'<p class="lab-said" role="status">{esc(say(language, "said.stopped", state=say(language, "state." + state[0])))}</p>'
    return words, again


def resume(event: gr.EventData, request: gr.Request) -> tuple[str, dict[str, Any]]:
    """Queue the run again from its last checkpoint."""
    return _tried(resume_run, "said.resume", event, request)


def duplicate(event: gr.EventData, request: gr.Request) -> tuple[str, dict[str, Any]]:
    """Queue a new run with the same spec and go to it."""
    made: list[str] = []
    words, left = _tried(lambda run: made.append(duplicate_run(run)), "said.duplicate", event, request)
    return words, {**left, "run": made[0]} if made else left


def to_front(event: gr.EventData, request: gr.Request) -> tuple[str, dict[str, Any]]:
    """Make a queued run the next to start."""
    return _tried(lambda run: default().reorder(run, 0), "said.moved", event, request)


def sooner(event: gr.EventData, request: gr.Request) -> tuple[str, dict[str, Any]]:
    """One place forwards in the queue."""
    return _tried(lambda run: _shift(run, -1), "said.moved", event, request)


def later(event: gr.EventData, request: gr.Request) -> tuple[str, dict[str, Any]]:
    """One place backwards in the queue."""
    return _tried(lambda run: _shift(run, 1), "said.moved", event, request)


def _shift(run: str, by: int) -> None:
    queue = [one.id for one in default().store.list(["queued"], specs=False)]
    default().reorder(run, max(0, queue.index(run) + by) if run in queue else 0)


def keep(event: gr.EventData, request: gr.Request) -> tuple[str, dict[str, Any]]:
    """Write name, tags and notes; nothing is written where one of them is wrong."""
    form = payload(event)

    def verb(run: str) -> None:
        name, tags, notes = check_name(form.get("name"), needed=True), check_tags(form.get("tags")), check_notes(form.get("notes"))
        if not name:
            raise Refusal(say(language_of(request), "about.name.empty"), "name")
        default().rename(run, name)
        default().tag(run, tags)
        default().annotate(run, notes)

    return _tried(verb, "said.kept", event, request)


def read(asked: Any = None) -> dict[str, str]:
    """{"html"}: {"text"}, notes in Markdown, as they read; {"wrong"}: what is wrong with them."""
    text = asked.get("text") if isinstance(asked, Mapping) else None
    try:
        return {"html": markdown(check_notes(text))}
    except Refusal as problem:
        return {"wrong": refused(language_asked(asked), problem)}


def _tried(verb: Any, key: str, event: gr.EventData, request: gr.Request) -> tuple[str, dict[str, Any]]:
    """What the page says, and the word to its script that it look again at once."""
    form = payload(event)
    again = {"after": time.time()}
    try:
        verb(str(form.get("run", "")))
    except Refusal as problem:
        return f'<p class="lab-said wrong" role="alert">{esc(refused(language_of(request), problem))}</p>', again
    until = ' data-until="over"' if key == "said.stop" else ""  # then the run's own state says it
    return f'<p class="lab-said" role="status"{until}>{esc(say(language_of(request), key))}</p>', again

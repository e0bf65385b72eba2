"""Bench: pick a model, a task and a method, turn its dimensions, see what that means and costs, launch."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lab.design.plain.refusal import Refusal
from lab.runs import default
from lab.ui.bench import assessment
from lab.ui.bench.copies import link, save, write
from lab.ui.bench.cost_curves import BATCHES, PRESETS, counts, point
from lab.ui.bench.fetches import fetching
from lab.ui.bench.knobs import form_state, of_address, turn
from lab.ui.bench.memory_plan import plan
from lab.ui.bench.schema import schema
from lab.ui.shell.json_text import text
from lab.ui.shell.lanes import FILES, PLANS
from lab.ui.shell.markup import esc
from lab.ui.shell.parts import QUIET, part, unseen
from lab.ui.shell.planner import announce, busy
from lab.ui.words.refusals import refused
from lab.ui.words.table import LANGUAGES, language_of, say

TITLE, PLACE = "Bench", 0  # of its tab, among the pages
SKIPS = (("skip.knobs", "knobs"), ("skip.costs", "costs"), ("skip.launch", "launch"))  # the words of a link, where it goes
QUICK = ("lora", "adapter-parallel-scaled")
DOLLARS = [{"left": "$$", "right": "$$", "display": True}, {"left": "$", "right": "$", "display": False}]


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    both = {language: text(schema(language)) for language in LANGUAGES}
    with gr.Row(elem_classes="lab-bench", equal_height=False):
        with gr.Column(elem_classes="lab-left", min_width=0):
            knobs = part(
                "Lab.knobForm(element, props, Lab.served(server))",
                value=None,
                schemas=both,
                server_functions=[turn, FILES(fetching, lambda words: {"state": "wrong", "sentence": words})],
                elem_id="knobs",
            )
        with gr.Column(elem_classes="lab-middle", min_width=0):
            filled("figure", "lab-card lab-figure")
            formula = gr.Markdown(latex_delimiters=DOLLARS, elem_classes="lab-card lab-equation", elem_id="equation")
            row = gr.Markdown(latex_delimiters=DOLLARS, elem_classes="lab-card lab-row1", elem_id="table1")
            filled("notes", "lab-card lab-notes")
        with gr.Column(elem_classes="lab-right", min_width=0):
            filled("costs", "lab-card lab-costs")
            part(
                "Lab.memoryPlan(element, Lab.served(server))",
                server_functions=[PLANS(plan, busy, announce)],
                elem_classes="lab-card lab-memory",
                elem_id="memory",
            )
            with gr.Row(elem_classes="lab-launch", equal_height=True):
                launch = gr.Button(gr.I18n()("native.launch"), variant="primary", elem_id="launch", min_width=0)
                enqueue = gr.Button(gr.I18n()("native.enqueue"), elem_id="enqueue", min_width=0)
            part("Lab.designTools(element, Lab.served(server))", server_functions=[write, link, save], elem_id="tools")
            quick = gr.Button(gr.I18n()("native.quick"), elem_id="quick")
            advice = gr.HTML(elem_classes="lab-advice", elem_id="advice", apply_default_css=False)
            part("Lab.costCurves(element, props, Lab.served(server))", server_functions=[PLANS(point, lambda words: {"wrong": words}), counts],
                 methods=list(PRESETS), batches=list(BATCHES), elem_classes="lab-card", elem_id="cost-curves")  # fmt: skip
    part("Lab.introduction(element)", elem_id="introduction")
    answers = unseen("Lab.answerRelay(element, props, watch)")
    going = unseen("Lab.goTo(element, props, watch)")
    texts = unseen("Lab.formulas(element, props)")
    texts.change(None, [texts], [formula, row], js="(texts) => [texts.equation || '', texts.table || '']", **QUIET)
    launch.click(launch_draft, [knobs], [going, advice, answers], trigger_mode="once", **QUIET)
    enqueue.click(enqueue_draft, [knobs], [advice, answers], trigger_mode="once", **QUIET)
    quick.click(quick_start, None, [going, advice], trigger_mode="once", **QUIET)
    demo.load(explain, None, [advice], **QUIET)


def filled(name: str, css: str) -> gr.HTML:
    """A place of the page that `knobs.turn` fills by its name."""
    return part(f"Lab.filledPart(element, {name!r})", elem_classes=css, elem_id=name)


def launch_draft(draft: dict[str, Any] | None, request: gr.Request) -> list[Any]:
    """Launch what the knobs say and go to its run; or say at the field what is wrong, with nothing lost."""
    try:
        run = default().launch(assessment.launch_document(of_address(draft or {})[0]))
    except Refusal as problem:
        return [gr.skip(), *_refused(draft or {}, problem, request)]
    return [{"to": f"runs?run={run}"}, _advice(say(language_of(request), "launched")), gr.skip()]


def enqueue_draft(draft: dict[str, Any] | None, request: gr.Request) -> list[Any]:
    """Queue what the knobs say and stay here, to turn them on and queue the next."""
    try:
        run = default().store.get(default().launch(assessment.launch_document(of_address(draft or {})[0])))
    except Refusal as problem:
        return _refused(draft or {}, problem, request)
    language, waiting = language_of(request), len(default().store.list(["queued"], specs=False))
    link = f'<a href="runs?run={esc(run.id)}">{esc(run.name)}</a>'
    return [f'<p role="status">{esc(say(language, "bench.queued", n=waiting)).replace("{name}", link)}</p>', gr.skip()]


def _refused(draft: dict[str, Any], problem: Refusal, request: gr.Request) -> list[Any]:
    """The sentence beside the buttons and at its field."""
    found = assessment.assess(draft)
    if not found.errors:
        found.errors.append((problem.field, problem.sentence))
    return [_advice(refused(language_of(request), problem), "wrong"), {**form_state(found, language_of(request)), "again": id(problem)}]


def quick_start(request: gr.Request) -> list[Any]:
    """Launch the two runs of the quick start and go to them side by side."""
    try:
        documents = [assessment.launch_document({"model": "minilm-l6", "task": "sentiment-rt", "method": method, "training": {"steps": 150}, "seed": 0,
                                                "name": "", "tags": ["quick start"]}) for method in QUICK]  # fmt: skip
        runs = default().launch_all([{"document": document} for document in documents])
    except Refusal as problem:
        return [gr.skip(), _advice(refused(language_of(request), problem), "wrong")]
    return [{"to": "compare?runs=" + ",".join(runs)}, _advice(say(language_of(request), "launched"))]


def explain(request: gr.Request) -> str:
    """What the two buttons do."""
    return _advice(say(language_of(request), "bench.quick.help"))


def _advice(sentence: str, css: str = "") -> str:
    return f'<p class="{css}" role="status">{esc(sentence)}</p>'

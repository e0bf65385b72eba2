"""Bench: pick a model, a task and a method, turn its dimensions, see what that means and costs, launch."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lab.design.figure import figure
from lab.design.refusal import Refusal
from lab.runs import default
from lab.ui import answering, views_bench
from lab.ui.schema import schema
from lab.ui.words import language_of, say

QUICK = ("lora", "adapter-parallel-scaled")
DOLLARS = [{"left": "$$", "right": "$$", "display": True}, {"left": "$", "right": "$", "display": False}]
QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    both = {"en": schema("en"), "zh": schema("zh")}
    with gr.Row(elem_classes="lab-bench", equal_height=False):
        with gr.Column(elem_classes="lab-left", min_width=0):
            knobs = gr.HTML(
                value=None, html_template="", js_on_load="props.schema = props.schemas[Lab.language]; Lab.knobs(element, props, watch)",
                schemas=both, apply_default_css=False, elem_id="knobs",
            )  # fmt: skip
        with gr.Column(elem_classes="lab-middle", min_width=0):
            drawing = gr.HTML(elem_classes="lab-card lab-figure", elem_id="figure", apply_default_css=False)
            formula = gr.Markdown(latex_delimiters=DOLLARS, elem_classes="lab-card lab-equation", elem_id="equation")
            row = gr.Markdown(latex_delimiters=DOLLARS, elem_classes="lab-card lab-row1", elem_id="table1")
            notes = gr.HTML(elem_classes="lab-card lab-notes", elem_id="notes", apply_default_css=False)
        with gr.Column(elem_classes="lab-right", min_width=0):
            costs = gr.HTML(elem_classes="lab-card lab-costs", elem_id="costs", apply_default_css=False)
            launch = gr.Button(gr.I18n()("native.launch"), variant="primary", elem_id="launch")
            quick = gr.Button(gr.I18n()("native.quick"), elem_id="quick")
            advice = gr.HTML(elem_classes="lab-advice", elem_id="advice", apply_default_css=False)
    answers = gr.HTML(html_template="", js_on_load="Lab.answers(element, props, watch)", elem_classes="lab-unseen")
    going = gr.HTML(html_template="", js_on_load="Lab.going(element, props, watch)", elem_classes="lab-unseen")
    knobs.change(turn, [knobs], [drawing, formula, row, notes, costs, answers], trigger_mode="always_last", **QUIET)
    launch.click(launch_draft, [knobs], [going, advice, answers], trigger_mode="once", **QUIET)
    quick.click(quick_start, None, [going, advice], trigger_mode="once", **QUIET)
    demo.load(explain, None, [advice], **QUIET)


def turn(draft: dict[str, Any] | None, request: gr.Request) -> list[Any]:
    """Everything beside the knobs, for a draft."""
    language = language_of(request)
    found = answering.answer(_of_run(draft or {}))
    drawn: list[Any] = [gr.skip(), gr.skip(), gr.skip(), gr.skip()]
    if found.method:
        drawn = [figure(found.method, found.body, language), answering.equations(found.method),
                 views_bench.table(found.method, language), views_bench.notes(found.method, language)]  # fmt: skip
    return [*drawn, views_bench.costs(found, language), _told(found, draft)]


def _of_run(draft: dict[str, Any]) -> dict[str, Any]:
    """A draft that only names a run becomes that run's own spec (a link from its page)."""
    if not draft.get("run"):
        return draft
    try:
        spec = default().store.get(str(draft["run"])).spec
    except Refusal:
        spec = {}
    kept = {key: spec[key] for key in ("model", "task", "method", "training", "seed", "tags") if key in spec}
    return {**schema("en")["start"], **kept, "name": "", "seq": draft.get("seq", 0), "changed": "run"}


def _told(found: answering.Answer, draft: dict[str, Any] | None) -> dict[str, Any]:
    hints = {"training.lr": f"{found.method.training.lr:g}"} if found.method else {}
    return {"seq": (draft or {}).get("seq", 0), "document": found.document, "errors": found.errors, "reasons": found.reasons,
            "modified": found.modified, "hints": hints}  # fmt: skip


def launch_draft(draft: dict[str, Any] | None, request: gr.Request) -> list[Any]:
    """Launch what the knobs say and go to its run; or say at the field what is wrong, with nothing lost."""
    try:
        run = default().launch(answering.launch_document({**(draft or {}), "changed": ""}))
    except Refusal as problem:
        found = answering.answer({**(draft or {}), "changed": ""})
        if not found.errors:
            found.errors.append((problem.field, problem.sentence))
        return [gr.skip(), _advice(problem.sentence, "wrong"), {**_told(found, draft), "again": id(problem)}]
    return [{"to": f"runs?run={run}"}, _advice(say(language_of(request), "launched")), gr.skip()]


def quick_start(request: gr.Request) -> list[Any]:
    """Launch the two runs of the quick start and go to them side by side."""
    try:
        documents = [answering.launch_document({"model": "minilm-l6", "task": "sentiment-rt", "method": method, "training": {"steps": 150}, "seed": 0,
                                                "name": "", "tags": ["quick start"]}) for method in QUICK]  # fmt: skip
        runs = [default().launch(document) for document in documents]
    except Refusal as problem:
        return [gr.skip(), _advice(problem.sentence, "wrong")]
    return [{"to": "compare?runs=" + ",".join(runs)}, _advice(say(language_of(request), "launched"))]


def explain(request: gr.Request) -> str:
    """What the two buttons do."""
    return _advice(say(language_of(request), "bench.quick.help"))


def _advice(sentence: str, css: str = "") -> str:
    from lab.ui.markup import esc

    return f'<p class="{css}" role="status">{esc(sentence)}</p>'

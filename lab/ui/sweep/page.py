"""Sweep: values for a few options give a grid or a list of runs; their results fill a matrix."""

from __future__ import annotations

import zlib
from typing import Any

import gradio as gr

from lab.design.method.named import method_of
from lab.design.plain.options import fields
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import RunSpec
from lab.results import compare
from lab.runs import default
from lab.ui.shell import bulk, planner
from lab.ui.shell.draft import start
from lab.ui.shell.json_text import text
from lab.ui.shell.lanes import PLANS
from lab.ui.shell.markup import empty, esc
from lab.ui.shell.parts import QUIET, part, unseen
from lab.ui.shell.poll import Seen, Update, watched
from lab.ui.sweep import grid, progress, views
from lab.ui.words.refusals import refused
from lab.ui.words.settings import setting_name
from lab.ui.words.table import LANGUAGES, language_of, say

TITLE, PLACE = "Sweep", 5  # of its tab, among the pages
NO_AXIS = "none"  # in the address: no columns, all is averaged over
SKIPS = (("skip.matrix", "matrix"),)  # the words of a link, where it goes
FIRST_TABLE = "he-2022-table-5"
FIRST = ("deltas.0.rank", "training.lr", "seed", "deltas.0.at", "deltas.0.composition", "method", "task", "model")


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    with gr.Row(elem_classes="lab-pair", equal_height=False):
        with gr.Column(elem_classes="lab-narrow", min_width=0):
            form = part(
                "Lab.sweepForm(element, props, watch)",
                start=start(),
                paths=paths(),
                titles={one: {path: setting_name(one, path) for path in paths()} for one in LANGUAGES},
                tables={one: grid.choices(one) for one in LANGUAGES},
                elem_classes="lab-card lab-form",
                elem_id="sweep-form",
            )
            verdict = part("Lab.show(element, props, watch)", elem_classes="lab-card", elem_id="sweep-told")
            part(
                "Lab.forecast(element, Lab.served(server))",
                server_functions=[PLANS(grid.forecast, planner.busy, planner.announce)],
                elem_classes="lab-card lab-memory",
                elem_id="sweep-costs",
            )
            launch = gr.Button(gr.I18n()("native.sweep"), variant="primary", elem_id="sweep-launch", interactive=False)
        with gr.Column(elem_classes="lab-detail", min_width=0):
            notice = gr.HTML(apply_default_css=False, elem_id="sweep-said")
            part("Lab.matrixTools(element, ...Lab.fed('view'))", elem_classes="lab-tools", elem_id="sweep-view")
            part("Lab.htmlPart(element, 'progress')", elem_id="sweep-progress")
            part("Lab.manyRuns(element, ...Lab.fed('many'), Lab.served(server))", server_functions=[bulk.act], elem_id="sweep-many")
            part("Lab.htmlPart(element, 'matrix'); Lab.beginTable(element)", elem_classes="lab-card", elem_id="matrix")
    unseen("Lab.watching('sweep', Lab.chosenMatrix); Lab.tabTitle(...Lab.fed('tab'))")
    started = unseen("watch('value', () => props.value && Lab.emit('matrix', props.value))")
    form.change(check, [form], [verdict, launch], trigger_mode="always_last", **QUIET)
    launch.click(start_all, [form], [notice, started], trigger_mode="once", **QUIET)


def paths() -> list[str]:
    """Options that a sweep may vary, the usual ones first."""
    known = [field.path for field in fields(RunSpec) if field.path.startswith("training.") or field.path in ("seed", "quantisation")]
    return list(dict.fromkeys([*FIRST, *known, *[f"deltas.0.{name}" for name in method_of("lora").deltas[0].model_dump()]]))


def check(asked: dict[str, Any] | None, request: gr.Request) -> list[Any]:
    """How many runs the form makes, or what is wrong with it."""
    words, fine = views.before(asked or {}, language_of(request))
    return [words, gr.Button(interactive=fine)]


def start_all(asked: dict[str, Any] | None, request: gr.Request) -> list[Any]:
    """Queue every run of the sweep and show its matrix."""
    try:
        specs = grid.specs_of(asked or {})
        default().launch_all([{"document": spec.document(), "name": spec.name, "tags": spec.tags} for spec in specs])
    except Refusal as problem:
        return [f'<p class="lab-said wrong" role="alert">{esc(refused(language_of(request), problem))}</p>', gr.skip()]
    tag = specs[0].tags[-1]
    return [
        f'<p class="lab-said" role="status">{esc(say(language_of(request), "sweep.launched", n=len(specs), tag=tag))}</p>',
        {"tag": tag, "row": "", "column": ""},
    ]


@watched("sweep")
def look(asked: dict[str, Any], seen: Seen, language: str) -> Update:
    """The matrix of the chosen tag, where it is another one than before."""
    tags = views.tags()
    tag = asked.get("tag") if isinstance(asked.get("tag"), str) and asked.get("tag") else next(iter(tags), "")
    runs = default().store.list(tag=tag, limit=1000) if tag else []
    axes, row, column, matrix = [], "", "", empty(language, "sweep.empty") + _start(language)
    if runs:
        axes = list(compare.varying(runs)) or [""]
        row = asked.get("row") if asked.get("row") in axes else next((axis for axis in axes if axis != "seed"), axes[0])
        others = [axis for axis in axes if axis != row]
        asked_for = "" if asked.get("column") == NO_AXIS else asked.get("column") or None
        column = asked_for if asked_for in ("", *others) else next((axis for axis in others if axis != "seed"), "")  # seeds are averaged over
        matrix = views.matrix(runs, row, column, language)
    titles = {axis: setting_name(language, axis) for axis in axes}
    parts = {
        "view": {"tags": tags, "tag": tag, "axes": axes, "row": row, "column": column, "titles": titles},
        "matrix": matrix,
        **progress.news(runs, language),
    }
    printed = f"{zlib.crc32(text(parts).encode()):x}"
    return {} if printed == seen.mark and not seen.chose else parts, printed


def _start(language: str) -> str:
    """The button of an empty page: a paper's table to begin with."""
    return f'<p class="lab-begin"><button type="button" class="lab-cta" data-table="{FIRST_TABLE}">{esc(say(language, "sweep.begin"))}</button></p>'

"""Combine: runs of one base put together by weights, live on a text and on the validation rows of their tasks, and kept as a run."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from lab import combining
from lab.asking import answering
from lab.child import Child
from lab.design.plain.options import fields
from lab.design.plain.refusal import Refusal
from lab.design.spec.combination import MOST, Combination
from lab.runs import default
from lab.ui.combine import views
from lab.ui.shell.json_text import text
from lab.ui.shell.lanes import Lane
from lab.ui.shell.parts import part, unseen
from lab.ui.shell.poll import Seen, Update, watched
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked
from lab.verbs import check

TITLE, PLACE = "Combine", 6.5  # of its tab, among the pages
SKIPS = (("skip.answers", "combine-view"),)  # the words of a link, where it goes
ASKED = Lane(2, 30)


@functools.cache
def client() -> Child:
    """The process with the models of this page."""
    return answering()


def build(demo: gr.Blocks) -> None:
    """Lay out the page."""
    options = {field.path: {"default": field.default, "choices": field.choices, "help": field.help} for field in fields(Combination)}
    wrong = lambda words: {"wrong": words}  # noqa: E731
    with gr.Row(elem_classes="lab-pair", equal_height=False):
        with gr.Column(elem_classes="lab-narrow", min_width=0):
            part(f"Lab.combineForm(element, props, ...Lab.fed('rows'), {MOST})", options=options, elem_classes="lab-card lab-form", elem_id="combine-form")
        with gr.Column(elem_classes="lab-detail", min_width=0):
            part(
                "Lab.combineView(element, Lab.served(server))",
                server_functions=[ASKED(measure, wrong), ASKED(ask, wrong), ASKED(keep, wrong)],
                elem_id="combine-view",
            )
    unseen("Lab.watching('combine', () => ({}))")


@watched("combine")
def look(chosen: dict[str, Any], seen: Seen, language: str) -> Update:
    """The runs that can be put together, where they are others than before."""
    rows = views.rows()
    printed = f"{zlib.crc32(text(rows).encode()):x}"
    return {} if printed == seen.mark else {"rows": {"rows": rows}}, printed


def _told(asked: Any, work: Callable[[Mapping[str, Any], str], dict[str, Any]]) -> dict[str, Any]:
    """What `work` makes of a question of the page's script; what is refused is said in its language."""
    language = language_asked(asked)
    try:
        return work(asked if isinstance(asked, Mapping) else {}, language)
    except Refusal as problem:
        return {"wrong": refused(language, problem)}


def measure(asked: Any = None) -> dict[str, Any]:
    """{"tasks": [{"task", "metric", "greater", "value", "rows", "text"}]} of a combination."""
    return _told(asked, _measured)


def ask(asked: Any = None) -> dict[str, Any]:
    """{"html"}: what every task's head makes of a text under a combination."""
    return _told(asked, _asked)


def keep(asked: Any = None) -> dict[str, Any]:
    """{"run", "name"}: a combination as a run, which its worker evaluates on all validation rows."""
    return _told(asked, _kept)


def _measured(asked: Mapping[str, Any], language: str) -> dict[str, Any]:
    found = client().ask({"combination": asked.get("combination")})["tasks"]
    return {"tasks": [{**row, "text": views.number(row)} for row in found]}


def _asked(asked: Mapping[str, Any], language: str) -> dict[str, Any]:
    found = client().ask({"combination": asked.get("combination"), "text": asked.get("text"), "pair": asked.get("pair")})["tasks"]
    return {"html": views.answers(found, language)}


def _kept(asked: Mapping[str, Any], language: str) -> dict[str, Any]:
    given = asked.get("combination")
    chosen = {name: value for name, value in (given if isinstance(given, Mapping) else {}).items() if name in Combination.model_fields and name != "prints"}
    name = asked.get("name")
    document = combining.document(**{"runs": [], **chosen}, name=name if isinstance(name, str) else "")
    run = default().launch(check(document).document())
    return {"run": run, "name": default().store.get(run).name}

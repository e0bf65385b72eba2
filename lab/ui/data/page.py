"""Data: make a task of a file of one's own, see what it would become first, and the tasks there are."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from lab.design.plain.refusal import Refusal
from lab.ui.data import own_data
from lab.ui.shell import bin as bins
from lab.ui.shell.lanes import FILES
from lab.ui.shell.parts import QUIET, part, unseen
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_of

TITLE, PLACE = "Data", 2  # of its tab, among the pages
SKIPS = (("skip.tasks", "data-tasks"),)  # the words of a link, where it goes


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    offers = {language: own_data.choices(language) for language in ("en", "zh")}
    with gr.Row(elem_classes="lab-pair", equal_height=False):
        with gr.Column(elem_classes="lab-narrow", min_width=0):
            file = gr.File(
                label=gr.I18n()("native.file"),
                show_label=False,
                file_count="multiple",
                type="filepath",
                height=132,
                elem_id="data-file",
                elem_classes="lab-dropzone",
            )
            part("Lab.dataForm(element, props, Lab.served(server))", server_functions=[FILES(own_data.look, own_data.none_read), FILES(own_data.keep, own_data.none_read), FILES(own_data.bring, own_data.not_brought)], offers=offers, elem_classes="lab-card lab-form", elem_id="data-form")  # fmt: skip
        with gr.Column(elem_classes="lab-detail", min_width=0):
            part("Lab.dataPreview(element)", elem_classes="lab-card lab-preview", elem_id="data-preview")
            part("Lab.dataTasks(element, Lab.served(server))", server_functions=[own_data.listing], elem_classes="lab-card", elem_id="data-tasks")
            part("Lab.binPart(element, Lab.served(server), 'task')", server_functions=bins.FUNCTIONS, elem_id="data-bin")
    taken = unseen("Lab.uploadRelay(element, props, watch)")
    file.upload(take, [file], [file, taken], trigger_mode="once", **QUIET)


def take(paths: list[str] | None, request: gr.Request) -> list[Any]:
    """Take the uploads out of gradio's folder, so that the drop area is free for the next one."""
    try:
        outcome: dict[str, Any] = {"upload": own_data.take(paths or [])}
    except Refusal as problem:
        outcome = {"wrong": refused(language_of(request), problem)}
    return [None, {**outcome, "again": time.time()}]

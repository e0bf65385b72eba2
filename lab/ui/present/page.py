"""Presentation: a method's figure, equation and count on the whole screen. Arrow keys turn one dimension at a time, and everything follows."""

from __future__ import annotations

import gradio as gr

from lab.ui.present.views import walk
from lab.ui.shell.parts import QUIET, part, unseen

TITLE, PLACE = "Present", 99  # of its tab, among the pages
IN_BAR = False  # it is opened from the bench and from the library
DOLLARS = [{"left": "$$", "right": "$$", "display": True}]


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    with gr.Column(elem_classes="lab-stage", elem_id="stage"):
        part("Lab.stageHead(element)", elem_id="stage-head")
        with gr.Row(elem_classes="lab-stage-middle", equal_height=False):
            part("Lab.stageFigure(element)", elem_id="stage-figure", elem_classes="lab-figure")
            part("Lab.stageCount(element)", elem_id="stage-count")
        formula = gr.Markdown(latex_delimiters=DOLLARS, elem_classes="lab-equation", elem_id="stage-equation")
        part("Lab.stage(element, Lab.served(server))", server_functions=[walk], elem_id="stage-dimensions")
    texts = unseen("Lab.stageFormula(element, props)")
    texts.change(None, [texts], [formula], js="(texts) => texts.equation || ''", **QUIET)

"""Library: every method as a card, and the map of which step leads from one to another."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lab.design.presets import own
from lab.ui.library import views
from lab.ui.shell import bin as bins
from lab.ui.shell.parts import QUIET, part
from lab.ui.words.table import language_of

TITLE, PLACE = "Library", 1  # of its tab, among the pages
SKIPS = (("skip.methods", "library"),)  # the words of a link, where it goes
DOLLARS = [{"left": "$$", "right": "$$", "display": True}]


def build(demo: gr.Blocks) -> None:
    """Lay out the page and connect it."""
    part("Lab.gallery(element)", elem_id="library-filter", elem_classes="lab-filter")
    chart = gr.HTML(apply_default_css=False, elem_classes="lab-card", elem_id="map")
    cards = gr.Markdown(latex_delimiters=DOLLARS, sanitize_html=False, elem_id="library")  # what it shows is escaped in views
    part("Lab.ownMethods(element, Lab.served(server))", server_functions=[own_methods], elem_classes="lab-card lab-whenfull", elem_id="library-own")
    part("Lab.binPart(element, Lab.served(server), 'method')", server_functions=bins.FUNCTIONS, elem_id="library-bin")
    demo.load(show, None, [chart, cards], **QUIET)


def show(request: gr.Request) -> list[str]:
    """Map and cards in the reader's language."""
    language = language_of(request)
    return [views.chart(language), views.gallery(language)]


def own_methods(asked: Any) -> dict[str, Any]:
    """{"own": the names of the methods that were saved on the bench}."""
    return {"own": list(own.names("methods"))}

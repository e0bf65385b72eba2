"""Places of a page that a script of ours fills, and how events between gradio's components are asked."""

from __future__ import annotations

from typing import Any

import gradio as gr

QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}  # of an event that is over at once and is nobody else's


def part(call: str, **more: Any) -> gr.HTML:
    """An empty place. `call` runs when it comes into the page, with `element`, `props`, `watch`, `trigger` and `server` (a function of Lab, see parts.js)."""
    return gr.HTML(html_template="", js_on_load=call, apply_default_css=False, **more)


def unseen(call: str, **more: Any) -> gr.HTML:
    """A part that shows nothing: it passes on what it is given, or asks."""
    return part(call, elem_classes="lab-unseen", **more)

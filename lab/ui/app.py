"""The app: one Blocks with a page per route, the theme, and the named API."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import gradio as gr

from lab.ui import api
from lab.ui.shell import gradio_private
from lab.ui.shell.parts import part

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def pages() -> dict[str, ModuleType]:
    """{name: builder} of every folder here that has a page.py, in the order in which they say that they stand; the first one is the home page."""
    names = (path.parent.name for path in Path(__file__).parent.glob("*/page.py"))
    found = {name: importlib.import_module(f"lab.ui.{name}.page") for name in names}
    return dict(sorted(found.items(), key=lambda one: one[1].PLACE))


def theme() -> gr.themes.Base:
    """Gradio's plain theme with system fonts, so that nothing is fetched; the rest is in shell/lab.css."""
    return gr.themes.Base(font=list(map(gr.themes.Font, SANS)), font_mono=list(map(gr.themes.Font, MONO)), radius_size="sm", spacing_size="sm")


@gradio_private.building()
def build() -> gr.Blocks:
    """All pages, to be mounted. Nothing is read from the store before somebody opens one."""
    with gr.Blocks(title="Delta Lab · Bench", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)) as demo:
        (home, page), *others = pages().items()
        page_head(home, page)
        page.build(demo)
        api.expose()
    for name, page in others:
        with demo.route(page.TITLE, name):
            page_head(name, page)
            page.build(demo)
    return demo


def page_head(name: str, module: ModuleType) -> None:
    """The bar on top of every page: where you are, the other pages, language and light or dark; before it links past it, also to what the page names in SKIPS."""
    gr.Navbar(visible=False)
    links = [[page, page if place else "./"] for place, (page, built) in enumerate(pages().items()) if getattr(built, "IN_BAR", True)]
    part("Lab.header(element, props)", value=name, pages=links, skips=getattr(module, "SKIPS", ()), elem_classes="lab-head")

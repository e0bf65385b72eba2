"""The app: one Blocks with a page per route, the theme, and the named API."""

from __future__ import annotations

import gradio as gr

from lab.ui import api
from lab.ui.bench import page as bench
from lab.ui.compare import page as compare
from lab.ui.data import page as data
from lab.ui.export import page as export
from lab.ui.library import page as library
from lab.ui.runs import page as runs
from lab.ui.sweep import page as sweep
from lab.ui.tryit import page as tryit

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

PAGES = (("Library", "library", library), ("Data", "data", data), ("Runs", "runs", runs), ("Compare", "compare", compare), ("Sweep", "sweep", sweep),
         ("Try it", "tryit", tryit), ("Export", "export", export))  # fmt: skip


def theme() -> gr.themes.Base:
    """Gradio's plain theme with system fonts, so that nothing is fetched; the rest is in shell/lab.css."""
    return gr.themes.Base(font=list(map(gr.themes.Font, SANS)), font_mono=list(map(gr.themes.Font, MONO)), radius_size="sm", spacing_size="sm")


def build() -> gr.Blocks:
    """All pages. Nothing is read from the store before somebody opens one."""
    with gr.Blocks(title="Delta Lab · Bench", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)) as demo:
        page_head("bench")
        bench.build(demo)
        api.expose()
    for name, title, page in PAGES:
        with demo.route(name, title):
            page_head(title)
            page.build(demo)
    return demo


def page_head(page: str) -> None:
    """The bar on top of every page: where you are, the other pages, language and light or dark."""
    gr.Navbar(visible=False)
    gr.HTML(value=page, html_template="", js_on_load="Lab.header(element, props.value)", elem_classes="lab-head", apply_default_css=False)

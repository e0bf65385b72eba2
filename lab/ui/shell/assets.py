"""Our styles and scripts, found by folder, and what of them goes into the head of every page. All of it is served from here."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from lab.ui.words import table

UI = Path(__file__).resolve().parents[1]
STYLES = ("lab.css", "shared.css")  # those of the shell, in this order, before those of the pages


def plotly_folder() -> Path:
    """Where the installed plotly wheel keeps plotly.min.js (found without importing plotly)."""
    return Path(importlib.util.find_spec("plotly").submodule_search_locations[0]) / "package_data"


def plotly_address() -> str:
    """Where the app serves the plotly.js that is installed here."""
    return f"gradio_api/file={(plotly_folder() / 'plotly.min.js').as_posix()}"


def styles() -> list[Path]:
    """Our style sheets: the shell's, then what lies beside each page."""
    return [UI / "shell" / name for name in STYLES] + [path for path in sorted(UI.glob("*/*.css")) if path.parent.name != "shell"]


def scripts() -> list[Path]:
    """Our scripts, modules that import each other."""
    return sorted(UI.glob("*/*.js"))


def address(path: Path) -> str:
    """Where gradio serves a file of ours, another address after each change of it."""
    return f"gradio_api/file={path.as_posix()}?v={path.stat().st_mtime_ns:x}"


def head() -> str:
    """What goes into the head of every page: our style sheets, and the table of words."""
    words = f"<script>window.LAB_WORDS={table.script_table()};window.LAB_PLOTLY={json.dumps(plotly_address())};</script>"
    return "\n".join([words, *(f'<link rel="stylesheet" href="{address(path)}">' for path in styles())])


def modules() -> str:
    """What goes in front of gradio's own script, so that every part is there before gradio calls it: scripts of this kind run in their order.

    The import map gives each the address of its present state, whatever a browser has kept of older ones.
    """
    known = {f"./{address(path).partition('?')[0]}": f"./{address(path)}" for path in scripts()}
    return "\n".join([f'<script type="importmap">{json.dumps({"imports": known})}</script>', *(f'<script type="module" src="{address(path)}"></script>' for path in scripts())])


def login_head() -> str:
    """What the page that asks for a password gets in its head: gradio's says nothing where somebody has to wait."""
    sentences = json.dumps([table.say(language, "login.wait") for language in ("en", "zh")])
    return (f"<script>(() => {{ const ask = window.fetch; window.fetch = async (...given) => {{ const told = await ask(...given); if (told.status === 429) "
            f"alert({sentences}[+(navigator.language || '').startsWith('zh')].replace('{{seconds}}', told.headers.get('retry-after'))); return told; }}; }})();</script>")  # fmt: skip

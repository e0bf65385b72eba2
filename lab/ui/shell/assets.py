"""Our styles and scripts, found by folder, and what of them goes into the head of every page. All of it is served from here."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lab.ui.words import table

UI = Path(__file__).resolve().parents[1]
STYLES = ("lab.css", "shared.css", "bin.css")  # those of the shell, in this order, before those of the pages


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


@functools.cache
def contents() -> dict[str, bytes]:
    """{folder/name: what it holds} of all of them, read once."""
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in (*styles(), *scripts())}


@functools.cache
def version() -> str:
    """A print of all of them: it stands in their addresses, so that a browser keeps them for good and takes none of an older state."""
    return hashlib.sha256(repr(sorted(contents().items())).encode()).hexdigest()[:12]


def address(path: Path) -> str:
    """Where the app serves one. What it imports lies beside it."""
    return f"parts/{version()}/{path.parent.name}/{path.name}"


async def _answer(request: Request) -> Response:
    found = contents().get(request.path_params["path"])
    if found is None:
        return Response("There is no such part.", 404)
    now = request.path_params["version"] == version()
    kind = "text/css" if request.path_params["path"].endswith(".css") else "text/javascript"
    return Response(found, media_type=kind, headers={"cache-control": "private, max-age=31536000, immutable" if now else "no-cache"})


# A route of its own: gradio's way to a file costs several times as much, and a page has some thirty of them.
ROUTE = Route("/parts/{version}/{path:path}", _answer, methods=["GET"])


def head() -> str:
    """What goes into the head of every page: our style sheets, and the table of words."""
    words = f"<script>window.LAB_WORDS={table.script_table()};window.LAB_PLOTLY={json.dumps(plotly_address())};</script>"
    return "\n".join([words, *(f'<link rel="stylesheet" href="{address(path)}">' for path in styles())])


def modules() -> str:
    """What goes in front of gradio's own script, so that every part is there before gradio calls it: scripts of this kind run in their order."""
    return "\n".join(f'<script type="module" src="{address(path)}"></script>' for path in scripts())


def login_head() -> str:
    """What the page that asks for a password gets in its head: gradio's says nothing where somebody has to wait."""
    sentences = json.dumps([table.say(language, "login.wait") for language in ("en", "zh")])
    return (f"<script>(() => {{ const ask = window.fetch; window.fetch = async (...given) => {{ const told = await ask(...given); if (told.status === 429) "
            f"alert({sentences}[+(navigator.language || '').startsWith('zh')].replace('{{seconds}}', told.headers.get('retry-after'))); return told; }}; }})();</script>")  # fmt: skip

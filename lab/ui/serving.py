"""Starting the web app: checks that give one sentence, gradio's settings, and the thread that keeps the queue going."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import socket
import threading
from pathlib import Path

from lab.design.boundary import CLOSED, VARIABLE
from lab.design.refusal import Refusal

LARGEST_UPLOAD = "512mb"  # as lab.tasks.tables.LARGEST
SHORTEST_PASSWORD = 8
BETWEEN = 0.01  # seconds between two looks at gradio's queue of events
STATIC = Path(__file__).parent / "static"
SCRIPTS = ("lab.js", "watch.js", "knobs.js", "bench.js", "costs.js", "charts.js", "memory.js", "readings.js", "list.js", "runs.js", "compare.js", "parallel.js", "export.js", "library.js", "data.js", "sweep.js", "tryit.js")
STYLES = ("lab.css", "pages.css", "more.css", "data.css")


def check_address(host: str, port: int) -> None:
    """Raise `Refusal` where nothing can listen on that host and port."""
    if not 0 < port < 65536:
        raise Refusal(f"Port must be between 1 and 65535; it is {port}.", "port")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
    except (socket.gaierror, UnicodeError):
        raise Refusal(f"There is no address '{host}' on this machine; give --host 127.0.0.1 or --host 0.0.0.0.", "host") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Refusal(f"Port {port} on {host} is in use: another lab may be running there; give another one with --port.", "port") from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise Refusal(f"Port {port} may not be used by this user; give one above 1023 with --port.", "port") from None
        raise Refusal(f"The lab cannot listen on {host}:{port} ({error.strerror}); give another --host or --port.", "host") from None


def plotly_folder() -> Path:
    """Where the installed plotly wheel keeps plotly.min.js (found without importing plotly)."""
    return Path(importlib.util.find_spec("plotly").submodule_search_locations[0]) / "package_data"


def plotly_address() -> str:
    """Where the app serves the plotly.js that is installed here."""
    return f"gradio_api/file={(plotly_folder() / 'plotly.min.js').as_posix()}"


def head() -> str:
    """What goes into every page's head: our style sheet and scripts, and the table of words. All of it is served from here."""
    from lab.ui import words

    def tag(name: str) -> str:
        path = STATIC / name
        address = f"gradio_api/file={path.as_posix()}?v={path.stat().st_mtime_ns:x}"
        return f'<link rel="stylesheet" href="{address}">' if name.endswith(".css") else f'<script src="{address}"></script>'

    table = f"<script>window.LAB_WORDS={words.script_table()};window.LAB_PLOTLY={json.dumps(plotly_address())};</script>"
    return "\n".join([table, *map(tag, STYLES), *map(tag, SCRIPTS)])


def settle_environment(home: str | os.PathLike | None) -> None:
    """Fix LAB_HOME for this process and its workers, and keep gradio at home. Raises `Refusal` for a home that cannot be written."""
    from lab.runs.home import Home

    os.environ["LAB_HOME"] = str(Home(home).path)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def check_door(auth: str, share: bool, open_paths: bool) -> tuple[str, str] | None:
    """(user, password) of `user:password`, None without. Raises `Refusal` for what would let strangers in, or let them read local files."""
    user, colon, password = auth.partition(":")
    if auth and not (user and colon and len(password) >= SHORTEST_PASSWORD):
        raise Refusal(f"Give --auth as user:password, with a password of at least {SHORTEST_PASSWORD} letters.", "auth")
    if open_paths and (auth or share):
        raise Refusal("--open-paths lets everybody who reaches the app read files of this machine, so it goes together with neither --auth nor --share.", "open_paths")
    if share and not auth:
        raise Refusal("--share gives the app an address on the internet, so it needs --auth user:password.", "share")
    return (user, password) if auth else None


def serve(host: str, port: int, home: str | os.PathLike | None = None, block: bool = True, *, auth: str = "", share: bool = False,
          open_paths: bool = False):  # fmt: skip
    """Start the app; blocks until interrupted unless `block` is False, then returns the Blocks.

    `auth`: user:password; `share`: an address on the internet through gradio's relay; `open_paths`: models and data from anywhere on
    this machine, not only from LAB_HOME and LAB_DATA.
    """
    door = check_door(auth, share, open_paths)
    check_address(host, port)
    settle_environment(home)
    os.environ.pop(VARIABLE, None) if open_paths else os.environ.__setitem__(VARIABLE, CLOSED)
    import gradio as gr
    from starlette.middleware import Middleware

    from lab.runs import Keeper, default
    from lab.ui import watching
    from lab.ui.building import build, theme
    from lab.ui.first_paint import FirstPaint
    from lab.ui.words import gradio_table
    from lab.verbs import queue

    queue().reconcile()
    keeper = Keeper(default())
    gr.set_static_paths([STATIC, plotly_folder()])
    demo = build()
    try:
        demo.launch(
            server_name=host, server_port=port, theme=theme(), app_kwargs={"middleware": [Middleware(FirstPaint, head=head())], "routes": [watching.ROUTE]}, i18n=gradio_table(), ssr_mode=False, quiet=True,
            footer_links=[], prevent_thread_lock=True, allowed_paths=[], show_error=True,
            max_file_size=LARGEST_UPLOAD, auth=door, share=share,
        )  # fmt: skip
    except OSError:
        raise Refusal(f"Port {port} on {host} is in use: another lab may be running there; give another one with --port.", "port") from None
    demo._queue.sleep_when_free = BETWEEN  # gradio looks for events every millisecond, which takes 7 % of a processor from those who train
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    print(f"Delta Lab is at http://{shown}:{port}  (stop with Ctrl-C; runs go on)", flush=True)
    if not block:
        return demo
    try:
        threading.Event().wait()
    finally:
        keeper.close()
        demo.close(verbose=False)

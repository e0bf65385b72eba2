"""Starting the web app: checks that give one sentence, gradio's settings, the server around it, and the thread that keeps the queue going."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from typing import Any
from urllib.parse import urlsplit

from lab.design.plain import plugins
from lab.design.plain.boundary import CLOSED, VARIABLE, roots
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.ui.door.settings import Settings, check_door, read

__all__ = ["Running", "Settings", "check_address", "check_door", "read", "serve", "start"]
STOP_SECONDS = 3
WARM_SECONDS = 10.0  # after which workers get their fork server: the first page comes first


def check_address(host: str, port: int) -> None:
    """Raise `Refusal` where nothing can listen on that host and port."""
    if not 0 < port < 65536:
        raise Refusal("Port must be between 1 and 65535; it is {port}.", "port", port=port)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
    except (socket.gaierror, UnicodeError):
        raise Refusal("There is no address '{host}' on this machine; give --host 127.0.0.1 or --host 0.0.0.0.", "host", host=host) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Refusal(
                "Port {port} on {host} is in use: another lab may be running there; give another one with --port.", "port", port=port, host=host
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise Refusal("Port {port} may not be used by this user; give one above 1023 with --port.", "port", port=port) from None
        raise Refusal(
            "The lab cannot listen on {host}:{port} ({reason}); give another --host or --port.", "host", host=host, port=port, reason=word(error.strerror)
        ) from None


def settle_environment(settings: Settings) -> None:
    """Fix LAB_HOME for this process and its workers, and keep gradio at home. Raises `Refusal` for a home that cannot be written."""
    from lab.runs.home import Home
    from lab.runs.scratch import scratch
    from lab.runs.warm import minutes

    home = Home(settings.home or None)
    plugins.require_home(home.path)
    roots()  # what LAB_DATA says is refused now, not with the first file
    minutes()  # and what LAB_WARM says, not with the first run
    os.environ["LAB_HOME"] = str(home.path)
    os.environ["GRADIO_TEMP_DIR"] = str(scratch(home.path) / "gradio")  # uploads, and what is handed out
    os.environ.pop("LAB_AUTH", None)  # no child needs it
    os.environ.pop(VARIABLE, None) if settings.open_paths else os.environ.__setitem__(VARIABLE, CLOSED)
    os.environ["LAB_PUSHING"] = ("all" if settings.push else "page") if settings.ours else ""  # who may send with this machine's token (lab.ui.export.pusher)
    os.environ.setdefault("LAB_DATABASE_WAIT", "3600")  # a server that starts with the app may be slower
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


class Running:
    """An app that answers, until `close`."""

    def __init__(self, settings: Settings, demo: Any, server: Any, thread: threading.Thread):
        self.settings, self.demo, self._server, self._thread = settings, demo, server, thread

    def close(self) -> None:
        """End what is open, within seconds; runs go on."""
        from lab.ui.shell import gradio_private

        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)  # answers that are cut off now are no errors
        gradio_private.close(self.demo)
        self._server.should_exit = True
        self._thread.join(timeout=STOP_SECONDS + 2)


def serve(settings: Settings | None = None, block: bool = True) -> Running | None:
    """Start the app; blocks until interrupted or told to end, unless `block` is False. `settings`: None reads the environment's.

    Raises `Refusal` where the address or the folder cannot be used.
    """
    settings = settings or read()
    check_address(settings.host, settings.port)
    settle_environment(settings)
    for name in ("SIGTERM", "SIGHUP") if block else ():
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:  # nohup
            signal.signal(getattr(signal, name), _end)
    from lab.runs import Keeper, default
    from lab.verbs import queue

    queue().reconcile()
    keeper = Keeper(default())
    running = start(settings)
    if settings.notice:
        print(settings.notice, flush=True)
    print(f"Delta Lab is at http://{_reached(settings.host)}:{settings.port}  (stop with Ctrl-C; runs go on)", flush=True)
    default().warm(after=WARM_SECONDS)
    if not block:
        return running
    try:
        threading.Event().wait()
    finally:
        keeper.close()
        running.close()


def _reached(host: str) -> str:
    """How this machine calls an address that is listened on."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host


def _end(number: int, _frame: Any) -> None:
    """Told to end: as orderly as by Ctrl-C, so that temporary files go too."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.exit(128 + number)


def start(settings: Settings) -> Running:
    """Gradio's app inside ours, behind the guard, on a server of its own thread."""
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI
    from starlette.middleware import Middleware

    from lab.ui.app import build, pages, theme
    from lab.ui.door.guard import LARGEST_UPLOAD, Guard
    from lab.ui.door.hosts import Hosts
    from lab.ui.door.wire import Wire
    from lab.ui.shell import assets, gradio_private, poll
    from lab.ui.shell.first_paint import FirstPaint
    from lab.ui.words.table import gradio_table

    gr.set_static_paths([assets.plotly_folder()])
    demo = build()
    root = urlsplit(settings.root_path).path.rstrip("/")
    names = [(name, f"{root}/{name if place else ''}") for place, name in enumerate(pages())]
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    with warnings.catch_warnings():  # gradio warns that it does not do what it was told not to do
        warnings.filterwarnings("ignore", "SSR mode")
        gr.mount_gradio_app(
            outer, demo, path="/", server_name=settings.host, server_port=settings.port, root_path=settings.root_path or None, auth=settings.door, theme=theme(), i18n=gradio_table(),
            app_kwargs={"middleware": [Middleware(FirstPaint, head=assets.head(), modules=assets.modules(), login=assets.login_head(), pages=names)], "routes": [poll.ROUTE, assets.ROUTE]}, ssr_mode=False, footer_links=[], run_history=False,
            allowed_paths=[], show_error=True, max_file_size=LARGEST_UPLOAD, enable_monitoring=False, mcp_server=settings.mcp,
        )  # fmt: skip
    tokens, cookies = gradio_private.logins(gradio_private.mounted(outer, demo))
    known = Hosts(settings.host, settings.allow_hosts)
    guard = Guard(outer, known, door=settings.door, logins=tokens, cookies=cookies,
                  proxies=settings.proxies, root=urlsplit(settings.root_path).path, framed="https://huggingface.co" if os.environ.get("SPACE_HOST") else "")  # fmt: skip
    wire = type("Wire", (Wire,), {"trusted": settings.proxies})
    server = uvicorn.Server(uvicorn.Config(guard, host=settings.host, port=settings.port, http=wire, ws="none", log_level="warning", proxy_headers=False, server_header=False,
                                           timeout_graceful_shutdown=STOP_SECONDS, lifespan="on"))  # fmt: skip
    thread = threading.Thread(target=server.run, daemon=True, name="web")
    thread.start()
    while not server.started:
        thread.join(timeout=0.01)
        if not thread.is_alive():
            raise Refusal(
                "Port {port} on {host} is in use: another lab may be running there; give another one with --port.",
                "port",
                port=settings.port,
                host=settings.host,
            )
    if settings.mcp:
        gradio_private.tools(demo, f"http://{_reached(settings.host)}:{settings.port}", settings.door)
    if settings.share:
        known.allow(_shared(settings, demo))
    return Running(settings, demo, server, thread)


def _shared(settings: Settings, demo: Any) -> str:
    """The name of a shared address, made by gradio's relay. Raises `Refusal` where there is none to be had."""
    from lab.ui.shell import gradio_private

    here = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    try:
        address = gradio_private.tunnel(demo, here, settings.port)
    except Exception as error:  # the relay's client raises many kinds
        raise Refusal("Gradio's relay gives no address ({reason}); start without --share, or try again.", "share", reason=str(error).strip()[:160]) from None
    name = address.partition("://")[2].strip("/")
    print(f"Delta Lab is also at https://{name}", flush=True)
    return name

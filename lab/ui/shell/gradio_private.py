"""Everything that the app uses of gradio without gradio promising it: attributes with an underscore, modules that are not documented, its page's markup.

It holds for the version `TESTED`, which requirements.txt pins; tests/test_gradio_private.py says what of it is gone in another one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import networking
from gradio.routes import App
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import get_upload_folder
from gradio_client import Client

from lab.design.plain.refusal import Refusal

TESTED = "6.31"
MODULE = b'<script type="module"'  # in its page: its own program, from where it starts
LOGIN = b'"auth_required":true'  # in its page that asks for a password
BETWEEN = 0.01  # seconds between two looks at its queue of events
PAGES = 512  # whose changed components are remembered; the one that was quiet for longest goes first
RESULTS = 512  # pages whose answers wait to be fetched
EVENTS = 100  # whose times are remembered


def payload(event: gr.EventData) -> dict[str, Any]:
    """What a script of ours gave to `trigger`; empty where it is no object."""
    return event._data if isinstance(event._data, dict) else {}


@contextlib.contextmanager
def building() -> Iterator[None]:
    """Blocks that are built here describe themselves and make a web app when they are mounted, once, instead of at the end of each of their pages."""
    make, describe = App.create_app, gr.Blocks.get_config_file
    App.create_app, gr.Blocks.get_config_file = staticmethod(lambda *_, **__: None), lambda _: {}
    try:
        yield
    finally:
        App.create_app, gr.Blocks.get_config_file = staticmethod(make), describe


def upload_folder() -> Path:
    """Where gradio puts uploads."""
    return Path(get_upload_folder())


def mounted(outer: Any, demo: gr.Blocks) -> Any:
    """Gradio's app, after `gr.mount_gradio_app(outer, demo)`; what `demo.launch()` would have set is set, and what it keeps is bounded."""
    demo.app = demo.server_app = outer.routes[-1].app
    demo._queue.set_server_app(demo.app)
    demo._queue.sleep_when_free = BETWEEN  # gradio looks for events every millisecond, which takes 7 % of a processor from those who train
    bound(demo.app)
    return demo.app


def logins(app: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    """(tokens of those who have logged in, with their users; the names of the cookies that hold one)."""
    return app.tokens, tuple(f"{name}-{app.cookie_id}" for name in ("access-token", "access-token-unsecure"))


def close(demo: gr.Blocks) -> None:
    """End its queue and the heartbeats of open pages."""
    demo._queue.close()
    demo.is_running = False
    demo.app.stop_event.set()


def tunnel(demo: gr.Blocks, host: str, port: int) -> str:
    """An address on the internet by gradio's relay. Raises many kinds of errors."""
    return networking.setup_tunnel(local_host=host, local_port=port, share_token=demo.share_token, share_server_address=None, share_server_tls_certificate=None)


def tools(demo: gr.Blocks, address: str, door: tuple[str, str] | None) -> None:
    """Give gradio's MCP server, which calls the app over HTTP, the app's own address and its password. Raises Refusal where gradio could not start it."""
    server = getattr(demo, "mcp_server_obj", None)
    if server is None:
        raise Refusal("--mcp could not start: {reason}.", "mcp", reason=str(getattr(demo, "mcp_error", "") or "gradio says nothing")[:200])
    quiet = {"download_files": False, "verbose": False, "analytics_enabled": False, "_skip_components": False}
    server._client_instance = Client(address, auth=door, headers={"x-gradio-user": "mcp"}, **quiet)


class Session(SessionState):
    """A page's changed components. What links to a page's whole state would need is not kept: the lab puts designs into addresses itself."""

    def __init__(self, blocks: Any):
        self.blocks_config = copy(blocks.default_config)
        self.config_values = {}
        self.state_data: dict[int, Any] = {}
        self._state_ttl = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 3600

    def _update_config(self, key: int) -> None:
        """Nothing: see above."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Nothing: see above."""


class Sessions(StateHolder):
    """At most `PAGES` sessions."""

    def __getitem__(self, session_id: str) -> Session:
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        return super().__getitem__(session_id)


def bound(app: Any) -> None:
    """Bound what a gradio app keeps for pages and calls, before the first request: by itself it keeps a copy of every component's settings
    for 10,000 pages, 0.24 MB each."""
    blocks = app.get_blocks()
    blocks.state_session_capacity = PAGES
    app.state_holder = Sessions()
    app.state_holder.set_blocks(blocks)
    queue = blocks._queue
    queue.pending_messages_per_session = type(queue.pending_messages_per_session)(RESULTS)
    queue.pending_event_ids_session = type(queue.pending_messages_per_session)(2 * RESULTS)
    queue.ANALYTICS_MAX_EVENTS = EVENTS

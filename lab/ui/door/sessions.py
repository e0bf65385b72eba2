"""What gradio keeps for each page that asks, bounded: by itself it keeps a copy of every component's settings for 10,000 of them, 0.24 MB each."""

from __future__ import annotations

from copy import copy
from typing import Any

from gradio.state_holder import SessionState, StateHolder

PAGES = 512  # whose changed components are remembered; the one that was quiet for longest goes first
RESULTS = 512  # pages whose answers wait to be fetched
EVENTS = 100  # whose times are remembered


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
    """Bound what a gradio app keeps for pages and calls. Before the first request."""
    blocks = app.get_blocks()
    blocks.state_session_capacity = PAGES
    app.state_holder = Sessions()
    app.state_holder.set_blocks(blocks)
    queue = blocks._queue
    queue.pending_messages_per_session = type(queue.pending_messages_per_session)(RESULTS)
    queue.pending_event_ids_session = type(queue.pending_messages_per_session)(2 * RESULTS)
    queue.ANALYTICS_MAX_EVENTS = EVENTS

"""Slow questions wait in a lane of their own, not on the threads that answer knobs: a few are asked at once, first come first served, some wait.

server_functions=[PLANS(plan, lambda words: {"html": words}, first=announce)]
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import anyio

from lab.ui.words.table import language_asked, say


class Lane:
    """`at_once`: questions that are being answered; `waiting`: that may wait besides."""

    def __init__(self, at_once: int, waiting: int):
        self.at_once, self.waiting = at_once, waiting
        self.inside = 0
        self._places: anyio.CapacityLimiter | None = None

    def __call__(self, function: Callable[[Any], Any], busy: Callable[[str], Any], first: Callable[[Any], None] | None = None) -> Callable:
        """`function(asked)` as a coroutine in this lane. `busy(sentence)`: the answer where too many wait; `first(asked)` is called before it waits."""

        @functools.wraps(function)
        async def waited(asked: Any = None) -> Any:
            if first is not None:
                first(asked)
            if self.inside >= self.at_once + self.waiting:
                return busy(say(language_asked(asked), "busy"))
            self._places = self._places or anyio.CapacityLimiter(self.at_once)
            self.inside += 1
            try:
                return await anyio.to_thread.run_sync(function, asked, limiter=self._places)
            finally:
                self.inside -= 1

        return waited


PLANS, FILES = Lane(4, 60), Lane(2, 30)

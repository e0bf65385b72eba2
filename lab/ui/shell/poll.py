"""What open pages ask once a second, answered once for all who ask the same.

A page tells by a mark what it shows and gets what has changed since. Many pages that look at the same runs move from mark to mark
together, because for `STEADY` seconds they are told of the same version of the store: the first one's answer is everybody's, and
watching costs a lookup. The answer is JSON text: gradio walks through every number of anything else.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal
from lab.runs import default
from lab.runs.database import StoreGone, reason_of
from lab.ui.shell.json_text import text
from lab.ui.words.refusals import refused
from lab.ui.words.table import language_asked

STEADY = 0.5  # seconds
LARGEST = 65_536  # bytes of a question
KEPT = 64  # answers

Update = tuple[dict[str, Any], str]  # what changed by part of the page, and a mark of what is shown
Look = Callable[[dict[str, Any], "Seen", str], Update]


@dataclass(frozen=True)
class Seen:
    """What a page shows already: the store's version then (None: nothing), the page's own mark; `chose`: other things shall be shown."""

    before: int | None
    mark: str
    chose: bool


class _Steady:
    """The version of the store, read at most once in `STEADY` seconds, or now for somebody who has just done something."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._store: Any = None
        self._version, self._until = -1, 0.0

    def known(self) -> int | None:
        """The version without reading; None where it must be read."""
        return self._version if self._store is default().store and time.monotonic() < self._until else None

    def version(self, now: bool) -> int:
        """The version, from the store where it is not known or where what has just been done must be in it."""
        with self._lock:
            known = None if now else self.known()
            if known is None:
                self._store = default().store
                self._version = known = self._store.store_version()
                self._until = time.monotonic() + STEADY
            return known


STORE = _Steady()


class _Watched:
    """A page's question as its script asks it: {"chosen": {...}, "seen", "language"} → JSON text {"parts", "seen"}, "" for nothing new.

    "chose": `chosen` is another choice than the last time; "did": something has just been done, so that the store is read now.
    `look(chosen, seen, language)` finds the parts that have changed since `seen`.
    """

    def __init__(self, look: Look):
        self._look = look
        self._answers: OrderedDict[bytes, Future[str]] = OrderedDict()
        self._lock = threading.Lock()

    def ready(self, asked: dict[str, Any]) -> str | None:
        """The answer, where neither the store nor anybody else needs to be waited for."""
        version = None if asked["now"] else STORE.known()
        if version is None or self._nothing_new(asked, version):
            return None if version is None else ""
        found = self._answers.get(self._key(asked, version))
        return found.result() if found is not None and found.done() and found.exception() is None else None

    def answer(self, asked: dict[str, Any]) -> str:
        """The answer. Any thread may ask; while it is being made, those who ask the same wait for it."""
        version = STORE.version(asked["now"])
        if self._nothing_new(asked, version):
            return ""
        key = self._key(asked, version)
        with self._lock:
            found = self._answers.get(key)
            mine = found is None
            if mine:
                found = self._answers[key] = Future()
                while len(self._answers) > KEPT:
                    self._answers.popitem(last=False)
        if mine:
            try:
                before, _, mark = asked["seen"].partition("|")
                seen = Seen(int(before) if before.isdecimal() and len(before) < 19 else None, mark, asked["chose"])
                parts, mark = self._look(asked["chosen"], seen, asked["language"])
                found.set_result(text({"parts": parts, "seen": f"{version}|{mark}"}))
            except BaseException as problem:
                with self._lock:
                    self._answers.pop(key, None)
                found.set_exception(problem)
        return found.result()

    @staticmethod
    def _nothing_new(asked: dict[str, Any], version: int) -> bool:
        return asked["seen"].partition("|")[0] == str(version) and not asked["chose"]

    @staticmethod
    def _key(asked: dict[str, Any], version: int) -> bytes:
        return hashlib.sha256(text([id(default().store), version, *(asked[name] for name in ("seen", "chose", "language", "chosen"))]).encode()).digest()


def _question(asked: Any) -> dict[str, Any]:
    """A question with every part of the kind that it must have, whatever was sent."""
    asked = asked if isinstance(asked, Mapping) else {}
    chosen, seen, chose = asked.get("chosen"), asked.get("seen"), bool(asked.get("chose"))
    seen = seen if isinstance(seen, str) else ""
    return {
        "chosen": chosen if isinstance(chosen, dict) else {},
        "seen": seen,
        "chose": chose,
        "language": language_asked(asked),
        "now": chose or not seen or bool(asked.get("did")),
    }


_PAGES: dict[str, _Watched] = {}


def watched(name: str) -> Callable[[Look], Look]:
    """Let the page `name` ask what has changed of it: the function finds out."""

    def register(look: Look) -> Look:
        _PAGES[name] = _Watched(look)
        return look

    return register


async def _answer(request: Request) -> Response:
    """POST look/<page>: 200 with what changed, 204 where nothing has, 503 and a sentence where the store is away."""
    page = _PAGES.get(request.path_params["page"])
    if page is None:
        return Response("There is no such page.", 404)
    if not request.headers.get("content-type", "").startswith("application/json"):  # what a form of another site cannot send unasked
        return Response("Ask in JSON.", 415)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            return Response(f"A question has at most {LARGEST:,} bytes.", 413)
    try:
        asked = _question(json.loads(body))
    except (ValueError, RecursionError):
        return Response("This is no JSON.", 400)
    try:
        answer = page.ready(asked)  # mostly there: no thread is woken for it
        if answer is None:
            answer = await run_in_threadpool(page.answer, asked)
    except SQLAlchemyError as problem:
        return Response(
            refused(asked["language"], Refusal("The store cannot be read just now ({reason}); the page asks again.", reason=word(reason_of(problem)))), 503
        )
    except StoreGone as problem:
        return Response(refused(asked["language"], problem), 503)
    return Response(answer, media_type="application/json") if answer else Response(status_code=204)


# A route of its own: gradio's way to a function of the server takes three times as long, and every open page goes it once a second.
ROUTE = Route("/look/{page}", _answer, methods=["POST"])

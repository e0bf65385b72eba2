"""The outermost layer of the app: nothing reaches gradio, and no body is read, before a request has passed here.

In this order: a name that the app answers to; a page of ours, or a program; who has logged in, where there is a password; a body of a size
that the address takes. Answers of gradio lose what would let pages of other sites read them, and cookies stay with our own pages.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import cookie_parser

from lab.ui.door import hosts
from lab.ui.door.hosts import Hosts
from lab.ui.door.throttle import Throttle

KIB, MIB = 1024, 1024 * 1024
SMALL, LOGIN, CALL = 64 * KIB, 8 * KIB, 2 * MIB  # bytes of a body: usual, user and password, a call of a function
LARGEST_UPLOAD = 512 * MIB  # of a file, as lab.tasks.tables.LARGEST; the parts around it take up to a MiB
CALLS = re.compile(r"/gradio_api/(component_server|queue/join|call|run|api|mcp)(/|$)")
# Doors of gradio that no page of ours uses: they fetch from elsewhere, write files, or show what is inside.
CLOSED = re.compile(
    r"/gradio_api/(proxy=|file[=/]https?:|(undo-)?vibe-|profiling/|process_recording|deep_link|run-history|runs(/|$)|stream/|custom_component/|dev/)|/monitoring(/|$)",
    re.I,
)
# What somebody without a password may see where there is one: the page that asks for it, and what gradio's page needs to show that.
OPEN = re.compile(
    r"/(login/?|logout/?|[a-z]*/?|assets/.*|static/.*|svelte/.*|favicon\.ico|robots\.txt|manifest\.json|theme\.css|pwa_icon.*|gradio_api/(theme\.css|user/?|token/?|app_id/?|login_check/?))"
)
NO_PAGE = re.compile(r"/(gradio_api/|look/|parts/|logout|config|login)", re.I)
FORWARDED = (b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-for", b"x-forwarded-port", b"x-forwarded-prefix", b"x-gradio-server", b"forwarded")
SAFE = ("GET", "HEAD")
KEPT_LOGINS = 1000
FRAMES, RESOURCES = (b"content-security-policy", b"frame-ancestors 'self'"), (b"cross-origin-resource-policy", b"same-origin")


class Guard:
    """ASGI around `app`. `door`: (user, password) or None; `logins`: gradio's own {token: user}, `cookies`: the names of its cookies.

    `proxies`: networks whose X-Forwarded-* are believed; from everybody else they are taken away. `root`: the path that a proxy puts the app
    under, taken off where the proxy does not. `framed`: another site (a Space's) whose pages may show the app inside themselves.
    """

    def __init__(self, app: Any, known: Hosts, *, door: tuple[str, str] | None = None, logins: dict[str, str] | None = None, cookies: tuple[str, ...] = (),
                 proxies: tuple[str, ...] = (), root: str = "", framed: str = "", throttle: Throttle | None = None):  # fmt: skip
        self.app, self.known, self.door, self.proxies = app, known, door, proxies
        self.logins, self.cookies = {} if logins is None else logins, cookies
        self.throttle = throttle or Throttle()
        self.root, self.framed = root.rstrip("/"), framed
        self.headers = ((FRAMES[0], FRAMES[1] + f" {framed}".encode()), RESOURCES) if framed else (FRAMES, RESOURCES)

    async def __call__(self, scope: Any, receive: Callable, send: Callable) -> None:
        """Refuse with one plain sentence, or hand on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no page of ours opens a web socket
            await send({"type": "websocket.close", "code": 1008})
            return
        scope = self._inside(self._as_told(scope))
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        method, path = scope["method"], scope["path"]
        login = method == "POST" and path.rstrip("/") == "/login"
        refused = self._refused(headers, method, path) or self._too_early(scope, login)
        if refused is None and self.door and not login:
            scope, refused = self._admitted(scope, headers, method, path)
        if refused is None:
            limit = _limit(method, path, headers.get("content-type", ""))
            length = headers.get("content-length", "0")
            if not (length.isascii() and length.isdecimal()) or int(length[:20]) > limit:
                refused = (413, f"At most {limit:,} bytes may be sent here.", ())
        if refused is not None:
            await _say(send, *refused)
            return
        if login and self.door:
            self.throttle.tried(_caller(scope))
        await self._pass(scope, receive, send, limit, login)

    # -- what is refused -----------------------------------------------------------------------------------------------------------------

    def _as_told(self, scope: Any) -> Any:
        """The scope as the client sees it where a proxy that is believed says so; else without what only a proxy may say."""
        given = scope["headers"]
        if not any(key in FORWARDED for key, _ in given):
            return scope
        kept = [(key, value) for key, value in given if key not in FORWARDED]
        if not hosts.is_of(_caller(scope), self.proxies):
            return {**scope, "headers": kept}
        forwarded = {key: value.rpartition(b",")[2].strip() for key, value in given if key in FORWARDED}
        scope = {**scope}
        if forwarded.get(b"x-forwarded-host"):
            kept = [(b"host", forwarded[b"x-forwarded-host"]), *((key, value) for key, value in kept if key != b"host")]
        if forwarded.get(b"x-forwarded-proto") in (b"http", b"https"):
            scope["scheme"] = forwarded[b"x-forwarded-proto"].decode()
            kept.append((b"x-forwarded-proto", forwarded[b"x-forwarded-proto"]))  # gradio reads it itself
        through = [one.strip().decode("latin-1") for key, value in given if key == b"x-forwarded-for" for one in value.split(b",") if one.strip()]
        caller = next((one for one in reversed(through) if not hosts.is_of(hosts.split(one)[0], self.proxies)), through[0] if through else "")
        if hosts.address_of(
            hosts.split(caller)[0].partition("%")[0]
        ):  # each proxy adds whom it was called by: the last that is none of ours; a word is nobody's
            scope["client"] = (caller, 0)
        return {**scope, "headers": kept}

    def _inside(self, scope: Any) -> Any:
        """The scope without the path that the app is under."""
        path, raw = scope["path"], scope.get("raw_path", scope["path"].encode())
        while self.root and (path == self.root or path.startswith(self.root + "/")):  # gradio takes it off too
            path, raw = path[len(self.root) :], raw[len(self.root.encode()) :]
        return {**scope, "path": path, "raw_path": raw}

    def _refused(self, headers: Mapping[str, str], method: str, path: str) -> tuple | None:
        host = headers.get("host", "")
        if not self.known.knows(host):
            name = "".join(letter for letter in host[:80] if letter.isprintable())
            return 403, f"This lab does not answer to the name '{name}'; start it with --allow-host and the name that browsers use for it.", ()
        if not path and method in SAFE:
            return 308, "", ((b"location", f"{self.root}/".encode()),)
        if CLOSED.match(path) or not path.startswith("/"):
            return 404, "There is nothing here.", ()
        if method not in SAFE:
            return None if hosts.may_change(headers, host, self.known) else (403, "Pages of other sites may not act on this lab.", ())
        if hosts.foreign(headers, host, self.known):
            destinations = ("document", "iframe") if self.framed else ("document",)  # a link that leads here is followed
            if headers.get("sec-fetch-mode") != "navigate" or headers.get("sec-fetch-dest") not in destinations or NO_PAGE.match(path):
                return 403, "Pages of other sites may not read this lab.", ()
        return None

    def _too_early(self, scope: Any, login: bool) -> tuple | None:
        wait = math.ceil(self.throttle.wait(_caller(scope))) if login and self.door else 0
        return (429, f"Too many wrong passwords: wait {wait} seconds.", ((b"retry-after", str(wait).encode()),)) if wait else None

    def _admitted(self, scope: Any, headers: Mapping[str, str], method: str, path: str) -> tuple[Any, tuple | None]:
        """The scope of who is known (by cookie, or by Authorization: Basic, which gets a cookie for this request) and None; else why not."""
        if self._known(headers.get("cookie", "")) or method in SAFE and OPEN.fullmatch(path):
            return scope, None
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic" and self.cookies:
            if early := self._too_early(scope, True):
                return scope, early
            caller = _caller(scope)
            self.throttle.tried(caller)
            if self._is_password(value):
                self.throttle.right(caller)
                token = next((token for token, user in self.logins.items() if token.startswith("basic-")), None) or f"basic-{secrets.token_urlsafe(16)}"
                self.logins[token] = self.door[0]
                return {
                    **scope,
                    "headers": [*((key, text) for key, text in scope["headers"] if key != b"cookie"), (b"cookie", f"{self.cookies[0]}={token}".encode())],
                }, None
        return scope, (401, "Log in first.", ())

    def _known(self, cookie: str) -> bool:
        given = cookie_parser(cookie)
        return any(given.get(name) in self.logins for name in self.cookies)

    def _is_password(self, value: str) -> bool:
        try:
            user, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, ValueError):
            return False
        right = secrets.compare_digest(user.encode(), self.door[0].encode()) & secrets.compare_digest(password.encode(), self.door[1].encode())
        return bool(right)

    # -- what is handed on ---------------------------------------------------------------------------------------------------------------

    async def _pass(self, scope: Any, receive: Callable, send: Callable, limit: int, login: bool) -> None:
        read, begun, over = 0, False, False

        async def counted() -> Any:
            nonlocal read, over
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > limit and not over:
                    over = True
                    if not begun:
                        await _say(send, 413, f"At most {limit:,} bytes may be sent here.", ())
            return {"type": "http.disconnect"} if over else message

        async def settled(message: Any) -> None:
            nonlocal begun
            if over:
                return
            if message["type"] == "http.response.start":
                begun = True
                if login and self.door and message["status"] < 300:
                    self.throttle.right(_caller(scope))
                    while len(self.logins) > KEPT_LOGINS:
                        del self.logins[next(iter(self.logins))]
                message = {
                    **message,
                    "headers": [*(_own(key, value) for key, value in message["headers"] if not key.lower().startswith(b"access-control-")), *self.headers],
                }
            await send(message)

        try:
            await self.app(scope, counted, settled)
        except Exception:
            if not over:  # else gradio stumbled over a body that was cut off
                raise


def _own(key: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header with cookies kept to our own pages: gradio's goes out with requests that other sites make."""
    if key.lower() != b"set-cookie":
        return key, value
    parts = [part for part in value.split(b"; ") if not part.lower().startswith(b"samesite=")]
    return key, b"; ".join([*parts, b"SameSite=Lax"])


def _limit(method: str, path: str, kind: str) -> int:
    """Bytes that a body may have."""
    if method in SAFE:
        return 0
    if path.rstrip("/") == "/login":
        return LOGIN
    if path.rstrip("/") == "/gradio_api/upload":
        return LARGEST_UPLOAD + MIB
    return CALL if CALLS.match(path) else SMALL


def _caller(scope: Any) -> str:
    return str((scope.get("client") or ("nobody",))[0])


async def _say(send: Callable, status: int, words: str, more: tuple) -> None:
    """One sentence, and the line is closed: what else was sent is not read."""
    body = words.encode("utf-8")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()), (b"x-content-type-options", b"nosniff"),
               (b"connection", b"close"), FRAMES, RESOURCES, *more]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

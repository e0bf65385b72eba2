"""Our style sheet and scripts in the page as it is sent, before gradio's own: no flash of another look, and no race between scripts.

Gradio adds what `launch(head=)` names only when its own program has started. This puts it into the HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.ui.shell import lost
from lab.ui.shell.gradio_private import LOGIN, MODULE


class FirstPaint:
    """ASGI middleware that writes `head` into every HTML page, in front of </head>, and `modules` in front of the first script that is a module;
    `login` alone into the page that asks for a password. `pages`, (name, address) of ours, stand on the page that a browser gets for an address that is none."""

    def __init__(self, app: Any, head: str, modules: str = "", login: str = "", pages: Sequence[tuple[str, str]] = ()):
        self.app, self.pages = app, pages
        self.head, self.modules, self.login = head.encode("utf-8"), modules.encode("utf-8"), login.encode("utf-8")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass everything on; hold back HTML until it is whole."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        begin: dict[str, Any] = {}
        body = bytearray()
        nothing: list[bool] = []  # the answer was that there is none

        async def watch(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] == 404 and lost.wanted(scope):
                nothing.append(True)
                whole = lost.page(scope, self.pages)
                await send({**message, "headers": [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(whole)).encode()),
                                                   (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin")]})  # fmt: skip
                await send({"type": "http.response.body", "body": whole})
            if nothing:
                return
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                message = {**message, "headers": [*message["headers"], (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin")]}
                if headers.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in headers and b"content-disposition" not in headers:
                    begin.update(message)
                    return
            if not begin or message["type"] != "http.response.body":
                await send(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                whole = bytes(body).replace(b"</head>", (self.login if LOGIN in body else self.head) + b"</head>", 1)
                if LOGIN not in body:
                    place = MODULE if MODULE in whole else b"</head>"
                    whole = whole.replace(place, self.modules + place, 1)
                kept = [(key, value) for key, value in begin["headers"] if key != b"content-length"]
                await send({**begin, "headers": [*kept, (b"content-length", str(len(whole)).encode())]})
                await send({"type": "http.response.body", "body": whole})

        await self.app(scope, receive, watch)

"""The page for an address that is none of ours: a sentence and the way back, in the reader's language, light or dark as the system is."""

from __future__ import annotations

from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any

from lab.ui.shell.markup import esc
from lab.ui.words.table import LANGUAGES, say

STYLE = """:root{color-scheme:light dark}body{margin:0;font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC","Microsoft YaHei",sans-serif;
background:light-dark(#f5f6f8,#0f1319);color:light-dark(#18202b,#e4e9f0)}main{max-width:560px;margin:12vh auto 0;padding:22px 26px;border-radius:10px;overflow-wrap:anywhere;
background:light-dark(#fff,#171c24);border:1px solid light-dark(#dce0e7,#2a323e)}h1{font-size:19px;margin:0 0 8px}p{margin:0 0 14px}ul{display:flex;flex-wrap:wrap;gap:8px 16px;list-style:none;margin:0;padding:0}
a{color:light-dark(#1d63d8,#6ea8ff)}"""


def page(scope: Any, pages: Sequence[tuple[str, str]]) -> bytes:
    """The whole page as HTML. `pages`: (name, address from the root) of those that there are."""
    language = _language(scope)
    links = "".join(f'<li><a href="{esc(to)}">{esc(say(language, "page." + name))}</a></li>' for name, to in pages)
    title = esc(say(language, "lost.title"))
    lang = "zh-CN" if language == "zh" else "en"
    return (
        f'<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Delta Lab · {title}</title>'
        f"<style>{STYLE}</style></head><body><main><h1>{title}</h1><p>{esc(say(language, 'lost.text'))}</p><nav><ul>{links}</ul></nav></main></body></html>"
    ).encode()


def wanted(scope: Any) -> bool:
    """Whether it is a person with a browser who asked: programs get what they got."""
    headers = dict(scope["headers"])
    return b"text/html" in headers.get(b"accept", b"") and not scope["path"].startswith("/gradio_api")


def _language(scope: Any) -> str:
    headers = dict(scope["headers"])
    try:
        chosen = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get("lab_language")
    except CookieError:
        chosen = None
    if chosen is not None and chosen.value in LANGUAGES:
        return chosen.value
    return "zh" if headers.get(b"accept-language", b"").strip().lower().startswith(b"zh") else "en"

"""Markdown as HTML: the notes of a run, which may come from somebody else. It gives markup alone: no raw HTML, no picture or other thing that is fetched."""

from __future__ import annotations

import functools
from typing import Any

from markdown_it import MarkdownIt

from lab.ui.shell.markup import esc

SCHEMES = ("http://", "https://", "mailto:")  # of the addresses that a link may have; one of another stays text
TOP = 3  # below which the headings of a text are, on a page that has headings of its own
KEPT = 32  # texts whose HTML is remembered


class _Reader(MarkdownIt):
    """CommonMark with tables and struck text. `html` is off: a tag is text."""

    def __init__(self) -> None:
        super().__init__("commonmark", {"html": False, "breaks": True})
        self.enable(["table", "strikethrough"])
        for name, rule in (("image", _picture), ("link_open", _link), ("heading_open", _heading), ("heading_close", _heading)):
            self.add_render_rule(name, rule)

    def validateLink(self, url: str) -> bool:  # the library's own hook
        return url.lower().startswith(SCHEMES)


def _picture(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    """Its words and, on hover, its address: a picture of elsewhere would tell its owner who looks."""
    token = tokens[index]
    words = renderer.renderInlineAsText(token.children, options, env) or token.attrGet("src")
    return f'<span class="lab-picture" title="{esc(token.attrGet("src"))}">{esc(words)}</span>'


def _link(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    """Where it leads is on hover, whatever its words are; the other side learns nothing of this one."""
    token = tokens[index]
    for name, value in (("title", token.attrGet("href")), ("target", "_blank"), ("rel", "noopener noreferrer nofollow")):
        token.attrSet(name, str(value))
    return str(renderer.renderToken(tokens, index, options, env))


def _heading(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    token.tag = f"h{min(6, int(token.tag[1:]) + TOP)}"
    return str(renderer.renderToken(tokens, index, options, env))


@functools.cache
def _reader() -> _Reader:
    return _Reader()


@functools.lru_cache(KEPT)
def markdown(text: str) -> str:
    """The HTML of a text in Markdown. Everything in it that is not markup is escaped, and it fetches nothing when it is shown."""
    return str(_reader().render(text))

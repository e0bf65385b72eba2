"""Notes of a run in Markdown: read as markup and nothing else, whoever wrote them. The export's card has them as they are: tests/test_export.py."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from lab.ui.runs import page
from lab.ui.shell.markdown import markdown

HOSTILE = {
    "tag": "<script>alert(1)</script>", "handler": '<img src=x onerror="alert(1)">', "split tag": "<scr\n<b>ipt>alert(1)</scr>", "svg": "<svg/onload=alert(1)>",
    "comment": "<!--><img src=x onerror=alert(1)>-->", "javascript": "[a](javascript:alert(1))", "spelt": "[a](JaVaScRiPt:alert(1))", "entity": "[a](&#106;avascript:alert(1))",
    "tabbed": "[a](java&Tab;script:alert(1))", "escaped": "[a](java\\script:alert(1))", "vbscript": "[a](vbscript:x)", "data": "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "automatic": "<javascript:alert(1)>", "reference": "[a]\n\n[a]: javascript:alert(1)", "title": '[a](https://a.test "\\" onmouseover=\\"alert(1)")', "address": '[a](https://a.test/"onmouseover="alert(1))',
    "own page": "[a](runs?run=x)", "other host": "[a](//evil.test/x)", "picture": "![a](https://evil.test/x.png)", "picture of data": "![a](data:image/svg+xml;base64,PHN2Zz4=)",
    "picture's words": '![<img src=x onerror=alert(1)>"](https://evil.test/"x)', "linked picture": "[![a](https://evil.test/x.png)](https://b.test)", "fence": '```"><img src=x onerror=alert(1)>\n</code><script>\n```',
    "table": "| <b onclick=alert(1)>x</b> |\n|---|\n| [a](javascript:alert(1)) |", "style": '<style>@import "http://evil.test"</style>', "form": '<form action="https://evil.test"><input>',
}  # fmt: skip
ALLOWED = {
    "p",
    "br",
    "a",
    "span",
    "strong",
    "em",
    "s",
    "code",
    "pre",
    "blockquote",
    "ul",
    "ol",
    "li",
    "hr",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "h4",
    "h5",
    "h6",
}
ATTRIBUTES = {"href", "title", "target", "rel", "class", "style", "start"}


class _Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.mark.parametrize("kind", HOSTILE)
def test_notes_are_markup_alone(kind):
    """No element, attribute or address that does something comes out of notes, nothing is fetched, and their words are still there to read."""
    html = markdown(HOSTILE[kind])
    for tag, attributes in _Elements(html).found:
        assert tag in ALLOWED and set(attributes) <= ATTRIBUTES, html
        assert attributes.get("href", "https://").startswith(("http://", "https://", "mailto:")), html
        assert re.fullmatch("text-align:(left|right|center)", attributes.get("style", "text-align:left")), html
        assert tag != "a" or attributes["rel"] == "noopener noreferrer nofollow" and attributes["title"] == attributes["href"]
    assert html.count("<") >= 2


def test_notes_read_as_they_are_written():
    html = markdown("# A\n\nb **c**\nd\n\n- [e](https://f.test)\n\n| g |\n|--:|\n| 1 |\n\n###### h")
    assert [tag for tag, _ in _Elements(html).found] == ["h4", "p", "strong", "br", "ul", "li", "a", "table", "thead", "tr", "th", "tbody", "tr", "td", "h6"]
    assert markdown("") == ""


def test_what_is_wrong_with_notes_is_told_in_the_preview():
    assert page.read({"text": "**a**"}) == {"html": "<p><strong>a</strong></p>\n"}
    for wrong in ({"text": "a" * 20001}, {"text": None}, None, [], {"text": "\x1b[31m"}):
        assert page.read(wrong)["wrong"].startswith("Notes must")

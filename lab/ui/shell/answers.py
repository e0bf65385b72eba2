"""What a model made of a text, as pages show it: bars of labels, a number, or what it wrote."""

from __future__ import annotations

from typing import Any

from lab.design.plain import numbers
from lab.tasks.families.multi_label import THRESHOLD
from lab.ui.shell.markup import esc
from lab.ui.words.table import say

SHOWN_LABELS = 8


def side(title: str, of: str, answer: dict[str, Any], language: str) -> str:
    """With Δ or without (`of`: on or off), under the words of a title."""
    return f'<section class="{of}"><h4>{esc(say(language, title))}</h4>{_answer(answer["kind"], answer[of], language)}</section>'


def _answer(kind: str, value: Any, language: str) -> str:
    if kind in ("labels", "several"):
        most = max(SHOWN_LABELS, sum(share >= THRESHOLD for _, share in value)) if kind == "several" else SHOWN_LABELS
        given = lambda share: "given" if kind == "several" and share >= THRESHOLD else ""  # noqa: E731
        bars = "".join(
            f'<tr class="{given(share)}"><th scope="row">{esc(name)}</th><td><span class="lab-share-bar"><i style="width:{100 * share:.1f}%"></i></span></td><td class="right num" title="{share!r}">{100 * share:.1f} %</td></tr>'
            for name, share in value[:most]
        )
        note = f'<p class="lab-muted">{esc(say(language, "try.several"))}</p>' if kind == "several" else ""
        return f'<table class="lab-labels"><tbody>{bars}</tbody></table>{note}'
    if kind == "number":
        return f'<p class="lab-count">{esc(numbers.number(float(value), 4))}</p>'
    return f"<blockquote>{esc(value)}</blockquote>" if value else f'<p class="lab-muted">{esc(say(language, "try.nothing"))}</p>'

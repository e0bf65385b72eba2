"""Small pieces of HTML. Every text that comes from outside goes through `esc`."""

from __future__ import annotations

import html
from typing import Any

from lab.design.plain import numbers
from lab.ui.words.table import say, time_words


def esc(text: Any) -> str:
    """Text as HTML, safe in elements and in quoted attributes."""
    return html.escape(str(text), quote=True)


def exact(rounded: str, value: Any, css: str = "num") -> str:
    """A rounded number with its exact value on hover."""
    whole = f"{value:,}" if isinstance(value, int) else f"{value!r}"
    return f'<span class="{css}" title="{esc(whole)}">{esc(rounded)}</span>'


def weights(value: int | None, css: str = "num") -> str:
    """A number of weights: 1.33 M."""
    return exact(numbers.weights(value), value, css) if value is not None else numbers.UNKNOWN


def memory(value: float | None) -> str:
    """Bytes: 22.3 GB."""
    return exact(numbers.memory(value), int(value)) if value is not None else numbers.UNKNOWN


def percent(value: float | None, css: str = "num") -> str:
    """A share in percent."""
    return exact(numbers.percent(value), float(value), css) if value is not None else numbers.UNKNOWN


def number(value: float | None, digits: int = 4) -> str:
    """Any other number."""
    return exact(numbers.number(value, digits), value) if value is not None else numbers.UNKNOWN


def duration(language: str, seconds: float | None) -> str:
    """A time span: 4 min 12 s."""
    return exact(time_words(language, seconds), round(float(seconds), 3)) if seconds is not None else numbers.UNKNOWN


def energy(joules: float | None) -> str:
    """Joules: 1.24 kJ."""
    return exact(numbers.energy(joules), round(float(joules), 1)) if joules is not None else numbers.UNKNOWN


def state_badge(state: str, language: str) -> str:
    """The state of a run as a coloured badge that always has the word."""
    return f'<span class="lab-state {esc(state)}">{esc(say(language, "state." + state))}</span>'


def empty(language: str, key: str, **values: Any) -> str:
    """What an empty place says: what to do next."""
    return f'<div class="lab-empty"><p>{esc(say(language, key, **values))}</p></div>'

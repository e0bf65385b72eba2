"""What one cell of a table is: missing, text, or a label. Every reader of rows asks here before it makes text of a value. Torch-free."""

from __future__ import annotations

import datetime
import decimal
import fractions
import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from lab.design.plain.refusal import Refusal

NOT_A_NUMBER = frozenset({"nan", "NaN", "NAN", "NaT", "<NA>"})  # what pandas and numpy write for a missing value that was made text
MAYBE_NOTHING = frozenset({"None", "none", "null", "NULL", "Null", "N/A", "n/a", "#N/A", "NA"})  # words that may stand for a missing value, and may be meant
HALVES = re.compile("[\ud800-\udfff]")  # of letters, which surrogates are
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")


MOST_COLUMNS = 2000  # of a table that is read


def require_narrow(columns: int, name: str) -> None:
    """Raise Refusal for more columns than a table has that somebody made: what is done for each of them would take for ever."""
    if columns > MOST_COLUMNS:
        raise Refusal("{name} has {columns:,} columns; at most {most:,} are read.", "file", name=name, columns=columns, most=MOST_COLUMNS)


class NoText(ValueError):
    """A value that is no single text; its message says what it is instead: a list, an object, bytes."""


def missing(value: Any) -> bool:
    """Whether a cell holds no value: null, NaN, NaT, blank text, or NaN written as text."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value.strip() or value.strip() in NOT_A_NUMBER
    if isinstance(value, float):
        return value != value
    if isinstance(value, decimal.Decimal):
        return value.is_nan()
    return type(value).__name__ in ("NaTType", "NAType")


def words(value: Any) -> str:
    """A value as text, without space around it but with the indentation of its first line; "" where it is missing.

    Raises `NoText` for what is not one text, number or date."""
    if missing(value):
        return ""
    if isinstance(value, str):
        return unspaced(value)
    if isinstance(value, (bool, datetime.date, datetime.time, datetime.timedelta)):
        return str(value)
    if isinstance(value, (int, float, decimal.Decimal)):
        if not math.isfinite(value):
            raise NoText("a number that is not finite")
        return str(value)
    kinds = {dict: "an object", list: "a list", tuple: "a list", bytes: "bytes"}
    raise NoText(next((name for kind, name in kinds.items() if isinstance(value, kind)), f"a {type(value).__name__}"))


def unspaced(text: str) -> str:
    """A text without space around it. Two spaces or more, or a tab, before its first line are code's indentation and stay; one space is a separator."""
    inner = text.strip()
    before = text[: len(text) - len(text.lstrip())].rpartition("\n")[2]
    return before + inner if inner and (len(before) > 1 or before == "\t") and not before.strip(" \t") else inner


def label(value: Any) -> str:
    """A label in its one form: text without space around it, whole numbers without a fraction (1.0 is "1"), True or False. Raises `NoText`."""
    if isinstance(value, float) and value == value and abs(value) < 1e15 and value == int(value):
        return str(int(value))
    if isinstance(value, decimal.Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    return words(value).strip()


def near(text: str) -> str:
    """What labels have in common that differ only by case, width, spaces, or how a number or a truth value is written (1, 1.0, True)."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    folded = {"true": "1", "false": "0"}.get(folded, folded)
    return str(fractions.Fraction(folded)) if NUMBER.fullmatch(folded) else folded


def is_number(text: str) -> bool:
    """Whether a label is written as a number."""
    return NUMBER.fullmatch(unicodedata.normalize("NFKC", text).strip()) is not None


def without_nothing(value: Any) -> Any:
    """A nested value of Arrow without the keys that hold nothing: all objects of an Arrow column have the keys of every other one, so null is no key."""
    if isinstance(value, dict):
        return {key: without_nothing(item) for key, item in value.items() if item is not None}
    return [without_nothing(item) for item in value] if isinstance(value, list) else value


def broken(value: Any) -> bool:
    """Whether text in a value, at any depth, has half a letter: a lone surrogate, which no encoding can hold."""
    return any(HALVES.search(text) is not None for text in texts(value) if not text.isascii())


def texts(value: Any) -> Iterator[str]:
    """All texts in a value, at any depth, keys among them."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, dict):
            waiting += [*found, *found.values()]
        elif isinstance(found, (list, tuple)):
            waiting += found

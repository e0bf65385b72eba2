"""What the lab says, as a key and what varies in it: the key is the English template, as in gettext, so each language fills its own with the same values.

    Message("A query may have {most} letters; this one has {count:,}.", most=2000, count=2413)

A message is a text: its English. Where it crosses to another process or into the store as JSON, `packed` keeps its key, and `unpacked` brings it back.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

LETTERS = 600
NUMBER = re.compile(r"[+]?,?(\.\d)?[fg]?")  # how a template may format a number: no width, which somebody else's could make a gigabyte
PACKED = "LAB_PACKED"  # set by pages that ask the terminal's command as a process: it then says a refusal as one line (refusal.py), for them to show in their language


class Message(str):
    """A sentence, or the words in the place of one: English, fit for a page and a terminal. Equal to that text.

    `key`: the template, {name} or {name:,} for what varies. `values`: {name: a number, a text, or a Message, which has its own words in another language}.
    A key without values is not read as a template: braces in it are braces.
    """

    key: str
    values: dict[str, Any]

    def __new__(cls, key: str, /, **values: Any) -> Message:
        kept = {name: _kept(value) for name, value in values.items()}
        self = super().__new__(cls, shown(filled(key, kept)))
        self.key, self.values = str(key) if kept else str(self), kept
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (self.key,), self.values

    def clause(self) -> Message:
        """The message without its full stop, for the middle of another one."""
        last = next((name for name, value in self.values.items() if isinstance(value, Message) and self.key.endswith(f"{{{name}}}")), None)
        if last is not None:  # it ends with another sentence
            return Message(self.key, **{**self.values, last: self.values[last].clause()})
        return Message(self.key.removesuffix("."), **self.values)


class Note(Message):
    """A sentence about what was done and is right, but may not be what somebody expects."""


def word(text: object) -> Message:
    """A word that is declared elsewhere, and has its Chinese there or by itself: the label of a form or an option, the state of a run, a reason of the system's."""
    return Message(str(text))


JOINED = {", ": "{one}, {others}", " and ": "{one} and {others}", " or ": "{one} or {others}", "; ": "{one}; {others}", " ": "{one} {others}"}


def listed(items: Iterable[str], by: str = ", ") -> Message:
    """Several texts or messages as one, `by` what stands between them in English (of JOINED); "" of none."""
    *first, found = (one if isinstance(one, Message) else Message("{text}", text=one) for one in (*items,) or ("",))
    for one in reversed(first):
        found = Message(JOINED[by], one=one, others=found)
    return found


def some(names: Sequence[str], most: int = 1) -> Message:
    """The first of several names, and how many more there are."""
    known = ", ".join(names[:most])
    return Message("{names} and {count} more", names=known, count=len(names) - most) if len(names) > most else Message("{text}", text=known)


def filled(template: str, values: Mapping[str, Any], words: Callable[[Any], str] = str) -> str:
    """A template with its values, texts and messages by `words`, numbers as the template formats them. Without values it is itself."""
    if not values:
        return template
    pieces = []
    for before, name, spec, _ in string.Formatter().parse(template):
        pieces.append(before)
        if name is not None:
            value = values[name]
            if spec and not NUMBER.fullmatch(spec):
                raise ValueError(f"A message does not format a number by {spec[:20]!r}")
            pieces.append(words(value) if isinstance(value, str) else format(value, spec or ""))
    return "".join(pieces)


def shown(text: object, letters: int = LETTERS) -> str:
    """A text that may quote what a stranger wrote, fit for a page and a terminal: one line, control characters written out, cut in its middle."""
    return _clean(text, letters).strip()


def _clean(text: object, letters: int = LETTERS) -> str:
    text = str(text)
    if len(text) > letters:
        text = f"{text[: letters // 2]} … {text[-letters // 3 :]}"
    return "".join(c if c.isprintable() else " " if c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _kept(value: Any) -> Any:
    """A value as it travels: numbers and messages as they are, all else as text."""
    if isinstance(value, (Message, int, float)):
        return value
    return int(value) if hasattr(value, "__index__") else _clean(value)


def packed(document: Any) -> Any:
    """A document with its messages as texts that keep key and values; a text by itself is a document too."""
    if isinstance(document, Message):
        return json.dumps(_as_document(document)) if document.values else str(document)
    return _each(packed, document)


def unpacked(document: Any) -> Any:
    """What `packed` gave, with messages again. Texts of earlier labs, and of others, stay texts."""
    if isinstance(document, str) and document.startswith('{"lab_message": "'):
        try:
            return _of_document(json.loads(document))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return document
    return _each(unpacked, document)


def _each(change: Callable[[Any], Any], document: Any) -> Any:
    """A document with all that is in it changed, down to where it is nested deeper than any message lies."""
    try:
        if isinstance(document, Mapping):
            return {change(name): change(value) for name, value in document.items()}
        return [change(one) for one in document] if isinstance(document, (list, tuple)) else document
    except RecursionError:
        return document


def _as_document(message: Message) -> dict[str, Any]:
    return {
        "lab_message": message.key,
        "values": {name: _as_document(value) if isinstance(value, Message) else value for name, value in message.values.items()},
    }


def _of_document(found: dict[str, Any]) -> Message:
    return Message(found["lab_message"], **{name: _of_document(value) if isinstance(value, dict) else value for name, value in found["values"].items()})

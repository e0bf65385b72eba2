"""The one way the lab says no: a sentence, and the field that it is about."""

from __future__ import annotations

import json
from typing import Any

from lab.design.plain.message import LETTERS, Message, Note, packed, shown, unpacked

__all__ = ["LETTERS", "Message", "Note", "Refusal", "packed_refusal", "shown", "unpacked_refusal"]


class Refusal(ValueError):
    """A request that cannot be met, said in one sentence that tells what to change.

        raise Refusal("A query may have {most} letters; this one has {count:,}.", "where", most=LETTERS, count=len(text))

    `message`: the English template, whose {names} are `values`; or a whole Message, as another refusal's. `field` is the dotted path of the option at
    fault (`deltas.0.rank`, `training.lr`), or "" where no single field is. `sentence` is the Message: the English text, with its key and its values.
    """

    def __init__(self, message: str, field: str = "", /, **values: Any):
        self.sentence = message if isinstance(message, Message) else Message(message, **values)
        super().__init__(self.sentence)
        self.field = shown(field, 200)

    def __str__(self) -> str:
        return str(self.sentence)


def packed_refusal(refusal: Refusal) -> str:
    """One line that keeps a refusal whole, its field too, between processes."""
    return json.dumps({"lab_refusal": packed(refusal.sentence), "field": refusal.field})


def unpacked_refusal(line: str, field: str) -> Refusal:
    """The refusal of such a line, at `field` where it names none; any other line is the sentence of one."""
    try:
        found = json.loads(line)
        return Refusal(unpacked(found["lab_refusal"]), found["field"] or field)
    except (ValueError, TypeError, LookupError, RecursionError):  # a word of Python's, or of a library
        return Refusal(line, field)

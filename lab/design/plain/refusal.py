"""The one way the lab says no: a sentence, and the field that it is about."""

from __future__ import annotations

LETTERS = 600


class Refusal(ValueError):
    """A request that cannot be met, said in one sentence that tells what to change.

    `field` is the dotted path of the option at fault (`deltas.0.rank`, `training.lr`), or "" where no single field is.
    """

    def __init__(self, sentence: str, field: str = ""):
        sentence = shown(sentence)
        super().__init__(sentence)
        self.sentence = sentence
        self.field = shown(field, 200)

    def __str__(self) -> str:
        return self.sentence


def shown(text: object, letters: int = LETTERS) -> str:
    """A text that may quote what a stranger wrote, fit for a page and a terminal: one line, control characters written out, cut in its middle."""
    text = str(text)
    if len(text) > letters:
        text = f"{text[: letters // 2]} … {text[-letters // 3 :]}"
    return "".join(c if c.isprintable() else " " if c in "\n\t" else c.encode("unicode_escape").decode() for c in text).strip()


class Note(str):
    """A sentence about what was done and is right, but may not be what somebody expects; fit for a page and a terminal as a refusal's is."""

    def __new__(cls, sentence: str) -> Note:
        return super().__new__(cls, shown(sentence))

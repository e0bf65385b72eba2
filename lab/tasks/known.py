"""Whether a tokenizer knows the words of a task: the share of unknown tokens among those of its first rows."""

from __future__ import annotations

from lab.design.plain.refusal import Refusal

LOOKED, UNKNOWN = 200, 0.5  # rows, and the share of unknown tokens among theirs from which a model cannot read a task


def require_known(tokens: int, unknown: int) -> None:
    """Raise Refusal where of so many tokens of a task's texts half and more are the tokenizer's token for what it does not know, or there is none at all."""
    if unknown >= UNKNOWN * tokens:
        raise Refusal("The model's tokenizer does not know the texts of this task: {percent:.0f} % of {tokens} tokens are unknown to it; choose a model for this language, or one whose tokenizer files are whole.", "model", percent=100 * unknown / max(1, tokens), tokens=tokens)  # fmt: skip

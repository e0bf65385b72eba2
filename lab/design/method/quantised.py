"""What cannot train on a quantised base, whose linear layers are packed: no gradient reaches their weights."""

from __future__ import annotations

from lab.design.method.delta import Method
from lab.design.method.selections import SelectionOptions
from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal


def packed_weights(select: SelectionOptions) -> Refusal:
    """Why a selection cannot train on a quantised base."""
    return Refusal(
        "The linear layers of a quantised base are packed, and no gradient reaches them: training {words} needs quantisation none.",
        "select",
        words=word(select.words),
    )


def quantised_problem(method: Method) -> Refusal | None:
    """Why a method cannot train on a quantised base; None where it can."""
    for index, delta in enumerate(method.deltas):
        if "gradient" in delta.looks:
            return Refusal(
                "The linear layers of a quantised base are packed, and no gradient reaches them: a start or rank allocation that is made of gradients needs quantisation none.",
                f"deltas.{index}.init",
            )
    return packed_weights(method.select) if method.select is not None and method.select.weights == "all" else None

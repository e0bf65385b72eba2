"""One operation of a delta as data, and the words that forms build theirs from (`lab.design.method.steps` puts them together)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from lab.design.method.delta import Delta

Kind = Literal["norm", "dropout", "map", "fold", "times", "sigma", "queries", "keys", "values", "constant", "form"]


class Step(NamedTuple):
    """One operation on x (or on what the step before it gave).

    | kind | operation |
    |---|---|
    | norm | the delta's own layer norm, with weight `part` and `bias` |
    | dropout | with probability `value` |
    | map | x·W, W the tensor `part` (out, in), then + `bias` where one is named |
    | fold | the sum of x's pieces of `value` dimensions, the last filled up with zeros |
    | times | x ⊙ `part` |
    | sigma | the nonlinearity `name` |
    | queries | x·W_q by the model's own query projection, per head; `scaled`: as its attention scales it |
    | keys, values | x·`part`ᵀ, x·`part`, per head; `value`: dropout on the part, `gated`: it is multiplied by g(x) |
    | constant | the tensor `part`, whatever x is; `value`: dropout on it |
    | form | what a form without steps of its own computes |
    """

    kind: Kind
    part: str = ""
    bias: str = ""
    value: float = 0.0
    name: str = ""
    scaled: bool = False
    gated: bool = False


def activation(delta: Delta) -> list[Step]:
    """σ and the dropout behind it, as they stand between a form's two maps."""
    sigma = [Step("sigma", name=delta.nonlinearity)] if delta.nonlinearity != "none" else []
    return sigma + ([Step("dropout", value=delta.inner_dropout)] if delta.inner_dropout else [])

"""What a delta computes, as data: how x is read, the steps from x to Δh, and how Δh joins h.

The engine executes these steps, the equation writes them and the figure marks them, so that the three cannot part. A form gives its
own (`Form.steps`); norms and dropouts around it come from the delta. Example, He et al.'s parallel adapter: map down, sigma relu,
dropout 0.1, map up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.design.method.forms import FORMS
from lab.design.method.insertions import INSERTIONS
from lab.design.method.step import Step

if TYPE_CHECKING:
    from lab.design.method.delta import Delta


NORM = Step("norm", "norm", "norm_bias")


def entering(delta: Delta) -> tuple[Step, ...]:
    """From x to what enters the form: a layer norm, a dropout."""
    norm = (NORM,) if delta.norm == "in" else ()
    return (*norm, Step("dropout", value=delta.dropout)) if delta.dropout and not mixed(delta) else norm


def steps(delta: Delta) -> tuple[Step, ...]:
    """From x to Δh, before the composition's scale or gate."""
    return (*entering(delta), *FORMS[delta.form].steps(delta), *((NORM,) if delta.norm == "out" else ()))


def mixed(delta: Delta) -> bool:
    """Whether it joins inside the attention (see `Form.mixed`)."""
    return FORMS[delta.form].mixed(delta)


def reads_normed(delta: Delta, representation: str, post_norm: bool) -> bool:
    """Whether x is h behind the model's own norm: Pfeiffer's adapter, where that norm follows the residual sum."""
    return post_norm and INSERTIONS[delta.insertion].reads_h and representation == "ffn.residual" and delta.x == "normed"

"""What a delta computes, as data: how x is read, the steps from x to Δh, and how Δh joins h.

The engine executes these steps, the equation writes them and the figure marks them, so that the three cannot part. A form gives its
own (`Form.steps`); norms and dropouts around it come from the delta. Example, He et al.'s parallel adapter: map down, sigma relu,
dropout 0.1, map up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.design.method.forms import FORMS
from lab.design.method.step import Step, mixed

if TYPE_CHECKING:
    from lab.design.method.delta import Delta


def steps(delta: Delta) -> tuple[Step, ...]:
    """From x to Δh, before the composition's scale or gate."""
    norm = Step("norm", "norm", "norm_bias")
    before = [norm] if delta.norm == "in" else []
    if delta.dropout and not mixed(delta):
        before.append(Step("dropout", value=delta.dropout))
    return (*before, *FORMS[delta.form].steps(delta), *([norm] if delta.norm == "out" else []))


def reads_normed(delta: Delta, representation: str, post_norm: bool) -> bool:
    """Whether x is h behind the model's own norm: Pfeiffer's adapter, where that norm follows the residual sum."""
    return post_norm and delta.insertion == "sequential" and representation == "ffn.residual" and delta.x == "normed"

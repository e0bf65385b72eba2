"""LayerNorm tuning (Zhao et al. 2024): the norms."""

from __future__ import annotations

from typing import Literal

from lab.design.method.selections.base import SelectionOptions


class SelectNorm(SelectionOptions):
    """Weights and biases of the norm layers (Zhao et al. 2024)."""

    what: Literal["norm"] = "norm"
    counted, words = "norms", "norms together with deltas"
    weights = "norm"
    nothing = "This model's norms have no weights, so there is nothing to train: choose another method."
    beside_deltas = True
    peft_type = "LN_TUNING"

    def count(self, inventory, body):
        return inventory.norm, inventory.norm_bias, inventory.norm

    def latex(self):
        return "\\gamma,\\beta \\leftarrow \\gamma,\\beta - \\eta\\,\\nabla\\mathcal{L}\\quad\\text{(norms)}"

    def look(self, kind, place=""):
        return "chosen" if kind == "norm" else "frozen"

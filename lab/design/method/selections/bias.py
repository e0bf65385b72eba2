"""BitFit (Ben Zaken et al. 2022): the biases."""

from __future__ import annotations

from typing import Literal

from lab.design.method.selections.base import SelectionOptions


class SelectBias(SelectionOptions):
    """The biases that the model has (BitFit, Ben Zaken et al. 2022)."""

    what: Literal["bias"] = "bias"
    counted = words = "biases"
    weights = "bias"
    nothing = "This model has no biases, so BitFit has nothing to train: choose a delta of form bias at attn.out and ffn.out instead."
    beside_deltas = True
    in_own_type = False

    def count(self, inventory, body):
        return inventory.bias, inventory.bias, inventory.bias

    def latex(self):
        return "b \\leftarrow b - \\eta\\,\\nabla_b\\mathcal{L}\\quad\\text{(existing biases)}"

    def look(self, kind, place=""):
        return "frozen" if kind == "other" else "biased"

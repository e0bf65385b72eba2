"""Full fine-tuning."""

from __future__ import annotations

from typing import Literal

from lab.design.method.selections.base import SelectionOptions


class SelectAll(SelectionOptions):
    """Every weight of the model trains."""

    what: Literal["all"] = "all"
    counted = words = "all weights"

    def count(self, inventory, body):
        return inventory.total, inventory.bias, inventory.total

    def latex(self):
        return "\\theta \\leftarrow \\theta - \\eta\\,\\nabla_\\theta\\mathcal{L}\\quad\\text{(all weights)}"

"""LISA (Pan et al. 2024): a few layers at a time."""

from __future__ import annotations

from typing import Literal

from lab.design.method.selections.base import SelectionOptions
from lab.design.plain.options import option
from lab.design.plain.refusal import Refusal


class SelectLayers(SelectionOptions):
    """Embeddings, final norm and head always, and `active` random layers, drawn again every `every` steps (LISA, Pan et al. 2024)."""

    what: Literal["layers"] = "layers"
    counted, words = "active layers", "whole layers"
    draws = True
    active: int = option(2, ge=1, label="active layers", symbol="γ", help="Layers that train at any one step.")
    every: int = option(20, ge=1, unit="steps", label="period", symbol="K", help="Steps between two draws; the optimizer's state is dropped at each.")

    def problems_on(self, body):
        layers = sum(stack.layers for stack in body.stacks)
        if self.active > layers:
            yield Refusal("{active} active layers are more than the {layers} that the model has.", "select.active", active=self.active, layers=layers)

    def count(self, inventory, body):
        layers = [layer for stack in inventory.stacks.values() for layer in stack.each()]
        outside = inventory.total - sum(layer.total for layer in layers)
        outside_bias = inventory.bias - sum(layer.bias for layer in layers)
        mean = sum(layer.total for layer in layers) / len(layers)
        mean_bias = sum(layer.bias for layer in layers) / len(layers)
        trains = outside + round(self.active * mean)
        return trains, outside_bias + round(self.active * mean_bias), trains

    def latex(self):
        return f"\\theta_i \\leftarrow \\theta_i - \\eta\\nabla\\mathcal{{L}},\\quad i\\in\\mathrm{{draw}}(\\gamma={self.active})\\ \\text{{every}}\\ K={self.every}"

    def lit(self, layers):
        """An example of a draw."""
        return set(range(layers // (2 * self.active), layers, max(1, layers // self.active)))

"""The last layers, whole; the frozen ones below need no backward pass."""

from __future__ import annotations

from typing import Literal

from lab.design.method.selections.base import SelectionOptions
from lab.design.plain.options import option
from lab.design.plain.refusal import Refusal


class SelectLast(SelectionOptions):
    """All weights of the last `depth` layers of each stack (Lee et al. 2019)."""

    what: Literal["last"] = "last"
    counted = words = "the last layers"
    layers_alone = True
    depth: int = option(2, ge=1, label="last layers", symbol="k", help="Layers of each stack that train, counted from its end.")

    def problems_on(self, body):
        fewest = min(stack.layers for stack in body.stacks)
        if self.depth > fewest:
            yield Refusal("{depth} last layers are more than the {fewest} that a stack has.", "select.depth", depth=self.depth, fewest=fewest)

    def count(self, inventory, body):
        last = [layer for stack in inventory.stacks.values() for layer in list(stack.each())[-self.depth :]]
        total = sum(layer.total for layer in last)
        return total, sum(layer.bias for layer in last), total

    def latex(self):
        return f"\\theta_i \\leftarrow \\theta_i - \\eta\\,\\nabla_{{\\theta_i}}\\mathcal{{L}},\\quad i > L - {self.depth}"

    def lit(self, layers):
        return set(range(layers - self.depth, layers))

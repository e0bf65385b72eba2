"""The dropout on a sublayer's output as a module, so that Δh can join behind it.

BERT, T5, GPT-2 and others have that module: a delta hooks its output. BART's and OPT's layers call `functional.dropout` themselves, with the
probability in one of their attributes. There the attribute is set to 0 and the dropout applied where the sublayer ends, once for each
sublayer of the layer: the same masks from the same random numbers, and a place to join at. Without a delta nothing is moved.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from lab.engine.locate import Layer


class SublayerDropout(nn.Dropout):
    """A layer's own dropout at one sublayer's output (batch, positions, width)."""

    def drop_output(self, module: nn.Module, args: tuple, output: Any) -> Any:
        """Forward hook of the module whose output is the sublayer's; it must come after those of the deltas at that module."""
        return (self(output[0]), *output[1:]) if isinstance(output, tuple) else self(output)


class MovedDropout:
    """The dropout of one layer that applies it itself, moved into a module per sublayer: `attn`, `cross` and `ffn`."""

    def __init__(self, layer: Layer):
        self.layer, self.attribute = layer.module, layer.stack.map.dropout
        self.probability = float(getattr(self.layer, self.attribute))
        self.modules: dict[str, SublayerDropout] = {}
        self.after: dict[str, nn.Module] = {}
        for sublayer, after in layer.ends().items():
            self.modules[sublayer] = SublayerDropout(self.probability).train(self.layer.training)
            self.after[sublayer] = after

    def move(self) -> list[Any]:
        """Register the hooks, and take the dropout out of the layer; the handles. Called once the deltas have theirs."""
        setattr(self.layer, self.attribute, 0.0)
        return [self.after[name].register_forward_hook(module.drop_output) for name, module in self.modules.items()]

    def restore(self) -> None:
        """Give the layer its own dropout back."""
        setattr(self.layer, self.attribute, self.probability)

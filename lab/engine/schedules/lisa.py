"""LISA (Pan et al. 2024, arXiv 2403.17919): embeddings, final norm and head train always, γ random layers for K steps at a time.

The layers are drawn uniformly without replacement, before the first step and after every K. The optimizer's state of the layers is
dropped at each draw, as in the paper's runs (the released code keeps it).
"""

from __future__ import annotations

import random
from typing import Any

from torch import nn

from lab.design.method.selections.layers import SelectLayers
from lab.engine.schedules.base import Schedule


class LISA(Schedule):
    def __init__(self, layers: list[list[nn.Parameter]], options: SelectLayers, seed: int):
        self.layers, self.options, self.seed = layers, options, seed
        self.draw(0)

    def draw(self, interval: int) -> None:
        """Draw the layers of an interval; the draw depends on seed and interval alone."""
        generator = random.Random(self.seed * 1_000_003 + interval)
        self.active = sorted(generator.sample(range(len(self.layers)), self.options.active))
        self.interval = interval
        for index, layer in enumerate(self.layers):
            for parameter in layer:
                parameter.requires_grad_(index in self.active)
                if index not in self.active:
                    parameter.grad = None

    def after_step(self, step: int) -> bool:
        if step % self.options.every or step >= self.total:
            return False
        for layer in self.layers:
            for parameter in layer:
                self.forget(parameter)
        self.draw(step // self.options.every)
        return True

    def measurements(self) -> dict[str, float]:
        return {f"trains/layer.{index}": float(index in self.active) for index in range(len(self.layers))}

    def state(self) -> dict[str, Any]:
        return {"interval": self.interval}

    def load(self, state: dict[str, Any]) -> None:
        self.draw(int(state["interval"]))

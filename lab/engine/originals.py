"""What a method changes of the model's own weights, kept as it was: parameters on the CPU, packed weights of a quantised base by their layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lab.design.plain.refusal import Refusal
from lab.engine import packed
from lab.engine.locate import Located


class Originals:
    """Copies of weights that are about to change; none where they are not `wanted`."""

    def __init__(self, wanted: bool):
        self.wanted = wanted
        self._parameters: dict[int, tuple[nn.Parameter, Tensor]] = {}
        self._layers: dict[nn.Module, packed.Kept] = {}

    def keep(self, parameter: nn.Parameter) -> None:
        """A copy, on the CPU, of a weight that is about to change."""
        if self.wanted and id(parameter) not in self._parameters and parameter.device.type != "meta":
            self._parameters[id(parameter)] = (parameter, parameter.detach().to("cpu", copy=True))

    def keep_weight(self, located: Located) -> None:
        """A copy of a projection's weight."""
        module = located.module
        if not located.packed:
            self.keep(module.weight)
        elif self.wanted and module not in self._layers and module.weight.device.type != "meta":
            self._layers[module] = packed.Kept(module)

    @torch.no_grad()
    def put_back(self) -> None:
        """Every weight as it was."""
        for parameter, original in self._parameters.values():
            parameter.copy_(original)
        for layer in self._layers.values():
            layer.swap()

    @torch.no_grad()
    def put_back_weight(self, located: Located) -> None:
        """One projection's weight as it was. Raises `Refusal` where it was not kept."""
        module = located.module
        if module in self._layers:
            self._layers.pop(module).swap()
            return self.keep_weight(located)
        if located.packed or id(module.weight) not in self._parameters:
            raise Refusal("The original weights were not kept: attach to a fresh model with state=.", "method")
        module.weight.copy_(self._parameters[id(module.weight)][1])
        return None

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """While open, every weight is as it was."""
        changed: list[tuple[nn.Parameter, Tensor]] = []
        with torch.no_grad():
            for parameter, original in self._parameters.values():
                changed.append((parameter, parameter.detach().clone()))
                parameter.copy_(original)
        for layer in self._layers.values():
            layer.swap()
        try:
            yield
        finally:
            for layer in self._layers.values():
                layer.swap()
            with torch.no_grad():
                for parameter, now in changed:
                    parameter.copy_(now)

"""What a schedule is: an object that watches a run and changes what trains, between two optimizer steps.

The loop's order is: backward → `after_backward` → clip → optimizer.step → `after_step` → zero_grad, with steps counted from 1.
`state` and `load` carry everything that a resumed run needs to go on exactly.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer


class Schedule:
    """Base: does nothing. `total` is the number of optimizer steps of the run."""

    total = 0
    optimizer: Optimizer | None = None

    def begin(self, total: int, optimizer: Optimizer | None) -> None:
        self.total = total
        self.optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it

    def penalty(self) -> Tensor | None:
        """Added to the loss of each step, or None."""
        return None

    def after_backward(self, step: int) -> None:
        """Between backward and clipping."""

    def after_step(self, step: int) -> bool:
        """Between optimizer.step and zero_grad. True: the set of parameters that train has changed."""
        return False

    def held(self) -> int:
        """Weights inside trainable tensors that do not train any more."""
        return 0

    def measurements(self) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        """Tensors and plain values by name."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Restore `state`; called after the weights have been loaded and before training goes on."""

    def freeze(self, parameter: nn.Parameter) -> None:
        """A parameter stops for good: no gradient, no momentum, no weight decay."""
        parameter.requires_grad_(False)
        parameter.grad = None
        self.forget(parameter)

    def forget(self, parameter: nn.Parameter) -> None:
        """Drop the optimizer's state of a parameter."""
        if self.optimizer is not None:
            self.optimizer.state.pop(parameter, None)


def cubic(step: int, start: int, end: int) -> float:
    """1 until start, 0 from end, (1 − (t−start)/(end−start))³ between."""
    if step <= start:
        return 1.0
    if step >= end:
        return 0.0
    return (1 - (step - start) / (end - start)) ** 3


def smooth(average: Tensor | None, value: Tensor, beta: float) -> Tensor:
    """β·average + (1−β)·value, from zero at the start, without bias correction."""
    return (1 - beta) * value if average is None else beta * average + (1 - beta) * value

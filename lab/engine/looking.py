"""A look at rows of the training data before the first step, for starts and masks that are made of them.

A `Look` is called with a number of rows and how many of them go through the model at once, and yields the loss of one pass after the
other, summed over its targets; whoever asked may have hooked the model, or calls backward. It gives the same rows each time.

    gradients(model, parameters, look(256, 1), squared=True)     # Σ(∇θ)² by name, row by row
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal

Look = Callable[[int, int], Iterator[Tensor]]


def nothing(rows: int, size: int) -> Iterator[Tensor]:
    """Of no rows: for who asks only how a method is attached."""
    return iter(())


def required(look: Look | None, what: str) -> Look:
    """The look that is needed for `what` (the end of a sentence). Raises `Refusal` where there is none."""
    if look is None:
        raise Refusal("Rows of the training data are needed for {what}: attach with look=, or train a run.", "method", what=word(what))
    return look


def gradients(model: nn.Module, parameters: Mapping[str, nn.Parameter], losses: Iterator[Tensor], squared: bool = False) -> dict[str, Tensor]:
    """Σ∇θ over the passes, or Σ(∇θ)², in fp32 by name, of a model in eval mode; nothing keeps a gradient, and the model is as it was."""
    sums = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in parameters.items()}
    required, training = {id(p): p.requires_grad for p in model.parameters()}, model.training
    chosen = {id(parameter): sums[name] for name, parameter in parameters.items()}

    def add(parameter: nn.Parameter) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad.float()
        chosen[id(parameter)].add_(gradient.square() if squared else gradient)
        parameter.grad = None  # one weight's at a time

    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in chosen)
    handles = [parameter.register_post_accumulate_grad_hook(add) for parameter in parameters.values()]
    model.eval()
    try:
        for loss in losses:
            loss.backward()
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
        for parameter in model.parameters():
            parameter.requires_grad_(required[id(parameter)])
    return sums

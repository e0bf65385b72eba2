"""How Δh joins h: one small function per composition, looked up by name.

`gated` has no entry that runs: slots and virtual tokens join inside the attention, where (1−λ)h + λΔh is what attending to
more keys and values computes (Eq. 7-10 of He et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lab.engine.delta import DeltaModule


def add(delta: DeltaModule, h: Tensor, x: Tensor) -> Tensor:
    """h ← h + Δh."""
    return h + delta.change(x).to(h.dtype)


def scaled(delta: DeltaModule, h: Tensor, x: Tensor) -> Tensor:
    """h ← h + s·Δh, with s a number or learned."""
    change, s = delta.change(x), delta.strength
    if isinstance(s, Tensor):
        return h + (s * change).to(h.dtype)
    return torch.add(h, change.to(h.dtype), alpha=s)  # no second tensor as large as h


def learned_gate(delta: DeltaModule, h: Tensor, x: Tensor) -> Tensor:
    """h ← h + g(x)·Δh, one gate per sequence (UniPELT, Mao et al. 2022)."""
    return h + (delta.gate_value(x) * delta.change(x)).to(h.dtype)


def rescale(delta: DeltaModule, h: Tensor, x: Tensor) -> Tensor:
    """h ← l ⊙ h ((IA)³, Liu et al. 2022): the form makes the product."""
    return delta.change(h).to(h.dtype)


def gated(delta: DeltaModule, h: Tensor, x: Tensor) -> Tensor:
    """h ← (1−λ)h + λΔh, which the attention itself computes; never called."""
    raise AssertionError("gated deltas join inside the attention")


COMPOSITIONS: dict[str, Callable[[DeltaModule, Tensor, Tensor], Tensor]] = {
    "add": add, "scaled": scaled, "learned-gate": learned_gate, "rescale": rescale, "gated": gated,
}  # fmt: skip

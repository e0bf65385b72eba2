"""Arithmetic of changes: several tensors of the same shape, one of each run, become one.

| how | what becomes of τ₁ ... τₙ with weights w | source |
|---|---|---|
| sum | Σ wᵢτᵢ | task arithmetic (Ilharco et al. 2023) |
| prune | Σ wᵢ·top(τᵢ), top keeps the share `density` of largest magnitude | the trimming of TIES alone |
| ties | trim, elect a sign for each number, mean of the wᵢτᵢ that have it | TIES-Merging (Yadav et al. 2023, §4) |
| dare | Σ wᵢ·drop(τᵢ), drop keeps each number with probability `density` and divides by it | DARE (Yu et al. 2024, Eq. 1-2) |
| dare-ties | drop, elect, mean | both |

The sign of a number is that of the sum of what is left (`total`, the paper's), or that of most runs (`frequency`). As in peft's add_weighted_adapter, weights
come after the election; 0 elects +. `low_rank` is the best approximation of a rank (Eckart & Young 1936).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def combine(
    changes: Sequence[Tensor], weights: Sequence[float], how: str, *, density: float = 1.0, sign: str = "total", generator: torch.Generator | None = None
) -> Tensor:
    """One tensor of several of one shape, by a row of the table above. `generator` draws what DARE drops."""
    if how in ("prune", "ties"):
        changes = [trim(change, density) for change in changes]
    elif how in ("dare", "dare-ties"):
        changes = [drop(change, density, generator) for change in changes]
    stack = torch.stack(list(changes))  # (runs, ...)
    weighted = stack * torch.tensor(weights, dtype=stack.dtype, device=stack.device).view(-1, *[1] * (stack.dim() - 1))
    if how not in ("ties", "dare-ties"):
        return weighted.sum(0)
    agrees = stack.sign() == elected(stack, sign)
    return (weighted * agrees).sum(0) / agrees.sum(0).clamp(min=1)


def trim(change: Tensor, density: float) -> Tensor:
    """The share `density` of its numbers that are largest in magnitude, rounded down to whole numbers; zeros elsewhere."""
    kept = int(density * change.numel())
    mask = torch.zeros_like(change).flatten()
    mask[change.abs().flatten().topk(kept).indices] = 1
    return change * mask.view_as(change)


def drop(change: Tensor, density: float, generator: torch.Generator | None = None) -> Tensor:
    """Each number with probability `density`, divided by it; zeros elsewhere."""
    return change * torch.bernoulli(torch.full_like(change, density), generator=generator) / density


def elected(stack: Tensor, sign: str) -> Tensor:
    """+1 or −1 for each number of (runs, ...) tensors."""
    return torch.where((stack if sign == "total" else stack.sign()).sum(0) >= 0, 1.0, -1.0).to(stack.dtype)


def low_rank(change: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A (rank, in) and B (out, rank) with B·A nearest to ΔW (out, in); zeros where the rank is more than ΔW can have."""
    left, values, right = torch.linalg.svd(change.float(), full_matrices=False)
    kept = min(rank, len(values))
    down, up = change.new_zeros(rank, change.shape[1]), change.new_zeros(change.shape[0], rank)
    down[:kept], up[:, :kept] = right[:kept], left[:, :kept] * values[:kept]
    return down, up


def roots(weight: float) -> tuple[float, float]:
    """What the two factors of a product are multiplied by, so that the product has the weight; a sign goes to the first."""
    root = abs(weight) ** 0.5
    return (root if weight >= 0 else -root), root

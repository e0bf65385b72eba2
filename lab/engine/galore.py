"""GaLore (Zhao et al. 2024, arXiv 2403.03507, algorithm 2): Adam on gradients that are projected to a low rank.

Of a matrix (m, n) with gradient G, m < n: P (m, r) has the r first left singular vectors of G, taken again every T steps; Adam's moments
are those of R = PᵀG (r, n), and W moves by −lr·α·P·Adam(R). Where m ≥ n, the right singular vectors project instead. So the state of a
matrix is m·r + 2·r·n numbers in place of 2·m·n. Moments are kept when P changes, as in the paper. Its updates are those of the authors'
package galore-torch 1.0; weight decay comes before the update, as in torch's AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def projects(parameter: Tensor, rank: int) -> bool:
    """Whether a projection to `rank` makes the matrix's state smaller: below its full rank."""
    return parameter.dim() == 2 and min(parameter.shape) > rank


def project(gradient: Tensor, basis: Tensor) -> Tensor:
    """R: PᵀG (r, n) for a basis P (m, r) of the shorter side m, else G·P (m, r) for P (n, r)."""
    return basis.T @ gradient if gradient.shape[0] < gradient.shape[1] else gradient @ basis


def back(update: Tensor, basis: Tensor, shape: torch.Size) -> Tensor:
    """The update (m, n) of one in the low rank."""
    return basis @ update if shape[0] < shape[1] else update @ basis.T


def basis_of(gradient: Tensor, rank: int) -> Tensor:
    """(shorter side, rank): the first singular vectors of that side."""
    left, _, right = torch.linalg.svd(gradient.float(), full_matrices=False)
    chosen = left[:, :rank] if gradient.shape[0] < gradient.shape[1] else right[:rank].T
    return chosen.to(gradient.dtype).contiguous()  # a copy, so that the rest goes


def empty_state(parameter: Tensor, rank: int) -> dict[str, Tensor]:
    """The state's tensors without their values; rank 0: those of Adam."""
    if not rank or not projects(parameter, rank):
        return {"exp_avg": torch.empty_like(parameter), "exp_avg_sq": torch.empty_like(parameter)}
    rows, columns = parameter.shape
    low = (rank, columns) if rows < columns else (rows, rank)
    return {"basis": parameter.new_empty(min(rows, columns), rank), "exp_avg": parameter.new_empty(low), "exp_avg_sq": parameter.new_empty(low)}


def split(groups: Iterable[dict[str, Any]], layers: set[int]) -> list[dict[str, Any]]:
    """Groups of an optimizer, those parts apart that have no projection: what is outside the layers (ids), as in the paper."""
    parts = [
        {**group, "projects": inside, "params": [p for p in group["params"] if (id(p) in layers) is inside]} for group in groups for inside in (True, False)
    ]
    return [part for part in parts if part["params"]]


class GaLore(torch.optim.Optimizer):
    """AdamW (decoupled weight decay) with projected gradients: rank r, a new projection every T steps, scale α.

    A group with `projects: False`, vectors, and matrices of which r is the full rank get plain AdamW.
    """

    def __init__(self, groups: Any, lr: float, weight_decay: float = 0.0, rank: int = 128, every: int = 200, scale: float = 0.25,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8):  # fmt: skip
        super().__init__(
            groups, {"lr": lr, "weight_decay": weight_decay, "rank": rank, "every": every, "scale": scale, "betas": betas, "eps": eps, "projects": True}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """One update of every parameter that has a gradient."""
        assert closure is None, "GaLore takes no closure"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        low = group["projects"] and projects(parameter, group["rank"])
        taken = state.get("step", 0)
        state["step"] = taken + 1
        if low and taken % group["every"] == 0:
            state["basis"] = basis_of(gradient, group["rank"])
        if low:
            gradient = project(gradient, state["basis"])
        if not taken:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        first, second = state["exp_avg"].lerp_(gradient, 1 - beta1), state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        size = (second.sqrt() / (1 - beta2 ** (taken + 1)) ** 0.5).add_(group["eps"])
        update = (first / size).div_(1 - beta1 ** (taken + 1))
        if low:
            update = back(update, state["basis"], parameter.shape)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update, alpha=-group["lr"] * (group["scale"] if low else 1.0))

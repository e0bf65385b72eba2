"""Starts from the spectrum of the pretrained weight (LaMDA), and its energy (LaMDA++; Azizi et al. 2024).

W ≈ U Σ Vᵀ: B = U_r (out, r), core = Σ_r / s (r, r), A = V_rᵀ (r, in), and the frozen weight keeps the residual W − s·B·S·A, so the
model is unchanged at step 0. `spectral` takes the r largest singular values, `spectral-minor` the r smallest; `spectral-random`
takes random orthonormal bases with the core that fits them best, S = Bᵀ W Aᵀ / s. `spectral-zero-core` has the bases of `spectral` and a core of
zeros, and leaves the weight as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.design.method.forms.lowrank import RESIDUAL, SPECTRAL
from lab.engine.delta import DeltaModule
from lab.engine.locate import Located


@torch.no_grad()
def start(delta: DeltaModule, target: Located, generator: torch.Generator) -> None:
    """Set A, core and B from the weight; where the weight is to keep the residual, remember them as A0, core0, B0 (what it lacks)."""
    weight = target.weight().float()
    rank, s = delta.A.shape[0], float(delta.strength)
    if weight.device.type != "meta":
        if delta.delta.init == "spectral-random":
            out, inner = (torch.linalg.qr(torch.randn(side, rank, generator=generator))[0].to(weight) for side in weight.shape)
            left, core, right = out, out.T @ weight @ inner, inner.T
        else:
            u, sigma, vh = torch.linalg.svd(weight, full_matrices=False)
            pick = slice(len(sigma) - rank, None) if delta.delta.init == "spectral-minor" else slice(0, rank)
            left, core, right = u[:, pick], torch.diag(sigma[pick]), vh[pick]
            if not is_spectral(delta):
                core = torch.zeros_like(core)
        delta.B.copy_(left)
        delta.core.copy_(core / s)
        delta.A.copy_(right)
    if not is_spectral(delta):
        return
    for name, part in (("core0", delta.core), ("B0", delta.B)):  # A never changes where the schedule is LaMDA's
        delta.register_buffer(name, part.detach().clone())
    delta.register_buffer("A0", delta.A.detach().clone() if delta.A.requires_grad else None)


@torch.no_grad()
def removed(delta: DeltaModule) -> Tensor:
    """What the start took out of the weight, (out, in)."""
    right = delta.A if delta.A0 is None else delta.A0
    return float(delta.strength) * (delta.B0.float() @ delta.core0.float() @ right.float())


@torch.no_grad()
def leave_residual(delta: DeltaModule, target: Located) -> None:
    """Take the start out of the frozen weight."""
    if target.module.weight.device.type != "meta":
        target.set_weight(target.weight().float() - removed(delta))


def is_spectral(delta: DeltaModule) -> bool:
    """Whether the delta starts from the weight's own singular vectors, which are then taken out of the weight."""
    return delta.delta.init in RESIDUAL


def starts_from_weight(delta: DeltaModule) -> bool:
    """Whether A and B start from the weight's singular vectors, with the residual left in it or not."""
    return delta.delta.init in SPECTRAL


@torch.no_grad()
def energies(weight: Tensor) -> list[float]:
    """E(0), E(1), ... E(min(out, in)) of a weight, with E(r) = Σ_{i≤r} σᵢ² / Σ σᵢ²: the share of its energy in its r largest singular values."""
    energy = torch.linalg.svdvals(weight.float()).square().double().cumsum(0)
    return [0.0, *(energy / energy[-1]).tolist()]

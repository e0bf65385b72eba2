"""Starts from the spectrum of the pretrained weight (LaMDA), and its energy (LaMDA++; Azizi et al. 2024).

W ≈ U Σ Vᵀ: B = U_r (out, r), core = Σ_r / s (r, r), A = V_rᵀ (r, in), and the frozen weight keeps the residual W − s·B·S·A, so the
model is unchanged at step 0. `spectral` takes the r largest singular values, `spectral-minor` the r smallest; `spectral-random`
takes random orthonormal bases with the core that fits them best, S = Bᵀ W Aᵀ / s.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.design.forms.lowrank import SPECTRAL
from lab.engine.delta import DeltaModule
from lab.engine.locate import Located


@torch.no_grad()
def start(delta: DeltaModule, target: Located, generator: torch.Generator) -> None:
    """Set A, core and B from the weight, and remember them as A0, S0, B0 (what the residual lacks)."""
    weight = target.weight().float()
    rank, s = delta.A.shape[0], float(delta.strength)
    if weight.device.type != "meta":
        if delta.delta.init == "spectral-random":
            out, inner = (torch.linalg.qr(torch.randn(side, rank, generator=generator))[0].to(weight) for side in weight.shape)
            left, core, right = out, out.T @ weight @ inner, inner.T
        else:
            u, sigma, vh = torch.linalg.svd(weight, full_matrices=False)
            pick = slice(0, rank) if delta.delta.init == "spectral" else slice(len(sigma) - rank, None)
            left, core, right = u[:, pick], torch.diag(sigma[pick]), vh[pick]
        delta.B.copy_(left)
        delta.core.copy_(core / s)
        delta.A.copy_(right)
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
    return delta.delta.form == "lowrank" and delta.delta.init in SPECTRAL


@torch.no_grad()
def energy_lost(weight: Tensor, low: int, high: int) -> float:
    """E(high) − E(low) of a weight, with E(r) = Σ_{i≤r} σᵢ² / Σ σᵢ²: what a cut from rank high to rank low loses."""
    energy = torch.linalg.svdvals(weight.float()).square()
    return float(energy[low:high].sum() / energy.sum())



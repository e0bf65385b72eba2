"""Starts that read the model's weights or the training data (lab/design/method/starts): what they see of a site, and the residual that the frozen weight keeps.

W − s·B·S·A stays in the weight, so the model is unchanged at step 0; what was taken out is remembered as B0, core0 and A0 beside the
trained parts, and saved with them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from lab.engine.delta import DeltaModule
from lab.engine.locate import Located

TAKEN = ("core0", "B0", "A0")  # by which names a delta remembers what its start took out of the weight


class Sight:
    """What a start or an allocation sees of one site (`lab.design.method.starts.SiteView`), in fp32."""

    def __init__(self, target: Located, rank: int, scale: float, generator: torch.Generator, **looked: Any):
        self.target, self.rank, self.scale, self.generator = target, rank, scale, generator
        self.gradient, self.inputs, self.covariance = map(looked.get, ("gradient", "inputs", "covariance"))  # see SiteView

    @property
    def weight(self) -> Tensor:
        """W (out, in)."""
        return self.target.weight().float()

    def svd(self, matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(U (out, k), σ (k,) falling, Vᵀ (k, in)), k the smaller side."""
        u, sigma, vh = torch.linalg.svd(matrix, full_matrices=False)
        return u, sigma, vh

    def singular_values(self, matrix: Tensor) -> Tensor:
        """σ (k,) alone, falling."""
        return torch.linalg.svdvals(matrix)

    def inverse(self, matrix: Tensor) -> Tensor:
        """Of a square matrix."""
        return torch.linalg.inv(matrix)

    def qr(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """(Q (out, k), R (k, in)), k the smaller side."""
        q, r = torch.linalg.qr(matrix)
        return q, r

    def orthonormal(self, length: int) -> Tensor:
        """(length, rank): random columns of length 1, at right angles."""
        return torch.linalg.qr(torch.randn(length, self.rank, generator=self.generator))[0].to(self.weight)


@torch.no_grad()
def start(delta: DeltaModule, target: Located, sight: Sight | None) -> None:
    """Set the parts that the delta's start makes; where the weight is to keep the residual, remember what leaves it, and take it out. Without sight, shapes alone."""
    if sight is not None:
        for name, value in delta.start.parts(sight).items():
            getattr(delta, name).copy_(value)
    if delta.start.residual:
        for name, part in _remembered(delta).items():
            delta.register_buffer(name, None if part is None else part.detach().clone())
        leave_residual(delta, target)


def expect_start(delta: DeltaModule, saved: Collection[str]) -> None:
    """Buffers for what a start took out of the weight, those that the weights to come bring with them (`saved`, by name): what stands frozen now may have trained."""
    for name, like in zip(TAKEN, (delta.core, delta.B, delta.A), strict=True):
        delta.register_buffer(name, torch.zeros_like(like) if name in saved and like is not None else None)


def _remembered(delta: DeltaModule) -> dict[str, Tensor | None]:
    """core0, B0, and A0 where A may change: it never does where the schedule is LaMDA's."""
    return {"core0": delta.core, "B0": delta.B, "A0": delta.A if delta.A.requires_grad else None}


@torch.no_grad()
def removed(delta: DeltaModule) -> Tensor:
    """What the start took out of the weight, (out, in)."""
    right = (delta.A if delta.A0 is None else delta.A0).float()
    return float(delta.strength) * (delta.B0.float() @ (right if delta.core0 is None else delta.core0.float() @ right))


@torch.no_grad()
def true_factors(delta: DeltaModule) -> tuple[Tensor, Tensor, Tensor | None]:
    """left (out, k), right (k, in) and Δb (out,) or None of the true ΔW of a low-rank delta, without s: what is there now, less what its start took out."""
    left, right, bias = delta.form.factors(delta.parts())
    if delta.start.residual:  # the frozen weight lacks B0·S0·A0
        start = _with_core(delta.B0, delta.core0)
        if delta.A0 is None:
            left, right = _with_core(delta.B, delta.core) - start, delta.A  # A never moved: still rank r
        else:
            left, right = torch.cat([left, -start], 1), torch.cat([right, delta.A0], 0)
    return left, right, bias


def _with_core(left: Tensor, core: Tensor | None) -> Tensor:
    return left if core is None else left * core if core.dim() == 1 else left @ core


@torch.no_grad()
def leave_residual(delta: DeltaModule, target: Located) -> None:
    """Take the start out of the frozen weight."""
    if delta.B.device.type != "meta":
        target.set_weight(target.weight().float() - removed(delta))

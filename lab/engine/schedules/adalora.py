"""AdaLoRA (Zhang et al. 2023, arXiv 2303.10512): triplets of P·Λ·Q are masked by importance while one budget falls.

Importance of a weight: Ī·Ū with I = |θ·∇θ|, both smoothed; of triplet i: that of Λᵢ plus the means over P's column and Q's row.
Budget: b0 until t_i, then int(bT + (b0−bT)(1−(t−t_i)/(T−t_i−t_f))³) every ΔT steps, then bT at every step with scores frozen.
Masking sets Λᵢ to zero and leaves the optimizer's state alone, so a triplet may grow again and be chosen again (official code).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lab.design.method.schedules.adalora import AdaLoRABudget
from lab.engine.delta import DeltaModule
from lab.engine.schedules.base import Schedule, cubic, smooth

PARTS = ("A", "B", "core")


class AdaLoRA(Schedule):
    def __init__(self, deltas: list[DeltaModule], options: AdaLoRABudget):
        self.deltas, self.options = deltas, options
        self.sensitivity: dict[str, Tensor] = {}
        self.uncertainty: dict[str, Tensor] = {}
        self.kept = {delta.key: torch.ones(delta.core.shape[0], dtype=torch.bool) for delta in deltas}

    def begin(self, total, optimizer):
        super().begin(total, optimizer)
        self.first = round(self.options.start * total)
        self.last = total - round(self.options.finish * total)

    def penalty(self) -> Tensor | None:
        """γ × mean over all P and Q of ‖PᵀP − I‖_F, ‖QQᵀ − I‖_F, unsquared as in the official code."""
        if not self.options.orthogonality:
            return None
        terms = []
        for delta in self.deltas:
            eye = torch.eye(delta.A.shape[0], device=delta.A.device, dtype=delta.A.dtype)
            terms += [torch.linalg.norm(delta.A @ delta.A.T - eye), torch.linalg.norm(delta.B.T @ delta.B - eye)]
        return self.options.orthogonality * torch.stack(terms).mean()

    def budget(self, step: int) -> tuple[int, bool]:
        """(triplets that may stay, whether to mask at this step)."""
        start = sum(len(kept) for kept in self.kept.values())
        target = int(round(self.options.target_rank * len(self.deltas)))
        if step <= self.first:
            return start, False
        if step > self.last:
            return target, True
        return int(target + (start - target) * cubic(step, self.first, self.last)), step % self.options.every == 0

    @torch.no_grad()
    def after_step(self, step: int) -> bool:
        if step < self.last:
            self._score()
        budget, now = self.budget(step)
        if now:
            self._mask(budget)
        return False

    def _score(self) -> None:
        for delta in self.deltas:
            for name in PARTS:
                part = getattr(delta, name)
                if part.grad is None:
                    continue
                key = f"{delta.key}/{name}"
                importance = (part * part.grad).abs()
                self.sensitivity[key] = smooth(self.sensitivity.get(key), importance, self.options.beta1)
                spread = (importance - self.sensitivity[key]).abs()
                self.uncertainty[key] = smooth(self.uncertainty.get(key), spread, self.options.beta2)

    def triplets(self, delta: DeltaModule) -> Tensor:
        """Score per triplet (r,)."""

        def score(name: str) -> Tensor:
            key = f"{delta.key}/{name}"
            if key not in self.sensitivity:
                return torch.zeros_like(getattr(delta, name))
            return self.sensitivity[key] * self.uncertainty[key]

        return score("core") + score("B").mean(0) + score("A").mean(1)

    def _mask(self, budget: int) -> None:
        """One threshold over all projections: the triplets at or below the k-th smallest score go, k = all − budget."""
        scores = [self.triplets(delta) for delta in self.deltas]
        k = sum(len(score) for score in scores) - budget
        if k <= 0:
            return
        threshold = torch.cat(scores).kthvalue(k).values
        for delta, score in zip(self.deltas, scores, strict=True):
            kept = score > threshold
            delta.core.mul_(kept.to(delta.core.dtype))
            self.kept[delta.key] = kept.cpu()

    def held(self) -> int:
        return sum(int((~self.kept[d.key]).sum()) * (d.site.width_in * d.A.requires_grad + d.site.width_out * d.B.requires_grad + 1) for d in self.deltas)

    def measurements(self) -> dict[str, float]:
        return {f"rank/{key}": float(kept.sum()) for key, kept in self.kept.items()}

    def state(self) -> dict[str, Any]:
        return {
            **{f"sensitivity/{key}": value for key, value in self.sensitivity.items()},
            **{f"uncertainty/{key}": value for key, value in self.uncertainty.items()},
            **{f"kept/{key}": value for key, value in self.kept.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            table, _, name = key.partition("/")
            getattr(self, table)[name] = value


SCHEDULE = AdaLoRA

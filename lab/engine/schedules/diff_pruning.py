"""Diff pruning (Guo et al. 2021, arXiv 2012.07463): an L0 phase, a projection by magnitude, and a finish with the mask fixed.

L0 term: λ·Σ σ(log α − log(−γ/ζ)) over all gates, the group's own added once per tensor. After `projection` of the run one global
threshold on |θ − θ0| is found by bisection that leaves `density` of the weights; from there w trains densely within the mask.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lab.design.method.selections.masked import SelectMasked
from lab.engine.schedules.base import Schedule
from lab.engine.select import SparseDifference


class DiffPruning(Schedule):
    def __init__(self, differences: dict[str, SparseDifference], options: SelectMasked, seed: int):
        self.differences, self.options = differences, options
        for difference in differences.values():
            difference.seed = seed
        self.fixed = False

    def penalty(self) -> Tensor | None:
        if self.fixed or not self.options.l0:
            return None
        return self.options.l0 * torch.stack([difference.expected_open() for difference in self.differences.values()]).sum()

    @torch.no_grad()
    def after_backward(self, step: int) -> None:
        if self.fixed:
            for difference in self.differences.values():
                if difference.w.grad is not None:
                    difference.w.grad.mul_(difference.mask)

    @torch.no_grad()
    def after_step(self, step: int) -> bool:
        for difference in self.differences.values():
            difference.step = step
        if self.fixed:
            for difference in self.differences.values():
                difference.w.mul_(difference.mask)
            return False
        if step < max(1, round(self.options.projection * self.total)):
            return False
        self.project()
        return True

    def project(self) -> None:
        """Fix the mask; the gates go, and w starts its second phase without momentum."""
        threshold = self.threshold()
        for difference in self.differences.values():
            for parameter in list(difference.parameters()):
                self.forget(parameter)
                parameter.grad = None
            difference.fix(threshold)
        self.fixed = True
        own = {id(difference.w) for difference in self.differences.values()}
        for group in self.optimizer.param_groups if self.optimizer else ():
            if any(id(parameter) in own for parameter in group["params"]):
                for rate in {"lr", "peak_lr"} & set(group):  # the loop keeps a group's peak beside its present rate
                    group[rate] *= self.options.finish_ratio

    def threshold(self) -> float:
        """Bisection on |θ − θ0| for the largest threshold that leaves at least density × weights."""
        sizes = [difference.w.numel() for difference in self.differences.values()]
        wanted = max(1, round(self.options.density * sum(sizes)))
        magnitudes = [difference.magnitude() for difference in self.differences.values()]
        low, high = 0.0, max(float(m.max()) for m in magnitudes)
        for _ in range(60):
            middle = (low + high) / 2
            if sum(int((m > middle).sum()) for m in magnitudes) > wanted:
                low = middle
            else:
                high = middle
        return high

    def held(self) -> int:
        if not self.fixed:
            return 0
        return sum(int((difference.mask == 0).sum()) for difference in self.differences.values())

    def measurements(self) -> dict[str, float]:
        total = sum(difference.w.numel() for difference in self.differences.values())
        with torch.no_grad():
            if self.fixed:
                kept = sum(float(difference.mask.sum()) for difference in self.differences.values())
            else:
                kept = sum(float(difference.expected_open()) for difference in self.differences.values())
        return {"density": kept / total}

    def state(self) -> dict[str, Any]:
        step = next(iter(self.differences.values())).step
        return {"fixed": self.fixed, "step": step}

    def load(self, state: dict[str, Any]) -> None:
        """The masks themselves are part of the weights."""
        self.fixed = bool(state["fixed"])
        for difference in self.differences.values():
            difference.step = int(state["step"])

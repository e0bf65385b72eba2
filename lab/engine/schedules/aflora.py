"""AFLoRA (Liu et al. 2024, arXiv 2403.13269): A and B freeze tensor by tensor, for good; the scaling vectors train on.

Score of a tensor: mean(Ī∘Ū) with I the |gradient| averaged over windows of 10 steps, Ī and Ū smoothed (β 0.85, 0.95). The share
that trains is 1 until t_i, then (1 − (t−t_i)/(T−t_i−t_f))³, 0 at the end. `paper` freezes the lowest tensors until that share is
reached; `code` takes the quantile over all elements that still train and freezes the tensors whose mean score is below it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lab.design.schedules import AFLoRAFreezing
from lab.engine.delta import DeltaModule
from lab.engine.schedules.base import Schedule, cubic, smooth


class AFLoRA(Schedule):
    def __init__(self, deltas: list[DeltaModule], options: AFLoRAFreezing):
        self.options = options
        self.tensors: dict[str, nn.Parameter] = {
            f"{delta.key}/{name}": getattr(delta, name) for delta in deltas for name in ("A", "B") if getattr(delta, name).requires_grad
        }
        self.frozen: set[str] = set()
        self.window: dict[str, Tensor] = {}
        self.average: dict[str, Tensor] = {}
        self.spread: dict[str, Tensor] = {}

    def begin(self, total, optimizer):
        super().begin(total, optimizer)
        self.first = round(self.options.start * total)
        self.last = max(total - round(self.options.finish * total), self.first + 1)

    def training(self) -> list[str]:
        return [key for key in self.tensors if key not in self.frozen]

    @torch.no_grad()
    def after_backward(self, step: int) -> None:
        for key in self.training():
            gradient = self.tensors[key].grad
            if gradient is not None:
                self.window[key] = gradient.abs() if key not in self.window else self.window[key] + gradient.abs()

    @torch.no_grad()
    def after_step(self, step: int) -> bool:
        due = step % self.options.every == 0
        if due:
            self._smooth()
        if step <= self.first or not self.training() or not (due or step >= self.last):
            return False
        goes = self.choose(cubic(step, self.first, self.last))
        for key in goes:
            self.freeze(self.tensors[key])
            for table in (self.average, self.spread, self.window):
                table.pop(key, None)
        self.frozen |= set(goes)
        return bool(goes)

    def _smooth(self) -> None:
        for key in list(self.window):
            mean = self.window.pop(key) / self.options.every
            self.average[key] = smooth(self.average.get(key), mean, self.options.beta1)
            self.spread[key] = smooth(self.spread.get(key), (mean - self.average[key]).abs(), self.options.beta2)

    def choose(self, share: float) -> list[str]:
        """Which tensors freeze now, so that about `share` of them all goes on training."""
        live = self.training()
        stay = round(share * len(self.tensors))
        if stay >= len(live):
            return []
        if stay == 0:
            return live
        scores = {key: self.average[key] * self.spread[key] if key in self.average else torch.zeros_like(self.tensors[key]) for key in live}
        means = {key: float(score.mean()) for key, score in scores.items()}
        if self.options.rule == "paper":
            return sorted(live, key=means.get)[: len(live) - stay]
        elements = torch.cat([score.flatten() for score in scores.values()])
        threshold = float(elements.kthvalue(max(1, round((1 - stay / len(live)) * len(elements)))).values)
        return [key for key in live if means[key] < threshold]

    def measurements(self) -> dict[str, float]:
        return {f"trains/{key}": float(key not in self.frozen) for key in self.tensors}

    def state(self) -> dict[str, Any]:
        tables = {"window": self.window, "average": self.average, "spread": self.spread}
        return {"frozen": sorted(self.frozen), **{f"{t}/{key}": value for t, table in tables.items() for key, value in table.items()}}

    def load(self, state: dict[str, Any]) -> None:
        self.frozen = set(state["frozen"])
        for key in self.frozen:
            self.freeze(self.tensors[key])
        for key, value in state.items():
            if key != "frozen":
                table, _, name = key.partition("/")
                getattr(self, table)[name] = value

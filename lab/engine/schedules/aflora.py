"""AFLoRA (Liu et al. 2024, arXiv 2403.13269): A and B freeze tensor by tensor, for good; the scaling vectors train on.

Score of an element: Ī·Ū with I the |gradient| averaged over windows of `every` steps, Ī and Ū smoothed (β 0.85, 0.95). The share
r(t) is 1 until t_i, then (1 − (t−t_i)/(T−t_i−t_f))³, 0 at the end; t counts the updates made before the gradient, so windows end and
decisions fall at step t+1. `paper` keeps r(t) of all tensors, those of the highest mean score. `code`, as released: of the N elements
in tensors that still train, the k-th smallest score is the threshold, k = ⌊N·(1 − r(t))⌋, and every tensor whose mean is below it
freezes. What has frozen does not count any more, so its shares compound, and it freezes far sooner than `paper`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lab.design.method.schedules.aflora import AFLoRAFreezing
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
        if step > 1 and (step - 1) % self.options.every == 0:
            self._smooth()
        for key in self.training():
            gradient = self.tensors[key].grad
            if gradient is not None:
                self.window[key] = gradient.abs() if key not in self.window else self.window[key] + gradient.abs()

    @torch.no_grad()
    def after_step(self, step: int) -> bool:
        done = step - 1
        if done <= self.first or not self.training() or not (done > self.last or done % self.options.every == 0):
            return False
        goes = self.choose(cubic(done, self.first, self.last))
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
        """Which of the tensors that still train freeze now, at share r(t) = `share`; at 0 all of them."""
        live = self.training()
        if share == 0:
            return live
        scores = {key: self.average[key] * self.spread[key] if key in self.average else torch.zeros_like(self.tensors[key]) for key in live}
        means = {key: float(score.mean()) for key, score in scores.items()}
        if self.options.rule == "paper":
            return sorted(live, key=means.__getitem__)[: max(0, len(live) - round(share * len(self.tensors)))]
        elements = torch.cat([score.flatten() for score in scores.values()])
        count = int(len(elements) * (1 - share))
        if count == 0:
            return []
        threshold = float(elements.kthvalue(count).values)
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


SCHEDULE = AFLoRA

"""LaMDA (Azizi et al. 2024, arXiv 2406.12832): B's columns freeze one after another, in order of falling singular value.

After step t of T, min(r, ⌊r·t/(η·T)⌋) columns are frozen. A frozen column really stops: its gradient is cleared before clipping
and its value is put back after the optimizer's step, so neither momentum nor weight decay moves it. Once all are frozen, B needs
no gradient and no optimizer state any more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lab.design.method.schedules.lamda import LaMDAFreezing
from lab.engine.delta import DeltaModule
from lab.engine.schedules.base import Schedule


class LaMDA(Schedule):
    def __init__(self, deltas: list[DeltaModule], options: LaMDAFreezing):
        self.options = options
        self.deltas = [delta for delta in deltas if delta.B.requires_grad] if options.mode == "gradual" else []
        self.columns: dict[str, Tensor] = {delta.key: delta.B.detach()[:, :0].clone() for delta in self.deltas}

    def frozen(self, step: int, rank: int) -> int:
        return min(rank, int(rank * step / (self.options.fraction * self.total)))

    @torch.no_grad()
    def after_backward(self, step: int) -> None:
        for delta in self.deltas:
            if delta.B.grad is not None:
                delta.B.grad[:, : self.columns[delta.key].shape[1]] = 0

    @torch.no_grad()
    def after_step(self, step: int) -> bool:
        changed = False
        for delta in self.deltas:
            if not delta.B.requires_grad:
                continue
            held = self.columns[delta.key]
            delta.B[:, : held.shape[1]] = held
            count = self.frozen(step, delta.B.shape[1])
            self.columns[delta.key] = delta.B[:, :count].clone()
            if count == delta.B.shape[1]:
                self.freeze(delta.B)
                changed = True
        return changed

    def held(self) -> int:
        return sum(self.columns[delta.key].numel() for delta in self.deltas if delta.B.requires_grad)

    def measurements(self) -> dict[str, float]:
        return {f"frozen_columns/{key}": float(columns.shape[1]) for key, columns in self.columns.items()}

    def state(self) -> dict[str, Any]:
        return {f"columns/{key}": columns.contiguous() for key, columns in self.columns.items()}

    def load(self, state: dict[str, Any]) -> None:
        for delta in self.deltas:
            self.columns[delta.key] = state[f"columns/{delta.key}"]
            if self.columns[delta.key].shape[1] == delta.B.shape[1]:
                self.freeze(delta.B)


SCHEDULE = LaMDA

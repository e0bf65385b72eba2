"""AdaLoRA (Zhang et al. 2023): triplets P·Λ·Q are masked by importance while one budget of rank falls."""

from __future__ import annotations

from typing import Literal

from lab.design.method.schedules.base import ScheduleOptions, window
from lab.design.plain.options import option
from lab.design.plain.refusal import Refusal


class AdaLoRABudget(ScheduleOptions):
    """AdaLoRA (Zhang et al. 2023): triplets are masked by importance while the budget falls on a cubic."""

    name: Literal["adalora"] = "adalora"
    label, label_zh = "AdaLoRA budget", "AdaLoRA 预算"
    shares_rank = True
    peft_type = "ADALORA"
    target_rank: float = option(4, gt=0, label="target rank", symbol="r_T", help="Mean rank per projection when the budget has fallen.")
    start: float = option(0.1, ge=0, lt=1, label="start", symbol="t_i", help="Fraction of the run before the budget begins to fall.")
    finish: float = option(0.4, ge=0, lt=1, label="finish", symbol="t_f", help="Fraction of the run, at its end, with the final budget.")
    every: int = option(10, ge=1, unit="steps", label="every", symbol="ΔT", help="Steps between two reallocations while the budget falls.")
    orthogonality: float = option(0.1, ge=0, label="orthogonality", symbol="γ", help="Weight of the penalty that keeps P and Q orthogonal.")
    beta1: float = option(0.85, ge=0, lt=1, label="β₁", help="Smoothing of the sensitivity.")
    beta2: float = option(0.85, ge=0, lt=1, label="β₂", help="Smoothing of its uncertainty.")

    def problems(self, delta):
        fits = delta.form in self.forms
        if not (fits and delta.core == "diagonal"):
            yield Refusal("AdaLoRA's budget prunes triplets P·Λ·Q: choose form lowrank with core diagonal.", "schedule")
        elif self.target_rank > delta.rank:
            yield Refusal(
                "The target rank {target_rank:g} is above the initial rank {rank}.", "schedule.target_rank", target_rank=self.target_rank, rank=delta.rank
            )
        if fits and delta.trainable is not None and "core" not in delta.trainable:
            yield Refusal("AdaLoRA scores the core by its gradient, so core must train.", "trainable")
        yield from window(self)

    def final(self, delta, count):
        return round(count * self.target_rank / delta.rank)

    def over_time(self, language):
        return f"→ {'平均' if language == 'zh' else 'mean'} {self.target_rank:g}"

    @classmethod
    def numbers(cls, rank):
        return {"target_rank": max(1, rank / 2)}

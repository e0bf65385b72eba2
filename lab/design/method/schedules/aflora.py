"""AFLoRA (Liu et al. 2024): A and B freeze tensor by tensor, and the scaling vectors train throughout."""

from __future__ import annotations

from typing import Literal

from lab.design.method.schedules.base import ScheduleOptions, window
from lab.design.plain.message import Note
from lab.design.plain.options import option
from lab.design.plain.refusal import Refusal

FROZEN = ("A", "B")


class AFLoRAFreezing(ScheduleOptions):
    """AFLoRA (Liu et al. 2024): A and B are frozen tensor by tensor, by a smoothed score, on a cubic."""

    name: Literal["aflora"] = "aflora"
    label, label_zh = "AFLoRA freezing", "AFLoRA 冻结"
    freezes = True
    start: float = option(0.1, ge=0, lt=1, label="start", symbol="t_i", help="Fraction of the run in which all of A and B train.")
    finish: float = option(0.6, ge=0, lt=1, label="finish", symbol="t_f", help="Fraction of the run, at its end, in which none of them train.")
    every: int = option(10, ge=1, unit="steps", label="every", help="Steps over which |gradient| is averaged, and between two decisions.")
    rule: Literal["code", "paper"] = option(
        "code",
        label="rule",
        help="code: of what still trains, freeze tensors whose mean score is under the elements' 1 − r(t) quantile, as released (it compounds); paper: keep the share r(t) of all tensors.",
    )
    frozen_from_start: list[Literal["attn.q", "attn.k", "attn.v", "attn.qkv", "attn.out"]] = option(
        default_factory=list, label="frozen from the start", help="Representations whose A and B never train."
    )
    beta1: float = option(0.85, ge=0, lt=1, label="β₁", help="Smoothing of the score.")
    beta2: float = option(0.95, ge=0, lt=1, label="β₂", help="Smoothing of its uncertainty.")

    def problems(self, delta):
        yield from window(self)
        if not (delta.form in self.forms and delta.vectors):
            yield Refusal("AFLoRA freezes A and B and keeps the scaling vectors: choose form lowrank with vectors.", "schedule")

    def without_effect(self, delta):
        if delta.trainable and not set(FROZEN) & set(delta.trainable):
            yield Refusal("AFLoRA's schedule freezes A and B: one of them must be among the trained parts.", "trainable")

    def notes(self, delta, places):
        elsewhere = [place for place in self.frozen_from_start if place not in places]
        if places <= set(self.frozen_from_start):
            yield (
                "schedule.frozen_from_start",
                Note("A and B are frozen from the start in all places, so the schedule has nothing to freeze: the vectors alone train."),
            )
        elif elsewhere:
            yield "schedule.frozen_from_start", Note("This delta is not at {places}, so nothing is frozen from the start there.", places=", ".join(elsewhere))

    def trains(self, delta, site, part):
        return not (part in FROZEN and site.representation in self.frozen_from_start)

    def trains_at_the_end(self, part):
        return part not in FROZEN

    def over_time(self, language):
        return f"❄ {100 * (1 - self.finish):g} %"

    def look(self, part):
        return "cooling"

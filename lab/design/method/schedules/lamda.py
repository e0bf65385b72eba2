"""LaMDA (Azizi et al. 2024): A is frozen, and B freezes column by column, so that the core alone trains at the end."""

from __future__ import annotations

from typing import Literal

from lab.design.method.schedules.base import ScheduleOptions
from lab.design.plain.message import listed
from lab.design.plain.options import option
from lab.design.plain.refusal import Refusal


class LaMDAFreezing(ScheduleOptions):
    """LaMDA (Azizi et al. 2024): B's columns freeze in order of falling singular value during the first η of the run."""

    name: Literal["lamda"] = "lamda"
    label, label_zh = "LaMDA freezing", "LaMDA 冻结"
    freezes = True
    mode: Literal["gradual", "early", "never"] = option(
        "gradual", label="freezing of B", help="gradual: column by column; early: frozen from the start; never: trains throughout."
    )
    fraction: float = option(0.3, gt=0, le=1, label="fraction", symbol="η", help="Fraction of the run after which all of B is frozen.")

    def problems(self, delta):
        if not (delta.form in self.forms and delta.core == "square"):
            yield Refusal("LaMDA freezes B and keeps the core S: choose form lowrank with core square.", "schedule")
        needed = {"core"} if self.mode == "early" else {"B", "core"}
        if delta.trainable is not None and not needed <= set(delta.trainable):
            yield Refusal("LaMDA's schedule freezes B and keeps the core: both must be among the trained parts.", "trainable")

    def without_effect(self, delta):
        frozen = ("A", "B") if self.mode == "early" else ("A",)
        if set(frozen) & set(delta.trainable or ()):
            yield Refusal("LaMDA's schedule freezes {frozen} from the start: leave them out of the trained parts.", "trainable", frozen=listed(frozen, " and "))
        if self.mode != "gradual" and self.fraction != type(self)().fraction:
            yield Refusal("Only gradual freezing takes a fraction of the run: choose it, or leave the fraction at 0.3.", "schedule.fraction")

    def trains(self, delta, site, part):
        return part != "A" and not (part == "B" and self.mode == "early")

    def trains_at_the_end(self, part):
        return not (part == "B" and self.mode == "gradual")

    def over_time(self, language):
        return f"B ❄ {100 * self.fraction:g} %" if self.mode == "gradual" else ""

    def look(self, part):
        if part == "A":
            return "still"
        return {"gradual": "cooling", "early": "still", "never": ""}[self.mode]

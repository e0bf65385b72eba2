"""h ← h + s·Δh, with s a number, LoRA's α/r (α/√r of rsLoRA, Kalajdzievski 2023), or learned (He et al. 2022)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lab.design.method.compositions.base import Composition, Mark
from lab.design.method.part import Part
from lab.design.plain.refusal import Refusal

if TYPE_CHECKING:
    from lab.design.method.delta import Delta


def fixed_scale(delta):
    """s of a delta that has `scale`, or `alpha` and its `rank_scaling`."""
    if delta.alpha is None:
        return delta.scale
    return delta.alpha / (math.sqrt(delta.rank) if delta.rank_scaling == "rslora" else delta.rank)


def written_scale(delta: Delta) -> str:
    """s as LaTeX: a fraction where alpha gives it."""
    if delta.alpha is None:
        return f"{delta.strength:g}"
    under = f"\\sqrt{{{delta.rank}}}" if delta.rank_scaling == "rslora" else f"{delta.rank}"
    return f"\\tfrac{{{delta.alpha:g}}}{{{under}}}"


def scale_problems(delta):
    """What a fixed scale cannot be."""
    if delta.alpha is not None and delta.scale != 1.0:
        yield Refusal("alpha gives the scale as α/r: set alpha or scale, not both.", "alpha")
    if delta.rank_scaling != "lora" and delta.alpha is None:
        yield Refusal(Scaled.elsewhere["rank_scaling"], "rank_scaling")
    if delta.scale == 0.0:
        yield Refusal("A scale of 0 takes the delta away: choose another scale.", "scale")


class Scaled(Composition):
    name = "scaled"
    label, label_zh = "scaled", "缩放"
    help, help_zh = "h + s·Δh, with s fixed or learned", "缩放后相加，s 固定或可学习"
    latex = "h + s\\,\\Delta h"
    adds = True
    options = ("scale", "scale_start", "alpha", "rank_scaling")
    elsewhere = {
        "scale": "Only composition scaled has a scale s: choose it, or leave scale at 1 with {composition}.",
        "alpha": "alpha gives the s of composition scaled: choose it, or leave alpha empty.",
        "rank_scaling": "The rank scaling says by what alpha is divided: set alpha, or leave it at lora.",
        "scale_start": "Only a learned s has a start: choose composition scaled with scale learned, or leave the start at 1.",
    }
    peft_types = ("LORA", "ADALORA", "VERA")

    def parts(self, delta, site):
        return [Part("scale", (), f"constant:{delta.scale_start!r}", "scalar")] if delta.scale == "learned" else []

    def problems(self, delta, form):
        yield from scale_problems(delta)
        if delta.scale_start != 1.0 and delta.scale != "learned":
            yield Refusal(self.elsewhere["scale_start"], "scale_start")
        elif delta.scale_start == 0.0 and form.starts_at_zero(delta):
            yield Refusal("An s of 0 before a Δh that starts at 0 would never move: choose another start of s, or another initialisation.", "scale_start")

    def strength(self, delta):
        return fixed_scale(delta)

    def join(self, module, h, x):
        return module.added(h, x, module.strength)

    def equation(self, delta, form):
        if delta.strength == "learned":
            return self.latex + (f"\\ (s_0={delta.scale_start:g})" if delta.scale_start != 1 else "")
        s = written_scale(delta)
        return "h + \\Delta h" if s == "1" else f"h + {s}\\,\\Delta h"

    def mark(self, delta):
        return Mark("s", "s is learned", "s 可学习") if delta.strength == "learned" else None

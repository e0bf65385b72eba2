"""h ← (1−λ)h + λΔh, with λ the attention mass of the slots or virtual tokens: what attending to more keys and values computes (Eq. 7-10 of He et al. 2022)."""

from __future__ import annotations

from lab.design.method.compositions.base import Composition


class Gated(Composition):
    name = "gated"
    label, label_zh = "gated", "门控"
    help, help_zh = "(1−λ)h + λΔh, with λ the attention mass of the slots", "由注意力质量 λ 门控"
    latex = "(1-\\lambda)\\,h + \\lambda\\,\\Delta h"
    misfit = "gated needs the attention mass of slots: choose form slots, or composition add."
    inside = True
    unmerged = "joins inside the attention"
    peft_types = ("PREFIX_TUNING", "PROMPT_TUNING")

    def join(self, module, h, x):
        raise AssertionError("gated deltas join inside the attention")

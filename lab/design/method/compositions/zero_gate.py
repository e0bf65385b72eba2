"""h ← h + g·Δh inside the attention, slots under a softmax of their own and g learned from 0 (LLaMA-Adapter, Zhang et al. 2024).

Queries are those of the attention, after rotation and normalisation; `gated` lets slots share the softmax of real keys instead.
"""

from __future__ import annotations

from lab.design.method.compositions.base import Composition, Mark
from lab.design.method.part import Part
from lab.design.plain.refusal import Refusal


class ZeroGate(Composition):
    name = "zero-gate"
    label, label_zh = "zero gate", "零初值门控"
    help, help_zh = "h + s·Δh inside the attention, with s learned from 0", "在注意力内 h + s·Δh，s 从 0 开始学习"
    latex = "h + s\\,\\Delta h"
    forms = ("slots",)
    misfit = "zero-gate adds slots inside the attention: choose form slots or prompt, or composition scaled."
    apart = True
    peft_types = ("ADAPTION_PROMPT",)
    unmerged = "joins inside the attention"

    def parts(self, delta, site):
        return [Part("scale", (), "zeros", "scalar")]

    def problems(self, delta, form):
        if delta.norm != "none":
            yield Refusal("Slots inside the attention are read by the model's own queries: leave the layer norm at none.", "norm")
        if delta.dropout or delta.inner_dropout:
            yield Refusal("Slots under a gate from zero are read without dropout: leave it at 0.", "dropout" if delta.dropout else "inner_dropout")

    def strength(self, delta):
        return "learned"

    def join(self, module, h, x):
        raise AssertionError("slots under a gate from zero join inside the attention")

    def lines(self, delta):
        return ["s_0 = 0"]

    def mark(self, delta):
        return Mark("s", "s is learned, from 0", "s 可学习，从 0 开始")

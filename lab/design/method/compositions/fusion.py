"""h ← h + Σₙ sₙ·Δhₙ·V, s = softmax over n of (x·Q + b)·(Δhₙ·K + c): attention over adapters (AdapterFusion, Pfeiffer et al. 2021, arXiv 2005.00247).

At every token of every layer. V starts at the identity with noise of 1e-6 (section 3.2 of the paper); the loss takes ‖V − I‖² times a weight, as the
authors' code has it. For a width of 768 it trains 3·768² + 2·768 weights per layer.
"""

from __future__ import annotations

from lab.design.method.compositions.base import Composition, Mark
from lab.design.method.part import Part


class Fusion(Composition):
    name = "fusion"
    label, label_zh = "fusion", "融合"
    help = "h + Σ sₙ·Δhₙ·V: attention over what several frozen adapters compute, asked by x"
    help_zh = "h + Σ sₙ·Δhₙ·V：以 x 为查询，对多个冻结适配器的输出做注意力"
    latex = "h + \\sum_n s_n\\,\\Delta h_n\\,V"
    forms = ("frozen",)
    misfit = "fusion is attention over the adapters of earlier runs: choose form frozen, or composition add."
    options = ("value_decay",)
    elsewhere = {"value_decay": "Only composition fusion has values that are drawn to the identity: choose it, or leave value decay at 0.01."}
    keeps_h = False
    unmerged = "weighs its adapters by the input"

    def parts(self, delta, site):
        out = site.width_out
        return [
            Part("Q", (out, site.width_in), "normal:0.02"), Part("Q_bias", (out,), "zeros", "bias"),
            Part("K", (out, out), "normal:0.02"), Part("K_bias", (out,), "zeros", "bias"),
            Part("V", (out, out), "identity:1e-6"),
        ]  # fmt: skip

    def join(self, module, h, x):
        changes = module.beside()  # (..., N, width_out)
        asked = module.enter(x) @ module.Q.T + module.Q_bias
        scores = (changes @ module.K.T + module.K_bias) @ asked[..., None]  # (..., N, 1)
        shares = scores.softmax(-2)
        module.read_shares(shares)
        return h + (shares * (changes @ module.V.T)).sum(-2).to(h.dtype)

    def penalty(self, module):
        weight = module.delta.value_decay
        return weight * (module.V - module.V.new_ones(len(module.V)).diag()).square().sum() if weight else None

    def lines(self, delta):
        return ["s = \\mathrm{softmax}_n\\!\\left((x\\,Q + b_Q)\\cdot(\\Delta h_n\\,K + b_K)\\right)"]

    def mark(self, delta):
        return Mark("Σ", "attention over the frozen adapters, by Q, K and V", "对冻结适配器的注意力（Q、K、V）")

"""MiSS: Δh = fold(x)·D, one matrix for all pieces of x (Kang & Yin, arXiv 2409.15371; in earlier versions Bone).

x is cut into pieces of r dimensions, the last filled up with zeros, and these are summed: ΔW repeats D along x. D starts at zero and is
all that trains. For 768 → 768 with r=16: D (768, 16), 12,288 weights, as many as a LoRA of rank 8; a ΔW of rank 16.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.method.step import Step
from lab.design.plain.refusal import Refusal


class MiSS(Form):
    name = "miss"
    label, label_zh = "MiSS", "MiSS（分片共享）"
    help = "The sum of x's pieces through one matrix, linear in x: a low-rank change with one trained matrix that starts at zero."
    names = ("D",)
    defaults = {"composition": "add", "init": "zero"}
    inits = ("zero",)
    identity_inits = ("zero",)
    own_input = True
    by_tensor = True
    glyph, motif = "block", "M0 8.5H18M0 17H18M0 25.5H18M18 0V34"
    peft_type, peft_own = "MISS", True
    peft_fixed = {"mini_r": 1, "miss_dropout": 0.0, "bias": "none", "init_weights": True}

    def parts(self, delta, site):
        return [Part("D", (site.width_out, delta.rank), "zeros")]

    def fits(self, delta, site):
        if delta.rank > site.width_in:
            yield Refusal(
                "Pieces of {rank} are wider than the {width_in} dimensions of x at {representation}: choose at most that.",
                "rank",
                rank=delta.rank,
                width_in=site.width_in,
                representation=site.representation,
            )

    def steps(self, delta):
        return [Step("fold", value=delta.rank), Step("map", "D")]

    def mergeable(self, delta):
        return True

    def low_rank(self, delta):
        return True

    def factors(self, p):
        rank, width = p.D.shape[1], p.site.width_in
        return p.D, p.D.new_ones(rank).diag().repeat(1, -(-width // rank))[:, :width], None

    def matrix(self, p):
        left, right, bias = self.factors(p)
        return left @ right, bias

    def peft_tensors(self, p, s):
        return {"miss_block": s * p.D.T}

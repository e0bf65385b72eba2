"""Bat: block by block ΔW = (W + I)·D, a change that goes through the weight (Kang & Yin, arXiv 2409.15371; peft's MiSS with `bat`).

W is cut into blocks of r × r, and those of the same outputs share a D: ΔW_ij = (W_ij + I)·D_i, so that one D changes each block in
another way. D starts at zero. For 768 → 768 with r=16: D (48, 16, 16), 12,288 weights.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.plain.refusal import Refusal


class Bat(Form):
    name = "bat"
    label, label_zh = "Bat", "Bat（块仿射变换）"
    help = "Each block of the weight times a trained one, which the blocks of the same outputs share; linear in x, of full rank."
    names = ("D",)
    rank_label = "block size"
    defaults = {"composition": "add", "init": "zero"}
    inits = ("zero",)
    identity_inits = ("zero",)
    remade = True
    own_input = True
    by_tensor = True
    alone = True
    glyph, motif = "block", "M0 11.3H52M0 22.7H52M17.3 0V34M34.7 0V34M0 0L17.3 11.3M17.3 0L34.7 11.3M34.7 0L52 11.3"
    peft_type, peft_own = "MISS", True
    peft_fixed = {"mini_r": 1, "miss_dropout": 0.0, "bias": "none", "init_weights": "bat"}

    def parts(self, delta, site):
        return [Part("D", (site.width_out // delta.rank, delta.rank, delta.rank), "zeros")]

    def problems(self, delta):
        if not delta.reads_projection:
            yield Refusal("Bat reads the weight of a projection: choose parallel at projections such as attn.q.", "insertion")

    def fits(self, delta, site):
        for width in site.shape:
            if width % delta.rank:
                yield Refusal(
                    "Blocks of {rank} do not divide a width of {width} at {representation}: choose a number that divides it.",
                    "rank",
                    rank=delta.rank,
                    width=width,
                    representation=site.representation,
                )

    def products(self, delta, site):
        return [(site.width_in * site.width_out, "D")]

    def making(self, delta, site):
        return delta.rank * site.width_in * site.width_out // 2

    def change(self, p, x, sigma):
        return x @ self.matrix(p)[0].T

    def mergeable(self, delta):
        return True

    def matrix(self, p):
        size = p.D.shape[-1]
        blocks = p.target_weight().to(p.D.dtype).unflatten(0, (-1, size)).unflatten(2, (-1, size)).transpose(1, 2)  # (out/r, in/r, r, r)
        changed = (blocks + p.D.new_ones(size).diag()) @ p.D[:, None]
        return changed.transpose(1, 2).flatten(2).flatten(0, 1), None

    def latex(self, delta):
        return f"x\\,\\left[D_j\\left(W_{{ij}}+I\\right)\\right]_{{{delta.rank}\\times {delta.rank}}}"

    def peft_tensors(self, p, s):
        return {"miss_block": s * p.D}

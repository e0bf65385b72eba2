"""Butterfly: h ← h·B_m ⋯ B₁, each Bⱼ of orthogonal blocks over dimensions that lie further apart with j (BOFT, Liu et al. 2024).

Bⱼ = Pⱼ·diag(blocks of b)·Pⱼᵀ, and Pⱼ brings together halves of blocks that are b·2ʲ⁻² apart, as in a fast Fourier transform. Blocks are Cayley
transforms of skew-symmetric matrices. For an input of 768 with b=8 and m=2: Q (2, 96, 8, 8), 12,288 weights, of which each skew pair has two.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.method.forms.cayley import Turning, blocks_fit, blockwise, cayley
from lab.design.plain.message import Message
from lab.design.plain.refusal import Refusal


class Butterfly(Turning, Form):
    name = "butterfly"
    label, label_zh = "butterfly rotation", "蝶形旋转"
    help = "A product of m sparse rotations, in blocks over dimensions that lie further and further apart, turns h."
    names = ("Q",)
    rank_label, rank_symbol = "block size", "b"
    defaults = {"insertion": "sequential", "composition": "rotate", "init": "identity", "rank": 8}
    options = ("factors",)
    motif = "M8 8L44 26M8 26L44 8M8 8H44M8 26H44"
    peft_type = "BOFT"
    peft_names = {"rank": "boft_block_size", "factors": "boft_n_butterfly_factor"}
    peft_fixed = {"boft_block_num": 0, "boft_dropout": 0.0, "bias": "none"}

    def parts(self, delta, site):
        return [Part("Q", (delta.factors, site.width_out // delta.rank, delta.rank, delta.rank), "zeros")]

    def problems(self, delta):
        if delta.rank < 2 or delta.rank % 2 and delta.factors > 1:
            yield Refusal("A butterfly moves halves of blocks: choose an even block size.", "rank")

    def fits(self, delta, site):
        yield from blocks_fit(delta.rank, site.width_out)
        if site.width_out % delta.rank == 0 and site.width_out % (delta.rank * 2 ** (delta.factors - 1)):
            yield Refusal(
                "{factors} butterfly factors join {blocks} blocks of {size}, which do not divide a width of {width}: choose fewer factors, or a smaller block size.",
                "factors",
                factors=delta.factors,
                blocks=2 ** (delta.factors - 1),
                size=delta.rank,
                width=site.width_out,
            )

    def identity(self, p):
        return p.Q.new_ones(p.Q.shape[1] * p.Q.shape[3]).diag()

    def products(self, delta, site):
        return [(delta.rank * site.width_out, "Q")] * delta.factors

    def change(self, p, x, sigma):
        half = p.Q.shape[-1] // 2
        for place, blocks in reversed(list(enumerate(p.Q))):
            turn = cayley(0.5 * (blocks - blocks.mT))
            if not place:
                return blockwise(x, turn)
            apart = x.unflatten(-1, (-1, 2, 2**place, half)).transpose(-3, -2)  # halves of 2ʲ blocks, each beside the one that it is turned with
            x = blockwise(apart.flatten(-4), turn).unflatten(-1, (-1, 2**place, 2, half)).transpose(-3, -2).flatten(-4)
        return x

    def latex(self, delta):
        return f"x\\,R_{{Q}}^{{b={delta.rank}}}"

    def lines(self, delta, x):
        return [f"R_Q = B_{{{delta.factors}}}\\cdots B_1", "B_j = P_j\\,\\mathrm{diag}\\!\\left((I-Q_{ji})(I+Q_{ji})^{-1}\\right)P_j^{\\top}"]

    def peft_unfit(self, delta):
        return Message("PEFT joins several butterfly factors with a CUDA kernel alone") if delta.factors > 1 else ""

    def peft_tensors(self, p, s):
        return {"boft_R": p.Q, "boft_s": p.Q.new_ones(len(p.target_weight()), 1)}

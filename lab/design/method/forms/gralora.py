"""GraLoRA: a low-rank change for each of k × k blocks of the matrix (Jung et al. 2025, arXiv 2505.20355).

x and Δh are cut into k blocks; block j of Δh is Σᵢ xᵢ·A_ij·B_ij with A_ij, B_ij of rank r/k. As many weights as a LoRA of rank r, and a ΔW
of rank up to k·r. For 768 → 768 with k=2, r=8: A (2, 8, 384) with the blocks' ranks beside each other for each i, B (2, 384, 8) for each j.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.method.starts.base import KAIMING
from lab.design.plain.refusal import Refusal


class GraLoRA(Form):
    name = "gralora"
    label, label_zh = "GraLoRA", "GraLoRA（分块低秩）"
    help = "A low-rank map of its own for each of k × k blocks of the matrix, linear in x."
    names = ("A", "B")
    defaults = {"composition": "scaled", "init": "lora"}
    inits = ("lora",)
    identity_inits = ("lora",)
    options = ("alpha", "rank_scaling", "blocks")
    own_input = True
    glyph, motif = "block", "M0 17H52M26 0V34"
    peft_type, peft_own, peft_scales, peft_conv1d = "GRALORA", True, True, True
    peft_names, peft_strength = {"rank": "r", "blocks": "gralora_k"}, ("alpha", True)
    peft_fixed = {"hybrid_r": 0, "gralora_dropout": 0.0, "bias": "none", "init_weights": True}

    def parts(self, delta, site):
        k = delta.blocks
        return [Part("A", (k, delta.rank, site.width_in // k), KAIMING), Part("B", (k, site.width_out // k, delta.rank), "zeros")]

    def problems(self, delta):
        if delta.rank % delta.blocks:
            yield Refusal("The rank is shared out among {blocks} blocks: choose a multiple of {blocks}.", "rank", blocks=delta.blocks)

    def fits(self, delta, site):
        for width in site.shape:
            if width % delta.blocks:
                yield Refusal(
                    "{blocks} blocks do not divide a width of {width} at {representation}: choose a number that divides it.",
                    "blocks",
                    blocks=delta.blocks,
                    width=width,
                    representation=site.representation,
                )

    def products(self, delta, site):
        return [(delta.rank * site.width_in, "A"), (delta.rank * site.width_out, "B")]

    def change(self, p, x, sigma):
        k, rank, _ = p.A.shape
        blocks = x.unflatten(-1, (k, -1)).flatten(0, -3).transpose(0, 1)  # (i, n, in/k), n: all positions
        mixed = (blocks @ p.A.mT).unflatten(-1, (k, rank // k)).permute(2, 1, 0, 3).flatten(2)  # (j, n, r)
        return (mixed @ p.B.mT).transpose(0, 1).flatten(1).unflatten(0, x.shape[:-1])

    def mergeable(self, delta):
        return True

    def low_rank(self, delta):
        return True

    def factors(self, p):
        k, rank, _ = p.A.shape
        each = rank // k
        left, right = p.B.new_zeros(k, p.B.shape[1], k, k, each), p.A.new_zeros(k, k, each, k, p.A.shape[2])  # [j] (out/k), [i, j]; [i, j, s], [i] (in/k)
        for i in range(k):
            right[i, :, :, i] = p.A[i].unflatten(0, (k, each))
            left[i, :, :, i] = p.B[i].unflatten(1, (k, each))
        return left.flatten(2).flatten(0, 1), right.flatten(3).flatten(0, 2), None

    def matrix(self, p):
        left, right, bias = self.factors(p)
        return left @ right, bias

    def latex(self, delta):
        return f"x\\,\\left[A_{{ij}}^{{r={delta.rank // delta.blocks}}} B_{{ij}}\\right]_{{{delta.blocks}\\times {delta.blocks}}}"

    def peft_tensors(self, p, s):
        return {"gralora_A": p.A.mT, "gralora_B": s * p.B.mT}

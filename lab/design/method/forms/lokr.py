"""LoKr: Δh = x·(C ⊗ D)ᵀ, a Kronecker product (KronA, Edalati et al. 2022; LyCORIS, Yeh et al. 2024).

Each width is split in two factors: `factor` and the rest where it divides the width, else the divisors next below `factor` (-1: next to
the square root). D is a product of two matrices of rank r where that is smaller, C too with `decompose_both`. For 768 → 768 with
factor 4 and r=32: C (4, 4), D₁ (192, 32), D₂ (32, 192), 12,304 weights. C starts at zero as in peft, or D as in LyCORIS.
"""

from __future__ import annotations

import math

from lab.design.method.forms.base import Form, Part
from lab.design.method.starts.base import KAIMING
from lab.design.plain.refusal import Refusal


def split(width: int, factor: int) -> tuple[int, int]:
    """Two numbers whose product is a width: (4, 192) of 768 by 4, (24, 32) by -1, (1, 127) of 127."""
    if factor > 0 and width % factor == 0:
        return factor, width // factor
    most = math.isqrt(width) if factor < 0 else min(factor, math.isqrt(width))
    first = next((number for number in range(most, 1, -1) if width % number == 0), 1)
    return first, width // first


class LoKr(Form):
    name = "lokr"
    label, label_zh = "LoKr", "LoKr（克罗内克积）"
    help = "The Kronecker product of a small matrix and a low-rank one, linear in x."
    names = ("C", "C1", "C2", "D", "D1", "D2")
    defaults = {"composition": "scaled", "init": "lora"}
    inits = ("lora", "lycoris")
    identity_inits = inits
    options = ("alpha", "rank_scaling", "factor", "decompose_both")
    own_input = True
    glyph, motif = "block", "M26 8a9 9 0 1 0 .01 0ZM19.6 10.6L32.4 23.4M32.4 10.6L19.6 23.4"
    peft_type, peft_own, peft_scales = "LOKR", True, True
    peft_names, peft_strength = {"rank": "r", "factor": "decompose_factor", "decompose_both": "decompose_both"}, ("alpha", True)
    peft_fixed = {"rank_dropout": 0.0, "module_dropout": 0.0}

    def parts(self, delta, site):
        (out, out_rest), (inner, inner_rest) = split(site.width_out, delta.factor), split(site.width_in, delta.factor)
        zero = "C" if delta.init == "lora" else "D"
        first = self._factor("C", (out, inner), delta.rank if delta.decompose_both else None, zero == "C", 0)
        return first + self._factor("D", (out_rest, inner_rest), delta.rank, zero == "D", 1)

    @staticmethod
    def _factor(name, shape, rank, zero, second):
        """One whole matrix, or two of rank r; of those that start a change of zero, the one that does: C₁, or D₂."""
        if rank is None or rank >= max(shape) / 2:
            return [Part(name, shape, "zeros" if zero else KAIMING)]
        sides = ((shape[0], rank), (rank, shape[1]))
        return [Part(f"{name}{place + 1}", side, "zeros" if zero and place == second else KAIMING) for place, side in enumerate(sides)]

    def products(self, delta, site):
        (out, out_rest), (inner, inner_rest) = split(site.width_out, delta.factor), split(site.width_in, delta.factor)
        return [(out * inner * inner_rest, "C"), (out * out_rest * inner_rest, "D")]

    def making(self, delta, site):
        """Of the factors that are products themselves."""
        both = [part for part in self.parts(delta, site) if part.name[-1] in "12"]
        return sum(left.shape[0] * left.shape[1] * right.shape[1] for left, right in zip(both[::2], both[1::2], strict=True))

    def change(self, p, x, sigma):
        first, second = self._both(p)
        return (first @ x.unflatten(-1, (first.shape[1], second.shape[1])) @ second.T).flatten(-2)  # (..., out)

    @staticmethod
    def _both(p):
        return p.C1 @ p.C2 if p.C is None else p.C, p.D1 @ p.D2 if p.D is None else p.D

    def mergeable(self, delta):
        return True

    def matrix(self, p):
        first, second = self._both(p)
        return (first[:, None, :, None] * second[None, :, None, :]).flatten(2).flatten(0, 1), None

    def problems(self, delta):
        if delta.factor == 0:
            yield Refusal("A factor of 0 divides no width: choose 1 or more, or -1 for the divisors nearest to a square root.", "factor")

    def latex(self, delta):
        rank = f"^{{r={delta.rank}}}"
        return f"x\\,\\left(C{rank if delta.decompose_both else ''} \\otimes D{rank}\\right)"

    def peft_config(self, delta, s):
        return super().peft_config(delta, s) | {"init_weights": True if delta.init == "lora" else delta.init}

    def peft_tensors(self, p, s):
        names = {"C": "w1", "C1": "w1_a", "C2": "w1_b", "D": "w2", "D1": "w2_a", "D2": "w2_b"}
        found = {name: getattr(p, name) for name in names if getattr(p, name) is not None}
        return {f"lokr_{names[name]}": s * tensor if name in ("C", "C1") else tensor for name, tensor in found.items()}

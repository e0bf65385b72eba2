"""C3A: Δh = x·C(w)ᵀ/d with C block-circulant, by Fourier transforms (Chen et al. 2025, arXiv 2407.19342).

Each block of b × b is a circulant matrix of one kernel: C[i, j] = w[(j−i) mod b], for d_h/b × d_x/b blocks. The kernels are divided by
the width d of x, as in the authors' code in peft. For 768 → 768 with b=64: w (12, 12, 64), 9,216 weights, of rank up to 768.
"""

from __future__ import annotations

import math

from lab.design.method.forms.base import Form, Part
from lab.design.plain.refusal import Refusal


class C3A(Form):
    name = "c3a"
    label, label_zh = "C3A", "C3A（循环卷积）"
    help = "A matrix of circulant blocks, one kernel each, linear in x: few weights, full rank."
    names = ("w",)
    rank_label, rank_symbol = "block size", "b"
    defaults = {"composition": "add", "init": "zero"}
    inits = ("zero", "xavier", "kaiming", "normal")
    identity_inits = ("zero",)
    remade = True
    own_input = True
    by_tensor = True
    glyph, motif = "block", "M0 17L26 34M0 0L52 34M26 0L52 17M26 0V34M0 17H52"
    peft_type, peft_own = "C3A", True
    peft_names = {"rank": "block_size"}
    peft_fixed = {"bias": "none", "block_size_pattern": {}, "init_weights": True}

    def parts(self, delta, site):
        bounds = {"xavier": math.sqrt(6 / sum(site.shape)), "kaiming": math.sqrt(1 / site.width_in)}
        init = f"uniform:{bounds[delta.init]}" if delta.init in bounds else {"zero": "zeros", "normal": "normal:1"}[delta.init]
        return [Part("w", (site.width_out // delta.rank, site.width_in // delta.rank, delta.rank), init)]

    def fits(self, delta, site):
        for width in site.shape:
            if width % delta.rank:
                most = math.gcd(*site.shape)
                yield Refusal(
                    "Blocks of {rank} do not fit {width_in} × {width_out} at {place}: choose a divisor of {most}.",
                    "rank",
                    rank=delta.rank,
                    width_in=site.width_in,
                    width_out=site.width_out,
                    place=site.representation,
                    most=most,
                )
                return

    def products(self, delta, site):
        """Of spectra, whose b/2 + 1 numbers are complex: four multiplications each."""
        return [(4 * (site.width_in // delta.rank) * (site.width_out // delta.rank) * (delta.rank // 2 + 1), "w")]

    def change(self, p, x, sigma):
        return p.fourier.correlate(x, p.w) / x.shape[-1]

    def mergeable(self, delta):
        return True

    def matrix(self, p):
        return p.fourier.circulant(p.w) / p.site.width_in, None

    def latex(self, delta):
        return f"x\\,\\tfrac{{1}}{{d_x}}\\,\\mathrm{{circ}}_{{b={delta.rank}}}(w)"

    def peft_tensors(self, p, s):
        return {"c3a_kernel": s * p.w}

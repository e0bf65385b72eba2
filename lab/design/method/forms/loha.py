"""LoHa: Δh = x·((B₁A₁) ⊙ (B₂A₂))ᵀ, a Hadamard product of two low-rank matrices, of rank up to r² (Hyeon-Woo et al. 2022; LyCORIS, Yeh et al. 2024).

For a projection 768 → 768 with r=8: A₁, A₂ (8, 768), B₁, B₂ (768, 8), 24,576 weights. A₂ starts at zero, the others Kaiming-uniform, as in peft.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.method.starts.base import KAIMING


class LoHa(Form):
    name = "loha"
    label, label_zh = "LoHa", "LoHa（哈达玛积）"
    help = "The elementwise product of two low-rank matrices, linear in x: rank up to r² for the weights of two of rank r."
    names = ("A1", "B1", "A2", "B2")
    defaults = {"composition": "scaled", "init": "lora"}
    inits = ("lora",)
    identity_inits = ("lora",)
    options = ("alpha", "rank_scaling")
    remade = True
    own_input = True
    glyph, motif = "block", "M26 8a9 9 0 1 0 .01 0ZM26 15.5a1.5 1.5 0 1 0 .01 0Z"
    peft_type, peft_own, peft_scales = "LOHA", True, True
    peft_strength = ("alpha", True)
    peft_fixed = {"rank_dropout": 0.0, "module_dropout": 0.0, "init_weights": True}

    def parts(self, delta, site):
        down, up = (delta.rank, site.width_in), (site.width_out, delta.rank)
        return [Part("A1", down, KAIMING), Part("B1", up, KAIMING), Part("A2", down, "zeros"), Part("B2", up, KAIMING)]

    def products(self, delta, site):
        return [(site.width_in * site.width_out, "A1")]

    def making(self, delta, site):
        return 2 * delta.rank * site.width_in * site.width_out

    def change(self, p, x, sigma):
        return x @ self.matrix(p)[0].T

    def mergeable(self, delta):
        return True

    def matrix(self, p):
        return (p.B1 @ p.A1) * (p.B2 @ p.A2), None

    def latex(self, delta):
        return f"x\\,\\left((A_1^{{r={delta.rank}}} B_1)\\odot (A_2^{{r={delta.rank}}} B_2)\\right)"

    def peft_tensors(self, p, s):
        return {"hada_w1_a": s * p.B1, "hada_w1_b": p.A1, "hada_w2_a": p.B2, "hada_w2_b": p.A2}

"""Householder: h ← h·H_r ⋯ H₁ with Hᵢ = I − 2·uᵢuᵢᵀ/‖uᵢ‖², a chain of reflections, orthogonal (HRA, Yuan et al. 2024).

For an input of 768 with r=8: u (8, 768), 6,144 weights. Reflections start in equal pairs, which cancel.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.method.forms.cayley import Turning
from lab.design.plain.refusal import Refusal


class Householder(Turning, Form):
    name = "householder"
    label, label_zh = "Householder reflections", "Householder 反射"
    help = "A chain of r reflections turns h."
    names = ("u",)
    rank_label = "reflections"
    defaults = {"insertion": "sequential", "composition": "rotate", "init": "identity", "rank": 8}
    motif = "M4 17H48M12 5L26 17L40 5"
    peft_type = "HRA"
    peft_fixed = {"apply_GS": False, "bias": "none", "init_weights": True}

    def parts(self, delta, site):
        return [Part("u", (delta.rank, site.width_out), "paired:2.23606797749979")]

    def problems(self, delta):
        if delta.rank % 2:
            yield Refusal("Reflections start in pairs, which cancel: choose an even number of them.", "rank")

    def identity(self, p):
        return p.u.new_ones(p.u.shape[1]).diag()

    def products(self, delta, site):
        return [(site.width_out, "u")] * delta.rank

    def change(self, p, x, sigma):
        for u in reversed(p.u / p.u.norm(dim=1, keepdim=True)):
            x = x - 2 * (x @ u)[..., None] * u
        return x

    def latex(self, delta):
        return f"x\\,R_{{u}}^{{r={delta.rank}}}"

    def lines(self, delta, x):
        return ["R_u = H_r\\cdots H_1", "H_i = I - 2\\,u_i u_i^{\\top}/\\|u_i\\|^{2}"]

    def peft_tensors(self, p, s):
        return {"hra_u": p.u.T}

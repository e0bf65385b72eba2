"""Lily: Δh = x·A·B_x, where a router mixes B_x from a pool of n up maps that all layers share (Zhong et al. 2024).

For a projection 768 → 768 in 12 layers with r=16 and n=3: A (16, 768) and a router (3, 16) in each layer, and one pool (3, 16, 768).
The router's softmax is averaged over all tokens of a batch, as in peft: one B_x for a forward pass.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.method.starts.base import KAIMING
from lab.design.plain.message import Message


class Lily(Form):
    name = "lily"
    label, label_zh = "routed pool", "路由池"
    help = "A down map for each layer, and a router that mixes its up map from a pool which all layers share."
    names = ("A", "router", "B")
    defaults = {"composition": "add", "init": "lora", "rank": 16, "shared": True}
    compositions = ("add", "scaled")
    inits = ("lora",)
    identity_inits = ("lora",)
    shared = ("B",)
    options = ("factors",)
    own_input = True
    peft_type, peft_own, peft_scales, peft_each_place = "LILY", True, True, True
    peft_names, peft_strength = {"rank": "r", "factors": "num_B"}, ("scaling", False)
    peft_fixed = {"stride_A": 1, "init_weights": True}
    refusals = {"nonlinearity": "The router alone is not linear: leave the nonlinearity at none, or choose form bottleneck."}

    def parts(self, delta, site):
        return [
            Part("A", (delta.rank, site.width_in), KAIMING),
            Part("router", (delta.factors, delta.rank), KAIMING),
            Part("B", (delta.factors, delta.rank, site.width_out), "zeros"),
        ]

    def products(self, delta, site):
        return [(delta.rank * site.width_in, "A"), (delta.factors * delta.rank, "router"), (delta.rank * site.width_out, "B")]

    def change(self, p, x, sigma):
        hidden = x @ p.A.T
        shares = (hidden @ p.router.T).softmax(-1).flatten(0, -2).mean(0)  # (n,)
        return hidden @ (shares[:, None, None] * p.B).sum(0)

    def latex(self, delta):
        return f"x\\,A^{{r={delta.rank}}}\\,B_x"

    def lines(self, delta, x):
        return [f"B_x = \\sum_{{i=1}}^{{n={delta.factors}}}\\overline{{\\mathrm{{softmax}}({x}\\,A\\,W_r)}}_i\\,B_i"]

    def peft_unfit(self, delta):
        return "" if delta.shared and len(delta.places) == 1 else Message("A Lily in PEFT has one pool for each place, which all layers share")

    def peft_tensors(self, p, s):
        return {"lily_A.weight": p.A, "lily_B.weight": s * p.B.flatten(0, 1), "lily_router.weight": p.router}

    def peft_shared(self, shared, sites):
        """Each layer's tensors have the pool."""
        return {}

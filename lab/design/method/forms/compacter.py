"""Compacter: a bottleneck whose two maps are sums of n Kronecker products, W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢᵀ) (Karimi Mahabadi et al. 2021).

At a width of 768 with r=24 and n=4: s and t of the way down (4, 192) and (4, 6), of the way up (4, 6) and (4, 192), A (4, 4, 4), which both
maps, and with `shared` all sites, have in common: 1,584 weights, 64 of A, and 792 biases.
"""

from __future__ import annotations

from typing import Any

from lab.design.method.forms.base import Part
from lab.design.method.forms.bottleneck import Bottleneck
from lab.design.plain.refusal import Refusal

INITS = {  # A, what is left of each product, what is right of it on the way up
    "glorot": ("normal:0.01", "glorot", "glorot"),
    "lora": ("normal:0.01", "glorot", "zeros"),
}


class Compacter(Bottleneck):
    name = "compacter"
    label, label_zh = "Kronecker bottleneck", "克罗内克瓶颈层"
    help = "A bottleneck whose two maps are sums of Kronecker products, with small matrices that all sites may share."
    names = ("A", "down_left", "down_right", "up_left", "up_right", "down_bias", "up_bias")
    defaults = {"nonlinearity": "gelu", "init": "glorot", "biases": True, "rank": 24, "factors": 4}
    inits = tuple(INITS)
    identity_inits = ("lora",)
    shared = ("A",)
    by_tensor = False  # they are multiplied with each other
    options = (*Bottleneck.options, "factors")

    def parts(self, delta, site):
        n, (small, left, right) = delta.factors, INITS[delta.init]
        sizes = [
            Part("A", (n, n, n), small),
            Part("down_left", (n, site.width_in // n), left),
            Part("down_right", (n, delta.rank // n), left),
            Part("up_left", (n, delta.rank // n), left),
            Part("up_right", (n, site.width_out // n), right),
        ]
        if delta.biases:
            sizes += [Part("down_bias", (delta.rank,), "zeros", "bias"), Part("up_bias", (site.width_out,), "zeros", "bias")]
        return sizes

    def problems(self, delta):
        if delta.rank % delta.factors:
            yield Refusal(
                "{factors} Kronecker products do not divide a bottleneck of {rank}: choose a multiple.", "rank", factors=delta.factors, rank=delta.rank
            )

    def fits(self, delta, site):
        for width in site.shape:
            if width % delta.factors:
                yield Refusal(
                    "{factors} Kronecker products do not divide a width of {width}: choose a number that does.", "factors", factors=delta.factors, width=width
                )

    def products(self, delta, site):
        return [(delta.rank * site.width_in, "A"), (delta.rank * site.width_out, "A")]

    def weight(self, p: Any, name: str) -> Any:
        """Of `down` (r, in) or `up` (out, r)."""
        left, right = getattr(p, f"{name}_left"), getattr(p, f"{name}_right")
        small = p.A.mT[:, :, None, :, None]  # (n, n of the output, 1, n of the input, 1)
        return (small * (right[:, :, None] * left[:, None, :])[:, None, :, None, :]).sum(0).flatten(2).flatten(0, 1)

    def lines(self, delta, x):
        return [f"W_{{\\mathrm{{{name}}}}} = \\sum_{{i=1}}^{{n={delta.factors}}} A_i\\otimes s_i t_i^{{\\top}}" for name in ("down", "up")]

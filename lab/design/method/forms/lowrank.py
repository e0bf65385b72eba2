"""Low rank: Δh = x·A·(S)·B, linear in x (LoRA, Hu et al. 2022; VeRA, AFLoRA, AdaLoRA, LaMDA are this form with other parts).

As torch keeps them, for a projection 768 → 3072 with r=8: A (8, 768), B (3072, 8), so Δh = x Aᵀ Bᵀ.
`core` puts something between the two: `diagonal` Λ (r,) as AdaLoRA, `square` S (r, r) as LaMDA. `vectors` multiplies by
d (r,) after A and by b (out,) after B, as VeRA and AFLoRA.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.method.starts import STARTS, UNKNOWN, starts_of
from lab.design.method.step import Step


class LowRank(Form):
    name = "lowrank"
    label, label_zh = "low rank", "低秩"
    help = "A linear map through r dimensions; it can be merged into the weight of a projection."
    names = ("A", "B", "core", "d", "b")
    defaults = {"composition": "scaled", "init": "lora"}
    nonlinearities = ("none",)
    inits = tuple(starts_of("lowrank"))
    identity_inits = tuple(name for name, start in starts_of("lowrank").items() if start.at_zero)
    ranked = ("A", 0)
    shared = ("A", "B")
    options = ("core", "vectors", "alpha", "rank_scaling")
    own_input = True
    refusals = {
        "nonlinearity": "A low-rank change is linear: choose form bottleneck to put a nonlinearity between its two maps.",
    }

    def parts(self, delta, site):
        draws = self.start(delta).draws
        rank = site.rank or delta.rank  # an allocation gives each site its own
        parts = [Part("A", (rank, site.width_in), draws["A"]), Part("B", (site.width_out, rank), draws["B"])]
        if delta.core == "diagonal":
            parts.append(Part("core", (rank,), "constant:1" if draws["core"] == "identity" else draws["core"]))
        elif delta.core == "square":
            parts.append(Part("core", (rank, rank), draws["core"]))
        if delta.vectors:
            parts += [Part("d", (rank,), draws["d"]), Part("b", (site.width_out,), draws["b"])]
        return parts

    def steps(self, delta):
        core = {"none": [], "diagonal": [Step("times", "core")], "square": [Step("map", "core")]}[delta.core]
        down, out = ([Step("times", "d")], [Step("times", "b")]) if delta.vectors else ([], [])
        return [Step("map", "A"), *down, *core, Step("map", "B"), *out]

    def mergeable(self, delta):
        return True

    def low_rank(self, delta):
        return True

    def start(self, delta):
        return STARTS.get(delta.init, UNKNOWN)

    def product(self, delta):
        return () if delta.vectors or delta.core != "none" or self.start(delta).residual else ("A", "B")

    def problems(self, delta):
        yield from self.start(delta).problems(delta)

    def factors(self, p):
        right = p.A if p.d is None else p.d[:, None] * p.A  # (r, in)
        if p.core is not None:
            right = p.core[:, None] * right if p.core.dim() == 1 else p.core @ right
        left = p.B if p.b is None else p.b[:, None] * p.B  # (out, r)
        return left, right, None

    def matrix(self, p):
        left, right, bias = self.factors(p)
        return left @ right, bias

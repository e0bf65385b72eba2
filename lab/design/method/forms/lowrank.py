"""Low rank: Δh = x·A·(S)·B, linear in x (LoRA, Hu et al. 2022; VeRA, AFLoRA, AdaLoRA, LaMDA are this form with other parts).

As torch keeps them, for a projection 768 → 3072 with r=8: A (8, 768), B (3072, 8), so Δh = x Aᵀ Bᵀ.
`core` puts something between the two: `diagonal` Λ (r,) as AdaLoRA, `square` S (r, r) as LaMDA. `vectors` multiplies by
d (r,) after A and by b (out,) after B, as VeRA and AFLoRA.
"""

from __future__ import annotations

from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.forms.base import Form, Part
from lab.design.method.step import Step
from lab.design.plain.refusal import Refusal

KAIMING = "kaiming:2.23606797749979"
# A, B, core, d, b
INITS = {
    "lora": (KAIMING, "zeros", "identity", "constant:1", "constant:1"),
    "code": (KAIMING, "zeros", KAIMING, "constant:1", "constant:1"),
    "zero-core": ("normal:0.02", "normal:0.02", "zeros", "constant:1", "constant:1"),
    "vectors": ("kaiming:0", "kaiming:0", "identity", "constant:0.1", "zeros"),
    "normal": ("normal:0.02", "normal:0.02", "identity", "constant:1", "constant:1"),
    "spectral": ("svd", "svd", "svd", "constant:1", "constant:1"),
    "spectral-minor": ("svd", "svd", "svd", "constant:1", "constant:1"),
    "spectral-random": ("svd", "svd", "svd", "constant:1", "constant:1"),
    "spectral-zero-core": ("svd", "svd", "svd", "constant:1", "constant:1"),
}
RESIDUAL = ("spectral", "spectral-minor", "spectral-random")  # these take B·S·A out of the weight, which keeps the residual
SPECTRAL = (*RESIDUAL, "spectral-zero-core")  # A and B from the weight's singular vectors


class LowRank(Form):
    name = "lowrank"
    label, label_zh = "low rank", "低秩"
    help = "A linear map through r dimensions; it can be merged into the weight of a projection."
    names = ("A", "B", "core", "d", "b")
    defaults = {"composition": "scaled", "init": "lora"}
    nonlinearities = ("none",)
    inits = tuple(INITS)
    identity_inits = ("lora", "code", "zero-core", "vectors", *SPECTRAL)
    shared = ("A", "B")
    options = ("core", "vectors", "alpha", "rank_scaling")
    own_input = True
    refusals = {
        "nonlinearity": "A low-rank change is linear: choose form bottleneck to put a nonlinearity between its two maps.",
    }

    def parts(self, delta, site):
        a, b, core, down, out = INITS[delta.init]
        rank = site.rank or delta.rank  # an allocation gives each site its own
        parts = [Part("A", (rank, site.width_in), a), Part("B", (site.width_out, rank), b)]
        if delta.core == "diagonal":
            parts.append(Part("core", (rank,), "constant:1" if core == "identity" else core))
        elif delta.core == "square":
            parts.append(Part("core", (rank, rank), core))
        if delta.vectors:
            parts += [Part("d", (rank,), down), Part("b", (site.width_out,), out)]
        return parts

    def steps(self, delta):
        core = {"none": [], "diagonal": [Step("times", "core")], "square": [Step("map", "core")]}[delta.core]
        down, out = ([Step("times", "d")], [Step("times", "b")]) if delta.vectors else ([], [])
        return [Step("map", "A"), *down, *core, Step("map", "B"), *out]

    def mergeable(self, delta):
        return True

    def low_rank(self, delta):
        return True

    def problems(self, delta):
        if delta.init == "zero-core" and delta.core == "none":
            yield Refusal("zero-core starts from a core of zeros: choose core diagonal or square.", "init")
        if delta.init == "vectors" and not delta.vectors:
            yield Refusal("Initialisation vectors starts from the scaling vectors: switch them on.", "init")
        if delta.init not in SPECTRAL:
            return
        if delta.core != "square":
            yield Refusal("A spectral start needs a square core between its singular vectors: choose core square.", "init")
        if not delta.reads_projection:
            yield Refusal("The spectral start reads the weight of a projection: choose parallel at projections such as attn.q.", "init")
        if delta.init in RESIDUAL and (delta.scale == "learned" or COMPOSITIONS[delta.composition].averages):
            yield Refusal("The spectral start leaves the residual in the weight, so its scale must be fixed: choose composition scaled.", "composition")
        if delta.init in RESIDUAL and (delta.norm != "none" or delta.vectors):
            yield Refusal("The spectral start replaces part of the weight: leave the layer norm at none and the vectors off.", "init")

    def factors(self, p):
        right = p.A if p.d is None else p.d[:, None] * p.A  # (r, in)
        if p.core is not None:
            right = p.core[:, None] * right if p.core.dim() == 1 else p.core @ right
        left = p.B if p.b is None else p.b[:, None] * p.B  # (out, r)
        return left, right, None

    def matrix(self, p):
        left, right, bias = self.factors(p)
        return left @ right, bias

"""FourierFT: Δh = x·(Re F⁻¹(E))ᵀ, a spectrum E with n trained coefficients (Gao et al. 2024, arXiv 2405.03003).

Which n frequencies are there is drawn once, from a seed of its own: the same for all projections of one shape and for all runs, and the
same as peft's. For 768 → 768 with n=1000: 1,000 weights, beside the frozen `places` of theirs.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.plain.refusal import Refusal

SEED = 777  # of the frequencies, peft's default


class FourierFT(Form):
    name = "fourierft"
    label, label_zh = "FourierFT", "FourierFT（傅里叶谱）"
    help = "A matrix with n trained coefficients in its Fourier spectrum, at frequencies that are drawn once; linear in x."
    names = ("spectrum", "places")
    rank_label, rank_symbol, rank_is_width = "frequencies", "n", False
    defaults = {"composition": "scaled", "init": "normal"}
    inits = ("normal", "zero")
    identity_inits = ("zero",)
    remade = True
    own_input = True
    glyph, motif = "block", "M2 17C6 3 10 3 14 17S22 31 26 17S34 3 38 17S46 31 50 17"
    peft_type, peft_own, peft_scales, peft_conv1d = "FOURIERFT", True, True, True
    peft_names, peft_strength = {"rank": "n_frequency"}, ("scaling", False)
    peft_fixed = {"random_loc_seed": SEED, "bias": "none", "n_frequency_pattern": {}, "init_weights": False}

    def parts(self, delta, site):
        total = site.width_in * site.width_out
        return [
            Part("spectrum", (delta.rank,), "normal:1" if delta.init == "normal" else "zeros"),
            Part("places", (min(delta.rank, total),), f"places:{total}:{SEED}", "index", trains=False),
        ]

    def fits(self, delta, site):
        if delta.rank > site.width_in * site.width_out:
            total = site.width_in * site.width_out
            yield Refusal(
                "{rank} frequencies are more than the {total} of the matrix at {representation}: choose at most that.",
                "rank",
                rank=delta.rank,
                total=total,
                representation=site.representation,
            )

    def products(self, delta, site):
        return [(site.width_in * site.width_out, "spectrum")]

    def change(self, p, x, sigma):
        return x @ self.matrix(p)[0].T

    def mergeable(self, delta):
        return True

    def matrix(self, p):
        return p.fourier.inverse(p.spectrum, p.places, (p.site.width_out, p.site.width_in)), None

    def latex(self, delta):
        return f"x\\,\\mathrm{{Re}}\\,\\mathcal{{F}}^{{-1}}(c^{{n={delta.rank}}})"

    def peft_tensors(self, p, s):
        return {"fourierft_spectrum": s * p.spectrum}

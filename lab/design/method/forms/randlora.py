"""RandLoRA: Δh = x·Σₙ ΓₙAΛₙBₙ over random bases that all projections share (Albert et al. 2025, arXiv 2502.00987).

A and all Bₙ are random and frozen; Λₙ (r) and Γₙ (the narrower width) train, for as many n as a full rank takes. Where h is narrower
than x the product is turned round, so that Γ stays on the narrow side. The columns of Bₙ are every N-th of B's, as peft lays them out.
For 768 → 3072 with r=32: 24 bases, Λ (32, 24), Γ (24, 768), 19,200 weights; A (32, 1, 768) and B (3072, 24, 32) live once.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part

UNIT = "uniform:1.7320508075688772"  # variance 1


class RandLoRA(Form):
    name = "randlora"
    label, label_zh = "RandLoRA", "RandLoRA（随机基）"
    help = "A sum of frozen random low-rank maps with learned scalings, linear in x and of full rank; all projections share the random ones."
    names = ("A", "B", "lambdas", "gammas")
    defaults = {"composition": "scaled", "init": "lora", "shared": True}
    inits = ("lora",)
    identity_inits = ("lora",)
    shared = ("A", "B")
    options = ("alpha", "rank_scaling")
    remade = True
    own_input = True
    glyph, motif = "block", "M0 4L24 14H28L52 4M0 30L24 20H28L52 30M0 17H52"
    peft_type, peft_own, peft_scales, peft_conv1d = "RANDLORA", True, True, True
    peft_strength = ("randlora_alpha", True)
    peft_fixed = {
        "randlora_dropout": 0.0,
        "projection_prng_key": 0,
        "save_projection": True,
        "sparse": False,
        "very_sparse": False,
        "bias": "none",
        "init_weights": True,
    }

    def parts(self, delta, site):
        rank, (narrow, wide) = delta.rank, sorted(site.shape)
        count = -(-narrow // rank)
        return [
            Part("A", (rank, 1, narrow), UNIT, trains=False),
            Part("B", (wide, count, rank), UNIT, trains=False),
            Part("lambdas", (rank, count), "zeros"),
            Part("gammas", (count, narrow), f"constant:{1 / max(count, narrow)!r}"),
        ]

    @staticmethod
    def _maps(p):
        """(narrow side (r·N, narrow), wide side (wide, r·N)), the trained ones in the narrow one."""
        return (p.lambdas[:, :, None] * p.A * p.gammas).flatten(0, 1), p.B.flatten(1)

    def products(self, delta, site):
        inner = delta.rank * -(-min(site.shape) // delta.rank)
        narrow, wide = (inner * min(site.shape), "gammas"), (inner * max(site.shape), "B")
        return [narrow, wide] if site.width_in <= site.width_out else [wide, narrow]

    def change(self, p, x, sigma):
        narrow, wide = self._maps(p)
        return x @ narrow.T @ wide.T if p.site.width_in <= p.site.width_out else x @ wide @ narrow

    def mergeable(self, delta):
        return True

    def matrix(self, p):
        narrow, wide = self._maps(p)
        return (wide @ narrow if p.site.width_in <= p.site.width_out else (wide @ narrow).T), None

    def latex(self, delta):
        return "x\\,M"

    def lines(self, delta, x):
        """Γ on the narrower side."""
        first = f"\\Gamma_n\\,A^{{r={delta.rank}}}\\Lambda_n\\,B_n"
        return [f"M = \\textstyle\\sum_{{n}}{first}", "M_{d_x>d_h} = \\textstyle\\sum_{n}B_n^{\\top}\\Lambda_n\\,A^{\\top}\\Gamma_n"]

    def peft_shared(self, shared, sites):
        """As large as peft makes them: by the largest width of any h and of any x."""
        narrow, wide = sorted((max(site.width_in for site in sites), max(site.width_out for site in sites)))
        rank, _, known = shared["A"].shape
        first, second = shared["A"].new_zeros(rank, 1, narrow), shared["B"].new_zeros(wide, -(-narrow // rank), rank)
        first[..., :known] = shared["A"]
        second[: shared["B"].shape[0], : shared["B"].shape[1]] = shared["B"]
        return {"randlora_A": first, "randlora_B": second}

    def peft_tensors(self, p, s):
        return {"randlora_lambda": s * p.lambdas, "randlora_gamma": p.gammas}

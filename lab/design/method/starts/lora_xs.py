"""LoRA-XS (Bałazy et al. 2024, arXiv 2405.17604): A = Σ_r·V_rᵀ (r, in) and B = U_r (out, r) of W = U Σ Vᵀ, between them a small random core R (r, r)."""

from __future__ import annotations

from lab.design.method.starts.base import DRAWN, LATER, Start


class LoRAXS(Start):
    name = "lora-xs"
    help, help_zh = "the weight's r largest singular values in A, the core normal, 1e-5", "权重最大的 r 个奇异值放入 A，核为正态分布 1e-5"
    draws = {**DRAWN, "A": LATER, "B": LATER, "core": "normal:1e-05"}
    cores = ("square",)
    reads = "weight"
    at_zero = False  # nearly: R is not zero
    singular = 1

    def parts(self, seen):
        u, sigma, vh = seen.svd(seen.weight)
        pick = slice(0, seen.rank)
        return {"B": u[:, pick], "A": sigma[pick, None] * vh[pick]}

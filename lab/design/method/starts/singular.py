"""Starts from the weight's spectrum without a core: W = U Σ Vᵀ gives B = U_r·√(Σ_r/s) (out, r), A = √(Σ_r/s)·V_rᵀ (r, in)."""

from __future__ import annotations

from lab.design.method.starts.base import DRAWN, LATER
from lab.design.method.starts.spectral import Spectral


class PiSSA(Spectral):
    """PiSSA (Meng et al. 2024, arXiv 2404.02948): the r largest singular values train, the frozen weight keeps the rest."""

    name = "pissa"
    help, help_zh = "the weight's r largest singular values, which leave it, shared out to A and B", "权重最大的 r 个奇异值从权重中取出，均分给 A 和 B"
    draws = {**DRAWN, "A": LATER, "B": LATER}
    cores = ("none",)

    def parts(self, seen):
        u, sigma, vh = seen.svd(seen.weight)
        pick = self.pick(seen.rank)
        root = (sigma[pick] / seen.scale).sqrt()
        return {"B": u[:, pick] * root, "A": root[:, None] * vh[pick]}


class MiLoRA(PiSSA):
    """MiLoRA (Wang et al. 2025, arXiv 2406.09044): the r smallest singular values train, the frozen weight keeps the principal ones."""

    name = "milora"
    help, help_zh = "the weight's r smallest singular values, which leave it, shared out to A and B", "权重最小的 r 个奇异值从权重中取出，均分给 A 和 B"

    def pick(self, rank):
        return slice(-rank, None)

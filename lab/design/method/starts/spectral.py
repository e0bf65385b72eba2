"""LaMDA's starts from the weight's spectrum (Azizi et al. 2024): W ≈ U Σ Vᵀ gives B = U_r (out, r), S = Σ_r / s (r, r), A = V_rᵀ (r, in)."""

from __future__ import annotations

from lab.design.method.starts.base import DRAWN, LATER, Start


class Spectral(Start):
    name = "spectral"
    help, help_zh = "the weight's r largest singular values, which leave it", "权重最大的 r 个奇异值，从权重中取出"
    draws = {**DRAWN, "A": LATER, "B": LATER, "core": LATER}
    cores = ("square",)
    reads = "weight"
    residual = True
    singular = 1

    def pick(self, rank):
        """Which of the singular values, from the largest on."""
        return slice(0, rank)

    def parts(self, seen):
        u, sigma, vh = seen.svd(seen.weight)
        pick = self.pick(seen.rank)
        return {"B": u[:, pick], "core": (sigma[pick] / seen.scale).diag(), "A": vh[pick]}


class SpectralMinor(Spectral):
    name = "spectral-minor"
    help, help_zh = "the weight's r smallest singular values, which leave it", "权重最小的 r 个奇异值，从权重中取出"

    def pick(self, rank):
        return slice(-rank, None)


class SpectralRandom(Spectral):
    """Random orthonormal bases with the core that fits them best: S = Bᵀ W Aᵀ / s."""

    name = "spectral-random"
    help, help_zh = "random directions, with what the weight does there, which leaves it", "随机方向及权重在其上的作用，从权重中取出"

    def parts(self, seen):
        out, inner = (seen.orthonormal(side) for side in seen.weight.shape)
        return {"B": out, "core": out.T @ seen.weight @ inner / seen.scale, "A": inner.T}


class SpectralZeroCore(Spectral):
    """The bases of `spectral` and a core of zeros; the weight stays as it is."""

    name = "spectral-zero-core"
    help, help_zh = "the weight's first r singular vectors, the core zero", "权重的前 r 个奇异向量，核为零"
    residual = False

    def parts(self, seen):
        return {**super().parts(seen), "core": seen.weight.new_zeros(seen.rank, seen.rank)}

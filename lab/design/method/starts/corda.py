"""CorDA (Yang et al. 2024, arXiv 2406.05223) in its instruction-previewed mode: the directions of W that matter to what the projection reads.

With C the covariance of the inputs, W·C = U Σ Vᵀ gives B = U_r·√(Σ_r/s) (out, r) and A = √(Σ_r/s)·V_rᵀ·C⁻¹ (r, in), and the frozen weight keeps
W − s·B·A. C is damped by a hundredth of its mean diagonal, twice as much again until its inverse is one.
"""

from __future__ import annotations

from lab.design.method.starts.base import DRAWN, LATER, Start

DAMPING, INVERSE_ERROR = 0.01, 0.05


class CorDA(Start):
    name = "corda"
    help, help_zh = (
        "the weight's largest singular values weighed by the covariance of its inputs, which leave it",
        "按输入协方差加权的权重最大奇异值，从权重中取出",
    )
    draws = {**DRAWN, "A": LATER, "B": LATER}
    cores = ("none",)
    reads = "covariance"
    residual = True
    singular = 1

    def parts(self, seen):
        weight, covariance, damping = seen.weight.double(), seen.covariance.double(), DAMPING  # the inverse magnifies what fp32 would round away
        one = covariance.new_ones(len(covariance)).diag()
        while True:
            damped = covariance + damping * covariance.diagonal().mean() * one
            inverse = seen.inverse(damped)
            if (damped @ inverse - one).norm() < INVERSE_ERROR:
                break
            damping *= 2
        u, sigma, vh = seen.svd(weight @ damped)
        root = (sigma[: seen.rank] / seen.scale).sqrt()
        return {"B": u[:, : seen.rank] * root, "A": root[:, None] * (vh[: seen.rank] @ inverse)}

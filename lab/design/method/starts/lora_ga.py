"""LoRA-GA (Wang et al. 2024, arXiv 2407.05000): A and B from the gradient of the weight, so that the first step is nearest to that of full fine-tuning.

∇W = U Σ Vᵀ gives A = c·V_{1..r}ᵀ (r, in) and B = c·U_{r+1..2r} (out, r) with c = out^¼/√γ, and the frozen weight keeps W − s·B·A.
"""

from __future__ import annotations

from lab.design.method.starts.base import DRAWN, LATER, Start

GAMMA = 16


class LoRAGA(Start):
    name = "lora-ga"
    help, help_zh = "A and B from the singular vectors of the gradient, what they do leaves the weight", "A 与 B 取自梯度的奇异向量，其作用从权重中取出"
    draws = {**DRAWN, "A": LATER, "B": LATER}
    cores = ("none",)
    reads = "gradient"
    residual = True
    singular = 2

    def parts(self, seen):
        u, _, vh = seen.svd(seen.gradient)
        size = seen.weight.shape[0] ** 0.25 / GAMMA**0.5
        return {"A": size * vh[: seen.rank], "B": size * u[:, seen.rank : 2 * seen.rank]}

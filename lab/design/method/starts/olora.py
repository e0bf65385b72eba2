"""OLoRA (Büyükakyüz 2024, arXiv 2406.01775): W = QR gives B = Q_r (out, r), A = R_r (r, in), and the frozen weight keeps W − s·B·A."""

from __future__ import annotations

from lab.design.method.starts.base import DRAWN, LATER, Start


class OLoRA(Start):
    name = "olora"
    help, help_zh = "the first r columns of the weight's QR decomposition, which leave it", "权重 QR 分解的前 r 列，从权重中取出"
    draws = {**DRAWN, "A": LATER, "B": LATER}
    cores = ("none",)
    reads = "weight"
    residual = True
    singular = 1

    def parts(self, seen):
        q, r = seen.qr(seen.weight)
        return {"B": q[:, : seen.rank], "A": r[: seen.rank]}

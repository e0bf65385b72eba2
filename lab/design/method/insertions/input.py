"""Input: Δ changes what a projection reads, x ← x + Δ(x), before any weight (as OFT's x ← x·R, Qiu et al. 2023). h is that x here."""

from __future__ import annotations

from lab.design.method.insertions.base import Insertion, moved


class Input(Insertion):
    name = "input"
    label, label_zh = "input", "输入"
    help, help_zh = (
        "Δh is computed from what a projection reads, and changes it: h is the projection's input.",
        "Δh 由投影的输入得到并改变该输入：此处 h 即投影的输入",
    )
    forms = ("lowrank", "bottleneck")
    reads_h = True
    changes_input = True

    def merged(self, weight, bias, matrix, offset, s):
        """W·(I + s·ΔW), b + s·W·Δb."""
        weight = weight.float()
        shift = None if offset is None else weight @ offset.float()
        return None if matrix is None else weight + s * (weight @ matrix.float()), moved(bias, shift, s)

    def place(self, latex):
        return f"\\mathrm{{in}}({latex})"

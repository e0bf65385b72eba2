"""Parallel: Δh is computed from the input of the sublayer or projection that computes h."""

from __future__ import annotations

from lab.design.method.insertions.base import Insertion, moved


class Parallel(Insertion):
    name = "parallel"
    label, label_zh = "parallel", "并行"
    help, help_zh = "Δh is computed from the input of the sublayer or projection that computes h.", "Δh 由计算 h 的子层或投影的输入得到"

    def merged(self, weight, bias, matrix, offset, s):
        """W + s·ΔW, b + s·Δb."""
        return None if matrix is None else weight.float() + s * matrix, moved(bias, offset, s)

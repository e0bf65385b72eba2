"""Sequential: Δh is computed from h itself."""

from __future__ import annotations

from lab.design.method.insertions.base import Insertion, moved


class Sequential(Insertion):
    name = "sequential"
    label, label_zh = "sequential", "串行"
    help, help_zh = "Δh is computed from h itself.", "Δh 由 h 本身得到"
    reads_h = True

    def merged(self, weight, bias, matrix, offset, s):
        """(I + s·ΔW)·W, (I + s·ΔW)·b + s·Δb."""
        if matrix is None:
            return None, moved(bias, offset, s)
        matrix = matrix.float()
        left = matrix.new_ones(len(matrix)).diag() + s * matrix
        return left @ weight.float(), moved(None if bias is None else left @ bias.float(), offset, s)

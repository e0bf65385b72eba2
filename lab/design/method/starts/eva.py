"""EVA (Paischer et al. 2024, arXiv 2410.07170): A = the r first principal directions of what the projection reads (r, in), B zero."""

from __future__ import annotations

from lab.design.method.starts.base import DRAWN, LATER, Start


class EVA(Start):
    name = "eva"
    help, help_zh = "A: the first principal directions of the projection's inputs, B zero", "A 为投影输入的前几个主方向，B 为零"
    draws = {**DRAWN, "A": LATER}
    reads = "inputs"
    singular = 1

    def parts(self, seen):
        return {"A": seen.inputs.directions[: seen.rank]}

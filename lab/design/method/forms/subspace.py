"""Subspace edit: Δh = (Wh + b − Rh)·R, h moved inside the r dimensions that R's orthonormal rows span (LoReFT, Wu et al. 2024).

At a width of 768 with r=8: R (768, 8), by reflections (the lower triangle of a tall matrix), W (8, 768), b (8,): 12,288 weights and 8 biases.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.method.step import Step
from lab.design.plain.refusal import Refusal


class Subspace(Form):
    name = "subspace"
    label, label_zh = "subspace edit", "子空间编辑"
    help = "h is moved inside a learned subspace of r dimensions, towards a linear map of it."
    names = ("R", "W", "bias")
    defaults = {"insertion": "sequential", "composition": "add", "init": "normal", "rank": 8}
    insertions = ("sequential", "input")
    compositions = ("add", "scaled")
    inits = ("normal",)
    refusals = {
        "insertion.parallel": "A subspace edit moves h towards a map of h itself: choose insertion sequential, or input.",
        "nonlinearity": "A subspace edit is linear: leave the nonlinearity at none, or choose form bottleneck.",
    }

    def parts(self, delta, site):
        width = site.width_out
        return [
            Part("R", (width, delta.rank), "reflections"),
            Part("W", (delta.rank, width), "kaiming:2.23606797749979"),
            Part("bias", (delta.rank,), f"uniform:{width**-0.5}", "bias"),
        ]

    def steps(self, delta):
        return [Step("map", "difference", "bias"), Step("map", "basis")]

    def fits(self, delta, site):
        if delta.rank > site.width_out:
            yield Refusal("A subspace of a width of {width_out} has at most that many dimensions: choose a rank up to it.", "rank", width_out=site.width_out)

    def products(self, delta, site):
        return [(delta.rank * site.width_out, "R")] * 2

    def weight(self, p, name):
        """Of `difference` W − R (r, width), or `basis` Rᵀ (width, r). R's rows: the first r columns of a product of reflections (Householder)."""
        below = p.R.tril(-1)
        basis = below.orgqr(2 / (1 + below.square().sum(0)))
        return basis if name == "basis" else p.W - basis.T

    def mergeable(self, delta):
        return True

    def low_rank(self, delta):
        return True

    def factors(self, p):
        basis = self.weight(p, "basis")
        return basis, p.W - basis.T, basis @ p.bias

    def matrix(self, p):
        left, right, bias = self.factors(p)
        return left @ right, bias

    def lines(self, delta, x):
        return ["R\\,R^{\\top} = I"]

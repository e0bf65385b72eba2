"""Bottleneck: Δh = σ(x·Wd)·Wu (Houlsby et al. 2019, Eq. 1 of He et al. 2022).

Shapes at a site of width 768 with r=16: down (16, 768), down_bias (16,), up (768, 16), up_bias (768,): 2·16·768 weights + 784 biases.
"""

from __future__ import annotations

from typing import ClassVar

from lab.design.method.forms.base import Form, Part
from lab.design.method.step import Step, activation

INITS = {  # down, up
    "lora": ("kaiming:2.23606797749979", "zeros"),
    "near-identity": ("truncated:0.01", "truncated:0.01"),
    "normal": ("normal:0.02", "normal:0.02"),
}


class Bottleneck(Form):
    name = "bottleneck"
    label, label_zh = "bottleneck", "瓶颈层"
    help = "Down to r dimensions, a nonlinearity, and up again."
    by_tensor = True
    names: ClassVar[tuple[str, ...]] = ("down", "up", "down_bias", "up_bias")
    rank_label = "bottleneck"
    defaults = {"nonlinearity": "relu", "init": "lora", "biases": True}
    compositions = ("add", "scaled", "learned-gate")
    nonlinearities = ("none", "relu", "gelu", "silu", "tanh", "sigmoid")
    ranked = ("down", 0)
    inits = tuple(INITS)
    identity_inits = ("lora",)
    shared: ClassVar[tuple[str, ...]] = ("down", "up", "down_bias", "up_bias")
    options: ClassVar[tuple[str, ...]] = ("biases", "inner_dropout")
    refusals = {
        "nonlinearity.softmax": "softmax weighs slots against each other: choose form slots, or a nonlinearity such as relu.",
    }

    def parts(self, delta, site):
        down, up = INITS[delta.init]
        rank = site.rank or delta.rank  # an allocation gives each site its own
        sizes = [Part("down", (rank, site.width_in), down), Part("up", (site.width_out, rank), up)]
        if delta.biases:
            sizes += [Part("down_bias", (rank,), "zeros", "bias"), Part("up_bias", (site.width_out,), "zeros", "bias")]
        return sizes

    def steps(self, delta):
        down, up = ("down_bias", "up_bias") if delta.biases else ("", "")
        return [Step("map", "down", down), *activation(delta), Step("map", "up", up)]

    def mergeable(self, delta):
        return delta.nonlinearity == "none"

    def low_rank(self, delta):
        return delta.nonlinearity == "none"

    def factors(self, p):
        up = self.weight(p, "up")
        return up, self.weight(p, "down"), None if p.up_bias is None else up @ p.down_bias + p.up_bias

    def matrix(self, p):
        left, right, bias = self.factors(p)
        return left @ right, bias

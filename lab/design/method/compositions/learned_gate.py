"""h ← h + g(x)·Δh, one gate per sequence (UniPELT, Mao et al. 2022); the keys and values of slots and virtual tokens are multiplied by it."""

from __future__ import annotations

from lab.design.method.compositions.base import Composition, Mark
from lab.design.method.part import Part
from lab.design.plain.refusal import Refusal

NO_GATE = "Only composition learned-gate has a gate: choose it, or leave gate at own and gate averages at tokens."


class LearnedGate(Composition):
    name = "learned-gate"
    label, label_zh = "learned gate", "可学习门控"
    help, help_zh = "h + g(x)·Δh, with g a sigmoid of x averaged over the sequence", "可学习门控 g(x)"
    latex = "h + g(x)\\,\\Delta h"
    adds = True
    options = ("gate", "gate_over")
    elsewhere = {"gate": NO_GATE, "gate_over": NO_GATE}
    refusals = {"alpha": "A learned gate stands in the place of α/r (UniPELT): leave alpha empty, or choose composition scaled."}
    inside = True
    averages = True
    unmerged = "has a gate that depends on the input"

    def parts(self, delta, site):
        """w (width_in,) and b (): d+1 weights; of a shared gate a row per delta and layer."""
        if delta.gate == "own":
            width = site.width_in
        elif site.first:
            width = site.model
        else:
            return []
        return [Part("gate", (width,), "normal:0.02"), Part("gate_bias", (), "zeros", "bias")]

    def problems(self, delta, form):
        if delta.gate == "shared" and "embed" in delta.places:
            yield Refusal("Deltas share the gate of a layer, and the embeddings are in none: choose gate own.", "gate")

    def join(self, module, h, x):
        return module.added(h, x, module.gate_value(x))

    def equation(self, delta, form):
        return "(1-\\lambda_g)\\,h + \\lambda_g\\,g(x)\\,\\Delta h" if form.mixed(delta) else self.latex

    def lines(self, delta):
        shared = delta.gate == "shared"
        return ["g(x) = " + ("\\mathrm{softmax}\\,\\overline{\\mathrm{ReLU}(x\\,W_g)}" if shared else "\\overline{\\mathrm{sigmoid}(x\\,w_g+b_g)}")]

    def mark(self, delta):
        if delta.gate == "shared":
            return Mark("g", "g(x): a softmax over the deltas of this layer that share it", "g(x)：在本层共享它的各个 Δ 之间的 softmax")
        return Mark("σ", "g(x): a sigmoid of x, averaged over the sequence", "g(x)：x 的 sigmoid 在序列上取平均")

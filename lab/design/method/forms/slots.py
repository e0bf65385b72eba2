"""Slots: Δh = σ(x·Wq·Pkᵀ)·Pv per head, over l learned keys and values (prefix tuning, Li & Liang 2021; Eq. 7-10 of He et al. 2022).

With softmax and `gated` this is attention over l more keys and values; with relu and `add` the multi-head parallel adapter.
Shapes for 12 heads of 64 and l=30: Pk (30, 768), Pv (30, 768). With grouped-query attention they have the key/value width.
"""

from __future__ import annotations

from typing import Any

from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.forms.base import Form, Part
from lab.design.method.step import Step, activation
from lab.design.plain.refusal import Refusal

INITS = {
    "normal": ("normal:0.02", "normal:0.02"),
    "bert": ("normal:0.02", "normal:0.02"),  # the network that makes the slots starts so as well (UniPELT's code)
    "lora": ("kaiming:2.23606797749979", "zeros"),
    "vocabulary": ("vocabulary", "vocabulary"),  # what the model's own projections give for l real tokens (Li & Liang 2021, section 7.4)
    "text": ("text", "text"),
}
OF_TOKENS = ("vocabulary", "text")


class Slots(Form):
    name = "slots"
    label, label_zh = "slots", "槽（前缀）"
    help = "l learned keys and values that every position can read."
    by_tensor = True
    names = ("keys", "values")
    rank_label, rank_symbol = "prefix length", "l"
    defaults = {"composition": "gated", "nonlinearity": "softmax", "init": "normal", "rank": 30}
    representations = ("attn.heads",)
    insertions = ("parallel",)
    compositions = ("add", "scaled", "gated", "learned-gate")
    nonlinearities = ("softmax", "relu", "gelu", "silu", "tanh", "sigmoid", "none")
    inits = tuple(INITS)
    identity_inits = ()
    options = ("encoder", "encoder_width", "positions", "text", "inner_dropout")
    produced = ("keys", "values")
    glyph = "pairs"
    peft_type = "PREFIX_TUNING"
    refusals = {
        "insertion.sequential": "Slots are read by the queries, which come from the sublayer's input: choose insertion parallel.",
        "representation": "Slots need a query projection to be read by: place them at attn.heads.",
    }

    def parts(self, delta, site):
        kv = site.kv_heads * site.head_dim
        keys, values = INITS[delta.init]
        return [Part("keys", (delta.rank, kv), keys), Part("values", (delta.rank, kv), values)]

    def steps(self, delta):
        """Queries (batch, heads, positions, head_dim); the keys and values of all heads side by side. The ReLU form has no 1/√d."""
        mixed = self.mixed(delta)
        part: dict[str, Any] = {"value": delta.dropout if mixed else 0.0, "gated": mixed and COMPOSITIONS[delta.composition].averages}
        queries = Step("queries", scaled=delta.nonlinearity == "softmax")
        return [queries, Step("keys", "keys", **part), *activation(delta), Step("values", "values", **part)]

    def products(self, delta, site):
        """Of slots that hooks add, with the queries that are computed again; those inside an attention are among its own keys and values."""
        width = site.heads * site.head_dim
        return [(site.width_in * width, ""), (delta.rank * width, "keys"), (delta.rank * width, "values")]

    def mixed(self, delta):
        return COMPOSITIONS[delta.composition].inside

    def kind(self, delta):
        return "attention" if self.mixed(delta) or COMPOSITIONS[delta.composition].apart else "queries"

    def starts_at_zero(self, delta):
        return not self.mixed(delta) and delta.init == "lora"

    def problems(self, delta):
        if delta.x == "residual":
            yield Refusal("Slots are read by queries, which come from the sublayer's normed input: leave the input at auto.", "x")
        if delta.encoder == "lstm":
            yield Refusal("Slots are reparameterised by an MLP: choose mlp or none.", "encoder")
        yield from self._inside(delta) if self.mixed(delta) else self._outside(delta)

    def _inside(self, delta):
        if delta.norm == "out":
            yield Refusal("Gated slots are mixed inside the attention, where no layer norm fits: leave it at none.", "norm")
        if delta.norm == "in":
            yield Refusal("Gated slots are read by the model's own queries: leave the layer norm at none.", "norm")
        if delta.inner_dropout:
            yield Refusal("Gated slots are weighed inside the attention, which has a dropout of its own there: leave inner_dropout at 0.", "inner_dropout")

    def _outside(self, delta):
        if delta.positions != "keep":
            yield Refusal("Positions shift behind keys and values that stand before the real ones: choose composition gated, or positions keep.", "positions")
        if delta.init in OF_TOKENS:
            yield Refusal("Keys and values of real tokens belong into the attention: choose composition gated, or initialisation lora.", "init")

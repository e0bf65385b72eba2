"""Slots: Δh = σ(x·Wq·Pkᵀ)·Pv per head, over l learned keys and values (prefix tuning, Li & Liang 2021; Eq. 7-10 of He et al. 2022).

With softmax and `gated` this is attention over l more keys and values; with relu and `add` the multi-head parallel adapter.
Shapes for 12 heads of 64 and l=30: Pk (30, 768), Pv (30, 768). With grouped-query attention they have the key/value width.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.method.step import Step, activation, mixed

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
        part = {"value": delta.dropout if mixed(delta) else 0.0, "gated": delta.composition == "learned-gate" and mixed(delta)}
        queries = Step("queries", scaled=delta.nonlinearity == "softmax")
        return [queries, Step("keys", "keys", **part), *activation(delta), Step("values", "values", **part)]

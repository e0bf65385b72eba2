"""Prompt: slots whose keys and values the model's own projections make of l learned rows, K = P·W_k, V = P·W_v (LLaMA-Adapter, Zhang et al. 2024).

For l=10 at a width of 768: P (10, 768) in each layer, 7,680 weights, beside one of the gate.
"""

from __future__ import annotations

from lab.design.method.forms.base import Form, Part
from lab.design.method.step import Step


class Prompt(Form):
    name = "prompt"
    label, label_zh = "prompt rows", "提示行"
    help = "l learned rows in a layer, which every position can attend to by the model's own keys and values."
    names = ("prompt",)
    rank_label, rank_symbol = "prompt length", "l"
    defaults = {"composition": "zero-gate", "nonlinearity": "softmax", "init": "normal", "rank": 10}
    representations = ("attn.heads",)
    insertions = ("parallel",)
    compositions = ("zero-gate",)
    nonlinearities = ("softmax",)
    inits = ("normal",)
    glyph = "pairs"
    peft_type = "ADAPTION_PROMPT"
    refusals = {
        "insertion.sequential": "Prompt rows are read by the queries, which come from the sublayer's input: choose insertion parallel.",
        "representation": "Prompt rows need a query projection to be read by: place them at attn.heads.",
        "composition": "Prompt rows join inside the attention: choose composition zero-gate.",
        "nonlinearity": "Prompt rows are weighed by a softmax: choose nonlinearity softmax, or form slots.",
    }

    def parts(self, delta, site):
        return [Part("prompt", (delta.rank, site.width_in), "normal:1")]

    def steps(self, delta):
        return [Step("queries", scaled=True), Step("keys", "prompt_keys"), Step("sigma", name="softmax"), Step("values", "prompt_values")]

    def rows(self, p, name, project):
        return project({"prompt_keys": "k", "prompt_values": "v"}[name], p.prompt)

    def products(self, delta, site):
        return [(delta.rank * site.heads * site.head_dim, "prompt")] * 2

    def making(self, delta, site):
        """Of the prompt's keys and values, by the model's own projections."""
        return 2 * delta.rank * site.width_in * site.kv_heads * site.head_dim

    def kind(self, delta):
        return "attention"

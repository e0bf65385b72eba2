"""Tokens: l virtual tokens before the input (prompt tuning, Lester et al. 2021; P-tuning, Liu et al. 2021).

They join through the attention of every layer, so the composition is gated: each head mixes them in by their attention mass. Under
`learned-gate` their keys and values in every attention are multiplied by g(x), as UniPELT's gate does with those of a prefix; x are
the embedded real tokens, and one gate serves all layers. (UniPELT itself has no prompt; scaling the embeddings would be undone by the
norm that reads them first.)
Shape for l=20 on a model of width 768: P (20, 768).
"""

from __future__ import annotations

from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.forms.base import Form, Part
from lab.design.method.step import Step


class Tokens(Form):
    name = "tokens"
    label, label_zh = "virtual tokens", "虚拟词元"
    help = "l learned embeddings placed before the input."
    by_tensor = True
    names = ("tokens",)
    rank_label, rank_symbol = "prompt length", "l"
    defaults = {"insertion": "parallel", "composition": "gated", "init": "vocabulary", "rank": 20}
    representations = ("embed",)
    insertions = ("parallel",)
    compositions = ("gated", "learned-gate")
    inits = ("vocabulary", "normal", "text")
    options = ("encoder", "encoder_width", "text", "token_positions")
    reads_x = False
    before_input = True
    produced = ("tokens",)
    glyph = "rows"
    peft_type = "PROMPT_TUNING"
    joined = COMPOSITIONS["gated"].latex  # with a gate too: they join through the attention
    refusals = {
        "representation": "Virtual tokens are inputs: place them at embed.",
        "composition": "Virtual tokens join through attention: choose composition gated or learned-gate.",
        "insertion.sequential": "Virtual tokens stand beside the input: choose insertion parallel.",
        "nonlinearity": "Virtual tokens have no nonlinearity of their own: leave it at none.",
    }

    def parts(self, delta, site):
        init = "normal:0.02" if delta.init == "normal" else delta.init
        return [Part("tokens", (delta.rank, site.width_out), init)]

    def steps(self, delta):
        return [Step("constant", "tokens", value=delta.dropout)]

    def mixed(self, delta):
        return True

    def kind(self, delta):
        return "input"

"""The words of the design space (He et al. 2022, Table 1; arXiv 2110.04366); forms, insertion forms and compositions are objects of lab/design/method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RepresentationName = Literal[
    "attn.q", "attn.k", "attn.v", "attn.qkv", "attn.heads", "attn.out",
    "ffn.up", "ffn.gate", "ffn.act", "ffn.down", "ffn.out", "ffn.residual", "layer.out", "embed",
]  # fmt: skip
SetName = Literal["attn-linear", "ffn-linear", "all-linear"]
PlaceName = Literal[RepresentationName, SetName]
StackName = Literal["encoder", "decoder", "cross"]
Quantisation = Literal["none", "int8", "nf4"]  # of the frozen base
Nonlinearity = Literal["none", "relu", "gelu", "silu", "tanh", "sigmoid", "softmax"]
Family = Literal["additive", "selective", "reparameterised", "unified", "free"]
Branch = Literal["", "adapters", "soft-prompts", "other"]  # of the additive family
KINDS: dict[str, str] = {  # families and branches as the surveys have them, in the order of pages (Lialin et al. 2023, Han et al. 2024)
    "additive.adapters": "Additive: adapters",
    "additive.soft-prompts": "Additive: soft prompts",
    "additive.other": "Additive: other",
    "additive": "Additive",
    "reparameterised": "Reparameterised: low rank",
    "unified": "Unified combinations",
    "selective": "Selective: the model's own weights",
    "free": "Free designs",
}


@dataclass(frozen=True)
class Word:
    """One value of a dimension, with the terms that pages show."""

    name: str
    help: str
    help_zh: str = ""
    latex: str = ""


REPRESENTATIONS: dict[str, Word] = {
    word.name: word
    for word in (
        Word("attn.q", "Queries: the output of the query projection.", "查询投影的输出", "q"),
        Word("attn.k", "Keys: the output of the key projection.", "键投影的输出", "k"),
        Word("attn.v", "Values: the output of the value projection.", "值投影的输出", "v"),
        Word("attn.qkv", "The output of one fused query-key-value projection.", "融合的查询-键-值投影的输出", "[q;k;v]"),
        Word("attn.heads", "The concatenated head outputs, before the output projection.", "各头输出的拼接（输出投影之前）", "\\mathrm{heads}"),
        Word("attn.out", "The attention sublayer's output, after its dropout and before the residual.", "注意力子层的输出（随机失活之后、残差之前）", "h_{\\mathrm{attn}}"),
        Word("ffn.up", "The output of the FFN's up projection.", "前馈网络上投影的输出", "u"),
        Word("ffn.gate", "The output of a gated FFN's gate projection.", "门控前馈网络门投影的输出", "g"),
        Word("ffn.act", "The FFN's hidden activation, before the down projection.", "前馈网络的隐藏激活（下投影之前）", "a"),
        Word("ffn.down", "The output of the FFN's down projection, read as a projection.", "前馈网络下投影的输出", "d"),
        Word("ffn.out", "The FFN sublayer's output, after its dropout and before the residual.", "前馈子层的输出（随机失活之后、残差之前）", "h_{\\mathrm{ffn}}"),
        Word("ffn.residual", "The FFN's output plus its residual, before the norm that may follow.", "前馈子层输出与残差之和（归一化之前）", "z"),
        Word("layer.out", "The layer's output, after add and norm.", "整层的输出（相加与归一化之后）", "h_{\\mathrm{layer}}"),
        Word("embed", "The input embeddings.", "输入嵌入", "e"),
    )
}  # fmt: skip
PROJECTIONS = (
    "attn.q",
    "attn.k",
    "attn.v",
    "attn.qkv",
    "attn.out",
    "ffn.up",
    "ffn.gate",
    "ffn.down",
    "ffn.out",
)  # outputs of projections, which have an input of their own
SETS: dict[str, tuple[str, ...]] = {  # several representations under one name; what a model has not (the gate of a plain FFN) is left out
    "attn-linear": ("attn.q", "attn.k", "attn.v", "attn.out"),
    "ffn-linear": ("ffn.up", "ffn.gate", "ffn.down"),
    "all-linear": ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.up", "ffn.gate", "ffn.down"),
}
SET_WORDS: dict[str, Word] = {
    word.name: word
    for word in (
        Word("attn-linear", "Every projection of the attention: q, k, v and out.", "注意力的全部投影：q、k、v 和 out", "\\mathrm{attention\\ projections}"),
        Word("ffn-linear", "Every projection of the FFN: up, down, and the gate where there is one.", "前馈网络的全部投影：up、down，以及门（若有）", "\\mathrm{FFN\\ projections}"),
        Word("all-linear", "Every projection of the layer: q, k, v, out, up, down, and the FFN's gate where there is one.",
             "层内全部投影：q、k、v、out、up、down，以及前馈网络的门（若有）", "\\mathrm{all\\ projections}"),
    )
}  # fmt: skip

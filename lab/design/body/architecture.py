"""Architecture maps: where a family of models keeps its queries, keys, values, FFN and norms. One short YAML each, no code.

Paths are relative to a layer. Their grammar: `p[k/n]` the k-th of n equal slices of a fused projection's output, `p[q]` a slice
sized by the configuration, `p[group q]` the same where each key/value head has its queries, its key and its value beside each
other, `a|b` the first that exists, `?a` optional.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Mapping
from typing import Any, Literal

from lab.design.plain.options import Options, option, validate
from lab.design.plain.refusal import Refusal
from lab.design.presets.catalogue import names, read

Kind = Literal["encoder", "encoder-decoder", "decoder"]


class Sizes(Options):
    """Keys of the model's configuration; `a|b` takes the first that is set, `4*a` and `a/b` are computed, `c?a` is a where c holds."""

    width: str = option("", help="model width d")
    layers: str = option("", help="number of layers L")
    heads: str = option("", help="attention heads")
    kv_heads: str = option("", help="heads of keys and values; empty: as many as queries have")
    head_dim: str = option("", help="width of one head; empty: width / heads")
    ffn: str = option("", help="FFN width")
    embed: str = option("", help="width of the input embeddings")


class AttentionMap(Options):
    """Where the parts of an attention sublayer are, as paths from the layer."""

    q: str = option(help="query projection")
    k: str = option(help="key projection")
    v: str = option(help="value projection")
    out: str = option(help="output projection; its input is the concatenated heads")
    qkv: str = option("", help="the fused projection, where there is one")
    x: str = option("", help="module whose input is the sublayer's input, where the query projection's is not")
    after: str = option("", help="module whose output is the sublayer's output, where the output projection's is not")
    dropout: str = option("", help="module of the dropout on the sublayer's output, whose output joins the residual")
    norm: str = option(help="the norm before (pre) or after (post) the sublayer")


class FFNMap(Options):
    """Where the parts of a feed-forward sublayer are, as paths from the layer."""

    up: str = option(help="up projection")
    gate: str = option("", help="gate projection of a gated FFN")
    gate_if: str = option("", help="key that says whether there is a gate, or key=pattern; empty: as `gate` is given")
    down: str = option(help="down projection; its input is the hidden activation")
    after: str = option("", help="module whose output is the sublayer's output, where the down projection's is not")
    dropout: str = option("", help="module of the dropout on the sublayer's output, whose output joins the residual")
    norm: str = option(help="the norm before (pre) or after (post) the sublayer")
    flattens: bool = option(False, help="whether it reads the positions of all sequences in one row")


class StackMap(Options):
    """Where a stack of layers is, and what each of its layers has."""

    path: str = option(help="the list of layers, from the base model")
    dropout: str = option("", help="attribute with the probability of the dropout that a layer itself applies to each sublayer's output, where no module does")
    dropout_inside: list[str] = option(
        default_factory=list, help="keys of the dropouts on sublayers' outputs that a layer applies where nothing can join behind them"
    )
    sizes: Sizes = option(default_factory=Sizes, help="sizes of this stack, over the common ones")
    attention: AttentionMap = option(help="self-attention")
    cross: AttentionMap | None = option(None, help="cross-attention")
    ffn: FFNMap = option(help="feed-forward sublayer")


class Positions(Options):
    """How a family knows positions: a table of embeddings that are added, a rotation of queries and keys, or (neither) distances alone."""

    count: str = option("", help="how many positions there are, written as sizes are; empty: distances alone, without an end")
    after: str = option("", help="the id that positions are counted from, where the table's first rows are padding's (RoBERTa); written as sizes are")
    table: str = option("", help="the table of position embeddings that are added to the input; {stack} where each stack has one")
    rotary: bool = option(False, help="whether queries and keys are rotated by their positions")
    relative_if: str = option("", help="a condition under which a model of this family knows distances alone all the same")


class Norms(Options):
    """Where a family's norms stand, and of which kind they are."""

    place: Literal["pre", "post", "output"] = option(help="before the sublayers, after the residual sums, or at the sublayers' outputs before those sums")
    post_if: str = option("", help="a condition under which a model of this family has its norms after the residual sums all the same")
    rms: bool = option(False, help="whether they divide by the root mean square alone, instead of centring first")


class Architecture(Options):
    """A map from the lab's names of representations to one family's modules: presets/architectures/*.yaml."""

    name: str = option(help="name for people")
    model_types: list[str] = option(help="transformers' model_type values")
    norm: Norms = option(help="the norms")
    attention_route: Literal["interface", "deberta", "sdpa"] = option(
        "interface", help="how slots reach the attention of this family: transformers' interface, hooks made for DeBERTa, or its own call of torch's sdpa"
    )
    backbone: str = option("", help="the module that heads call, from the base model; empty: the base model itself")
    embed: str = option(help="token embedding; {stack} where each stack has one")
    project: str = option(
        "", help="the module that brings embeddings of another width to that of the model, where virtual tokens have joined them; empty: none does"
    )
    positions: Positions = option(default_factory=Positions, help="how positions are known")
    sizes: Sizes = option(help="keys of the configuration")
    classifier: bool = option(True, help="whether transformers has a model of this family with a head that classifies")
    conv1d: bool = option(False, help="whether its projections are transformers' Conv1D, which keep their weights as (in, out)")
    task_prefix: bool = option(False, help="whether this family was trained to read what its task is before a source (T5's 'summarize: ')")
    starts_with_language: bool = option(False, help="whether an answer begins with the token of its language")
    stacks: dict[Literal["encoder", "decoder"], StackMap] = option(help="stacks of layers")

    @property
    def kind(self) -> Kind:
        """encoder, decoder, or encoder-decoder."""
        return "encoder-decoder" if len(self.stacks) > 1 else next(iter(self.stacks))


@functools.cache
def load_architecture(name: str) -> Architecture:
    """An architecture map by its preset's name, what it is `like` filled in."""
    return validate(Architecture, _merged(name))


def _merged(name: str) -> dict[str, Any]:
    document = dict(read("architectures", name))
    base = document.pop("like", None)
    return _over(_merged(base), document) if base else document


def _over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    return {**base, **{k: _over(base[k], v) if isinstance(v, Mapping) and isinstance(base.get(k), Mapping) else v for k, v in top.items()}}


@functools.cache
def _by_model_type() -> dict[str, str]:
    return {model_type: name for name in names("architectures") for model_type in read("architectures", name).get("model_types", [])}


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The map for a model's configuration. Raises `Refusal` for a family without one."""
    return load_architecture(name_of(config))


def name_of(config: Mapping[str, Any]) -> str:
    """The name of the map for a model's configuration, by its `model_type`. Raises `Refusal` for a family without one."""
    model_type = str(config.get("model_type", ""))
    if model_type not in _by_model_type():
        raise Refusal(
            "There is no architecture map for model type '{model_type}'; there are {known}. A map is a YAML file of about 15 lines in presets/architectures.",
            "model",
            model_type=model_type,
            known=", ".join(sorted(_by_model_type())),
        )
    return _by_model_type()[model_type]


def size(expression: str, config: Mapping[str, Any]) -> int | None:
    """A size from the configuration: `n_inner|4*n_embd`, or `condition?size`. None where nothing in it is set."""
    for alternative in filter(None, expression.split("|")):
        condition, _, wanted = alternative.rpartition("?")
        value = None if condition and not holds(condition, config) else _product(wanted, config)
        if value is not None:
            return value
    return None


def _product(expression: str, config: Mapping[str, Any]) -> int | None:
    over, _, under = expression.partition("/")
    result = 1
    for factor in over.split("*"):
        value = int(factor) if factor.isdigit() else config.get(factor)
        if value is None:
            return None
        result *= int(value)
    if not under:
        return result
    return None if config.get(under) is None else result // int(config[under])


def holds(expression: str, config: Mapping[str, Any]) -> bool:
    """Whether a condition on the configuration holds: a key that is true, or `key=pattern`; `a|b` where a is absent. An empty one does not."""
    for alternative in expression.split("|"):
        key, _, pattern = alternative.partition("=")
        if config.get(key) is not None:
            return fnmatch.fnmatchcase(str(config[key]), pattern) if pattern else bool(config[key])
    return False

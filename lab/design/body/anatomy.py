"""Where a delta can sit in a model, and how wide everything is there: from the configuration alone, without torch.

`anatomy(config)` reads an architecture map and a configuration; `.sites(delta)` lists the places where a delta is built.
Example: LoRA at attn.q and attn.v of MiniLM (6 layers, width 384) has 12 sites; `encoder.3.attn.q` has width_in = width_out = 384.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lab.design.body.architecture import Architecture, AttentionMap, StackMap, architecture_of, holds, size
from lab.design.plain.message import listed, word
from lab.design.plain.refusal import Refusal
from lab.design.space import REPRESENTATIONS, SETS

if TYPE_CHECKING:
    from lab.design.method.delta import Delta


@dataclass(frozen=True)
class Site:
    """One place of one delta. Widths are those of x (in) and h (out)."""

    representation: str
    stack: str  # encoder, decoder or cross
    layer: int
    width_in: int
    width_out: int
    reads: str  # what x is: sublayer, residual, projection or h
    heads: int
    kv_heads: int
    head_dim: int
    rank: int | None = None  # its own rank, where an allocation gave one
    model: int = 0  # width of the stack
    first: bool = True  # of its delta in its layer: it has what its delta has once per layer

    @property
    def key(self) -> str:
        """What names the site in saved tensors and readings: `encoder.3.attn.q`."""
        return f"{self.stack}.{self.layer}.{self.representation}" if self.representation != "embed" else f"{self.stack}.embed"

    @property
    def shape(self) -> tuple[int, int]:
        """(width of x, width of h)."""
        return self.width_in, self.width_out


@dataclass(frozen=True)
class Stack:
    """One stack of layers with its widths."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    gated: bool
    fused: bool
    cross: bool
    map: StackMap

    @property
    def attention(self) -> int:
        """Width of all heads side by side: heads · head_dim."""
        return self.heads * self.head_dim


@dataclass(frozen=True)
class Projections:
    """Projections by themselves: what `Anatomy.sites` asks of a delta, for a change of their weights."""

    at: list[str]
    stacks: list[str] | None = None
    layers: str = "all"
    x: str = "projection"
    reads_h: bool = False
    changes_input: bool = False
    own_input: bool = True

    @property
    def places(self) -> list[str]:
        """The representations in `at`, sets written out in the order of a layer."""
        return sorted({name for chosen in self.at for name in SETS.get(chosen, (chosen,))}, key=list(REPRESENTATIONS).index)


@dataclass(frozen=True)
class Anatomy:
    """The stacks of one model and what may be attached to them."""

    architecture: Architecture
    config: Mapping[str, Any]
    stacks: tuple[Stack, ...]
    embed: int

    @functools.cached_property
    def norm(self) -> str:
        """Where the norms stand: pre, post or output."""
        norm = self.architecture.norm
        return "post" if holds(norm.post_if, self.config) else norm.place

    @property
    def post_norm(self) -> bool:
        """Whether norms stand after the residual sums."""
        return self.norm == "post"

    @property
    def reads_residual(self) -> bool:
        """Whether a sublayer's input is the residual stream itself, without a norm between."""
        return self.norm != "pre"

    @property
    def rms(self) -> bool:
        """Whether its norms divide by the root mean square alone, as Llama's and T5's do, instead of centring first."""
        return self.architecture.norm.rms

    @functools.cached_property
    def positions(self) -> int | None:
        """How many tokens the model has positions for; None where it knows distances alone, which have no end."""
        known = self.architecture.positions
        count = size(known.count, self.config)
        after = size(known.after, self.config)
        return count - after - 1 if count and after is not None else count

    @property
    def window(self) -> int | None:
        """How many tokens back some of its layers see, where that is less than its positions; None where all see everything."""
        size, kinds = self.config.get("sliding_window"), self.config.get("layer_types")
        if not size or self.config.get("use_sliding_window") is False or kinds and "sliding_attention" not in kinds:
            return None
        return size if self.positions is None or size < self.positions else None

    @property
    def position_table(self) -> str:
        """The module of the position embeddings that are added to the input, from the base model; "" where none are."""
        known = self.architecture.positions
        return "" if holds(known.relative_if, self.config) else known.table

    @property
    def counts_positions(self) -> bool:
        """Whether a token's position matters by itself: T5 and DeBERTa v3 know distances between tokens alone."""
        known = self.architecture.positions
        return bool(known.table or known.rotary) and not holds(known.relative_if, self.config)

    def shifts(self, delta: Delta) -> bool:
        """Whether the delta's slots push the positions of real tokens on in this model."""
        return delta.positions == "shift" or (delta.positions == "auto" and self.counts_positions)

    @property
    def sublayer_dropout(self) -> bool:
        """Whether its layers have a dropout on a sublayer's output."""
        return any(stack.map.dropout or stack.map.attention.dropout or stack.map.ffn.dropout for stack in self.stacks)

    @property
    def encoder_decoder(self) -> bool:
        """Whether there are two stacks, with cross-attention between them."""
        return len(self.stacks) > 1

    def sublayers(self) -> list[tuple[str, Stack]]:
        """(stack word, stack) for self-attention of each stack and for cross-attention."""
        return [(s.name, s) for s in self.stacks] + [("cross", s) for s in self.stacks if s.cross]

    def representations(self) -> list[str]:
        """The representations that this model has."""
        first = self.stacks[0]
        missing = set() if first.gated else {"ffn.gate"}
        missing |= set() if first.fused else {"attn.qkv"}
        return [name for name in REPRESENTATIONS if name not in missing]

    def projections(self, at: list[str]) -> list[Site]:
        """The sites of projections by themselves, each with the widths of its weight. Raises `Refusal` as `sites` does."""
        return self.sites(Projections(at))

    def sites(self, delta: Delta | Projections) -> list[Site]:
        """Every place where the delta is built, in order of stack, layer and representation.

        Raises `Refusal` where a representation or stack is not in this model, or nothing is left.
        """
        wanted = delta.stacks or ["encoder", "decoder", "cross"]
        if delta.stacks and not (set(delta.stacks) & {name for name, _ in self.sublayers()}):
            there = ", ".join(name for name, _ in self.sublayers())
            raise Refusal(
                "{model} has no {stacks} stack; it has {there}.", "stacks", model=self.architecture.name, stacks=listed(delta.stacks, " or "), there=there
            )
        for place in delta.at:
            self._require(place)
        places = self.places(delta)
        found: list[Site] = []
        begun: set[tuple[str, int]] = set()
        for name, stack in self.sublayers():
            if name not in wanted:
                continue
            if "embed" in places and name != "cross":
                found.append(self._site(delta, "embed", name, stack, 0))
            for layer in chosen_layers(delta.layers, stack.layers):
                for representation in places:
                    if representation != "embed" and (name != "cross" or representation.startswith("attn.")):
                        found.append(self._site(delta, representation, name, stack, layer, first=(name, layer) not in begun))
                        begun.add((name, layer))
        if not found:
            raise Refusal(
                "Nothing is left to modify: {places} does not exist in the chosen stacks of {model}.",
                "at",
                places=", ".join(delta.at),
                model=self.architecture.name,
            )
        return found

    def places(self, delta: Delta | Projections) -> list[str]:
        """The representations of a delta in this model: a set's members that the model lacks are left out.

        On what projections read, a set's slices of one fused projection are that projection, which reads once.
        """
        there = self.representations()
        names = {name for name in delta.places if name in there or name in delta.at}
        slices = {name for name in ("attn.q", "attn.k", "attn.v") if name not in delta.at and self.is_slice(name)} & names
        if delta.changes_input and slices and "attn.qkv" in there:
            names = names - slices | {"attn.qkv"}
        return [name for name in REPRESENTATIONS if name in names]

    def _require(self, representation: str) -> None:
        if representation not in SETS and representation not in self.representations():
            what = {"ffn.gate": "has no gated FFN, so there is no ffn.gate", "attn.qkv": "does not fuse its projections, so there is no attn.qkv"}
            other = {"ffn.gate": "ffn.up", "attn.qkv": "attn.q, attn.k or attn.v"}
            raise Refusal("{model} {what}; use {other}.", "at", model=self.architecture.name, what=word(what[representation]), other=other[representation])

    def _site(self, delta: Delta | Projections, representation: str, name: str, stack: Stack, layer: int, first: bool = True) -> Site:
        width_out = self.width_read(representation, stack) if delta.changes_input else self.width(representation, stack)
        reads = source(delta, representation)
        width_in = {
            "h": width_out,
            "sublayer": stack.width,
            "residual": stack.width,
            "projection": self.width_read(representation, stack),
        }[reads]
        if representation == "embed":
            width_in = width_out
        return Site(representation, name, layer, width_in, width_out, reads, stack.heads, stack.kv_heads, stack.head_dim, model=stack.width, first=first)

    def width_read(self, representation: str, stack: Stack) -> int:
        """Width of what the projection of a representation reads."""
        return {"ffn.down": stack.ffn, "ffn.out": stack.ffn, "attn.out": stack.attention}.get(representation, stack.width)

    def is_slice(self, representation: str) -> bool:
        """Whether a projection of this model is a slice of a fused one, which shares its input with others."""
        sublayer, _, what = representation.partition(".")
        maps = [each for stack in self.stacks for each in ((stack.map.attention, stack.map.cross) if sublayer == "attn" else (stack.map.ffn,))]
        return any("[" in getattr(each, what, "") for each in maps if each)

    def width(self, representation: str, stack: Stack) -> int:
        """Width of h at a representation."""
        kv = stack.kv_heads * stack.head_dim
        return {
            "attn.q": stack.attention, "attn.k": kv, "attn.v": kv, "attn.qkv": stack.attention + 2 * kv, "attn.heads": stack.attention,
            "ffn.up": stack.ffn, "ffn.gate": stack.ffn, "ffn.act": stack.ffn, "embed": self.embed,
        }.get(representation, stack.width)  # fmt: skip


def source(delta: Delta | Projections, representation: str) -> str:
    """What feeds Δh: h itself, or for parallel insertion the input of the sublayer (normed or not) or of the projection."""
    if delta.reads_h:
        return "h"
    if representation in ("ffn.residual", "layer.out"):
        return "residual"  # the layer's own input
    if delta.x in ("residual", "projection"):
        return delta.x
    if representation == "ffn.down" or (delta.x == "auto" and delta.own_input and representation == "attn.out"):
        return "projection"
    return "sublayer"


def chosen_layers(expression: str, count: int) -> list[int]:
    """The layers of `all`, `0-5,8`, `-1` (from the end) or `2--1` (all from 2 on). Raises `Refusal` for one that there is not."""
    if expression == "all":
        return list(range(count))
    chosen: set[int] = set()
    for piece in expression.split(","):
        sign, body = ("-", piece[1:]) if piece.startswith("-") else ("", piece)
        first, dash, last = body.partition("-")
        numbers = [int(sign + first), int(last)] if dash else [int(sign + first)] * 2
        low, high = (n + count if n < 0 else n for n in numbers)
        if not 0 <= low <= high < count:
            raise Refusal("Layers '{layers}' are not there: this stack has layers 0 to {last}.", "layers", layers=piece, last=count - 1)
        chosen |= set(range(low, high + 1))
    return sorted(chosen)


def anatomy(config: Mapping[str, Any]) -> Anatomy:
    """The anatomy of a model from its configuration (a plain document with `model_type`)."""
    architecture = architecture_of(config)
    stacks = tuple(_stack(architecture, name, part, config) for name, part in architecture.stacks.items())
    return Anatomy(architecture, config, stacks, _size(architecture, None, "embed", config) or stacks[0].width)


def anatomy_of(config: Any) -> Anatomy:
    """The anatomy of a model from transformers' configuration object; a composite one gives its text part."""
    return anatomy((config if config.is_encoder_decoder else config.get_text_config()).to_dict())


def _size(architecture: Architecture, stack: StackMap | None, what: str, config: Mapping[str, Any]) -> int | None:
    expression = (getattr(stack.sizes, what) if stack else "") or getattr(architecture.sizes, what)
    return size(expression, config) if expression else None


def _stack(architecture: Architecture, name: str, part: StackMap, config: Mapping[str, Any]) -> Stack:
    def needed(what: str) -> int:
        found = _size(architecture, part, what, config)
        if not found:
            raise Refusal("The configuration of this {model} model does not say its {what}.", "model", model=architecture.name, what=word(what))
        return found

    width, layers, heads, ffn = needed("width"), needed("layers"), needed("heads"), needed("ffn")
    attention: AttentionMap = part.attention
    return Stack(
        name=name, layers=layers, width=width, heads=heads, kv_heads=_size(architecture, part, "kv_heads", config) or heads,
        head_dim=_size(architecture, part, "head_dim", config) or width // heads, ffn=ffn,
        gated=bool(part.ffn.gate) and (not part.ffn.gate_if or holds(part.ffn.gate_if, config)),
        fused=bool(attention.qkv), cross=part.cross is not None, map=part,
    )  # fmt: skip


def with_ranks(sites: list[Site], ranks: list[int]) -> list[Site]:
    """The sites, each with its own rank."""
    return [replace(site, rank=rank) for site, rank in zip(sites, ranks, strict=True)]

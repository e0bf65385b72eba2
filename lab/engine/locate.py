"""From an architecture map's paths to modules, and to slices of fused projections.

`attn.c_attn[1/3]` is the second third of what c_attn gives; `qkv_proj[k]` a slice sized by the configuration; `query_key_value[group k]`
the keys where each key/value head has its queries, its key and its value beside each other. A `Located` reads its slice of an output and writes it back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lab.design.body.anatomy import Anatomy, Stack
from lab.design.body.architecture import AttentionMap, FFNMap
from lab.design.plain.message import listed
from lab.design.plain.refusal import Refusal
from lab.engine import packed

PATH = re.compile(r"^(?P<path>[\w.{}]+)(\[((?P<k>\d)/(?P<n>\d)|(?P<group>group )?(?P<name>[qkv]))\])?$")


@dataclass(frozen=True)
class Slice:
    """Part of the last dimension: [start, stop), or of every group's own part where groups > 0."""

    start: int
    stop: int
    groups: int = 0

    def read(self, h: Tensor) -> Tensor:
        """The slice of h (..., width), heads side by side."""
        if not self.groups:
            return h[..., self.start : self.stop]
        each = h.view(*h.shape[:-1], self.groups, -1)  # (..., groups, (queries + 2)·head_dim)
        return each[..., self.start : self.stop].flatten(-2)

    def write(self, h: Tensor, new: Tensor) -> Tensor:
        """h with the slice replaced by `new`, as a new tensor."""
        if not self.groups:
            return torch.cat([h[..., : self.start], new, h[..., self.stop :]], -1)
        each = h.view(*h.shape[:-1], self.groups, -1)
        new = new.view(*new.shape[:-1], self.groups, -1)
        return torch.cat([each[..., : self.start], new, each[..., self.stop :]], -1).flatten(-2)

    def rows(self, total: int) -> Tensor:
        """Indices of the output rows that the slice covers."""
        return self.read(torch.arange(total))


@dataclass(frozen=True)
class Located:
    """A module, and which part of its output is meant (None: all of it)."""

    module: nn.Module
    part: Slice | None = None

    @property
    def transposed(self) -> bool:
        """Whether the weight is (in, out): transformers' Conv1D."""
        return type(self.module).__name__ == "Conv1D"

    @property
    def packed(self) -> bool:
        """Whether the base is quantised here: `weight()` is then made anew at each call."""
        return packed.is_packed(self.module)

    def weight(self) -> Tensor:
        """The slice's weight as (out, in); a view where it can be, dequantised where it is packed."""
        weight = packed.dequantised(self.module) if self.packed else self.module.weight.T if self.transposed else self.module.weight
        return weight if self.part is None else weight[self.rows(weight)]

    def rows(self, weight: Tensor) -> Tensor:
        """Indices of the weight's rows that the slice covers."""
        assert self.part is not None
        return self.part.rows(weight.shape[0]).to(weight.device)

    def own(self, values: Tensor) -> Tensor:
        """The slice's part, as (out, in), of values that lie as the module's weight does: its gradient, say."""
        values = values.T if self.transposed else values
        return values if self.part is None else values[self.rows(values)]

    def bias(self) -> Tensor | None:
        """The slice's bias (out,), None where there is none."""
        bias = getattr(self.module, "bias", None)
        return bias if bias is None or self.part is None else bias[self.part.rows(bias.shape[0]).to(bias.device)]

    @torch.no_grad()
    def set_weight(self, value: Tensor) -> None:
        """Write the slice's weight, given as (out, in); where it is packed, rounded to what that form holds."""
        if self.packed:
            if self.part is not None:
                whole = packed.dequantised(self.module)
                whole[self.rows(whole)] = value.to(whole.dtype)
                value = whole
            return packed.pack(self.module, value)
        weight = self.module.weight.T if self.transposed else self.module.weight  # both views of the parameter
        if self.part is None:
            weight.copy_(value)
        else:
            weight[self.rows(weight)] = value.to(weight.dtype)
        return None

    @torch.no_grad()
    def set_bias(self, value: Tensor) -> None:
        """Write the slice's bias."""
        if self.part is None:
            self.module.bias.copy_(value)
        else:
            self.module.bias[self.part.rows(self.module.bias.shape[0])] = value.to(self.module.bias.dtype)


class Layer:
    """The modules of one layer by the names of the map: `.attention("q")`, `.ffn("down")`."""

    def __init__(self, module: nn.Module, stack: Stack, cross: bool):
        self.module, self.stack, self.cross = module, stack, cross
        self.own_attention, self.ffn = stack.map.attention, stack.map.ffn
        self.attention = stack.map.cross if cross and stack.map.cross else self.own_attention
        self.maps: dict[str, AttentionMap | FFNMap] = {"attn": self.attention, "ffn": self.ffn}

    def find(self, sublayer: str, what: str) -> Located:
        """The module for `q`, `out`, `after`, `norm` ... of `attn` or `ffn`; `after` falls back to the projection."""
        path = getattr(self.maps[sublayer], what)
        if not path and what == "after":
            path = self.attention.out if sublayer == "attn" else self.ffn.down
        if not path and what == "x":
            path = self.attention.q
        return self._resolve(path)

    def path(self, sublayer: str, what: str) -> str:
        """The path of `q`, `norm` ... from the layer, the one of the map's alternatives that is there."""
        return _first(getattr(self.maps[sublayer], what), self.module)

    def dropout(self, sublayer: str) -> nn.Module | None:
        """The module of the dropout on a sublayer's output, which joins the residual; None where the family has none."""
        path = self.maps[sublayer].dropout
        return self._resolve(path).module if path else None

    def ends(self) -> dict[str, nn.Module]:
        """The modules whose outputs are those of the sublayers: attn, ffn, and cross in a decoder that has cross-attention."""
        cross = self.stack.map.cross
        found = {"attn": self.own_attention.after or self.own_attention.out, "ffn": self.ffn.after or self.ffn.down}
        found |= {"cross": cross.after or cross.out} if cross else {}
        return {name: self._resolve(path).module for name, path in found.items()}

    def own_input(self) -> nn.Module:
        """The module whose input is the self-attention's x."""
        return self._resolve(self.own_attention.x or self.own_attention.q).module

    def owner_of_q(self) -> nn.Module:
        """The attention module: the one that holds the query projection, which transformers hands to the interface."""
        path = _first(self.attention.q, self.module)
        return self.module.get_submodule(_matched(path)["path"].rpartition(".")[0])

    def _resolve(self, path: str) -> Located:
        match = _matched(_first(path, self.module))
        return Located(self.module.get_submodule(match["path"]), self._slice(match))

    def _slice(self, match: re.Match) -> Slice | None:
        stack = self.stack
        if match["name"]:
            groups = stack.kv_heads if match["group"] else 1
            q, kv = stack.attention // groups, stack.kv_heads * stack.head_dim // groups
            first = {"q": 0, "k": q, "v": q + kv}[match["name"]]
            return Slice(first, first + (q if match["name"] == "q" else kv), groups if groups > 1 else 0)
        if not match["k"]:
            return None
        k, n = int(match["k"]), int(match["n"])
        whole = stack.attention + 2 * stack.kv_heads * stack.head_dim if n == 3 else n * stack.ffn
        return Slice(k * whole // n, (k + 1) * whole // n)


def _matched(path: str) -> re.Match[str]:
    match = PATH.match(path)
    assert match is not None, f"an architecture map has {path!r}, which is no path"
    return match


def _first(path: str, module: nn.Module) -> str:
    """The first alternative that is there."""
    alternatives = [alternative.lstrip("?") for alternative in path.split("|")]
    for alternative in alternatives:
        name = _matched(alternative)["path"]
        try:
            module.get_submodule(name)
        except AttributeError:
            continue
        return alternative
    raise Refusal(
        "This model has no module '{alternatives}' in its layers; its architecture map does not fit.", "model", alternatives=listed(alternatives, " or ")
    )


def layers(base: nn.Module, body: Anatomy, name: str) -> list[Layer]:
    """The layers of a stack word: encoder, decoder, or cross (the decoder's layers with their cross-attention)."""
    stack = next(s for s in body.stacks if s.name == ("decoder" if name == "cross" else name))
    try:
        found = base.get_submodule(stack.map.path)
    except AttributeError:
        raise Refusal(
            "This model has no '{path}': its architecture map ({model}) does not fit.", "model", path=stack.map.path, model=body.architecture.name
        ) from None
    return [Layer(module, stack, name == "cross") for module in found]


def embedding(base: nn.Module, body: Anatomy, stack: str) -> nn.Module:
    """The token embedding of a stack."""
    return base.get_submodule(body.architecture.embed.replace("{stack}", stack))


def backbone(base: nn.Module, body: Anatomy) -> nn.Module:
    """The module that task heads call: where virtual tokens enter, and where a forward pass begins."""
    return base.get_submodule(body.architecture.backbone)

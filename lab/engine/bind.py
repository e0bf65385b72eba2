"""Where each representation's hooks go: which module is changed, before or after it, and where x is tapped.

| h | changed | x, parallel | x, sequential |
|---|---|---|---|
| projections (attn.q ... ffn.down) | output of the projection, or its slice | the projection's input | h |
| attn.heads, ffn.act | input of the projection that follows | the sublayer's input | h |
| attn.out, ffn.out | output of the sublayer, after its own dropout (before it: `through_dropout`, and a projection's change) | the sublayer's input | h |
| ffn.residual | post-norm: input of the norm; pre-norm: output of the layer | the layer's input | h, or LN(h) |
| projections, insertion input | input of the projection | | h |
| layer.out, embed | output of the layer, of the embedding | the layer's input | h |
"""

from __future__ import annotations

from torch import nn
from torch.utils.hooks import RemovableHandle

from lab.design.body.anatomy import Anatomy
from lab.engine.delta import DeltaModule, SlotsModule
from lab.engine.dropout import MovedDropout
from lab.engine.locate import Layer, Located, layers

PROJECTION = {
    "attn.q": ("attn", "q"), "attn.k": ("attn", "k"), "attn.v": ("attn", "v"), "attn.qkv": ("attn", "qkv"),
    "ffn.up": ("ffn", "up"), "ffn.gate": ("ffn", "gate"), "ffn.down": ("ffn", "down"),
}  # fmt: skip

SUBLAYERS = ("attn.out", "ffn.out")


class Binder:
    """Places deltas in one model. `target(...)` says which module a delta changes, `join(...)` where it joins h; `bind(...)` registers its hooks."""

    def __init__(self, base: nn.Module, body: Anatomy):
        self.base, self.body = base, body
        self._layers: dict[str, list[Layer]] = {}
        self.moved: dict[nn.Module, MovedDropout] = {}  # by layer, where a delta joins behind a dropout that has no module

    def layer(self, stack: str, index: int) -> Layer:
        """The modules of a layer: `encoder`, `decoder`, or `cross` for the cross-attention of the decoder."""
        if stack not in self._layers:
            self._layers[stack] = layers(self.base, self.body, stack)
        return self._layers[stack][index]

    def target(self, delta: DeltaModule) -> tuple[Located, str]:
        """What is changed, and on which side: `output` or `input` of that module."""
        site = delta.site
        rep, layer = site.representation, self.layer(site.stack, site.layer)
        if delta.delta.changes_input:
            return layer.find("attn", "out") if rep == "attn.out" else layer.find(*PROJECTION[rep]), "input"
        if rep in PROJECTION:
            return layer.find(*PROJECTION[rep]), "output"
        if rep == "attn.heads":
            return layer.find("attn", "out"), "input"
        if rep == "ffn.act":
            return layer.find("ffn", "down"), "input"
        if rep in SUBLAYERS:
            sublayer = rep[: rep.index(".")]
            projection = "out" if sublayer == "attn" else "down"
            return layer.find(sublayer, projection if site.reads == "projection" else "after"), "output"
        if rep == "ffn.residual" and self.body.post_norm:
            return layer.find("ffn", "norm"), "input"
        return Located(layer.module), "output"

    def join(self, delta: DeltaModule) -> tuple[Located, str]:
        """Where Δh joins h: at the target, or behind the sublayer's own dropout, whose output is then h."""
        site = delta.site
        if delta.delta.changes_input:
            return self.target(delta)
        if site.representation in SUBLAYERS and site.reads != "projection" and not delta.delta.through_dropout:
            layer, sublayer = self.layer(site.stack, site.layer), site.representation[: site.representation.index(".")]
            dropout = self._dropout(layer, sublayer)
            if dropout is not None:
                return Located(dropout), "output"
        return self.target(delta)

    def _dropout(self, layer: Layer, sublayer: str) -> nn.Module | None:
        if not layer.stack.map.dropout:
            return layer.dropout(sublayer)
        if layer.module not in self.moved:
            self.moved[layer.module] = MovedDropout(layer)
        return self.moved[layer.module].modules["cross" if layer.cross and sublayer == "attn" else sublayer]

    def bind(self, delta: DeltaModule) -> list[RemovableHandle]:
        """Register the hooks of a delta that joins by hooks. The tap comes first, so that x is there when h is changed."""
        located, side = self.join(delta)
        delta.part, delta._target = located.part, (self.target(delta)[0],)
        handles = []
        source = self._source(delta)
        if source is not None:
            handles.append(source.register_forward_pre_hook(delta.tap_input, with_kwargs=True, prepend=True))  # x before any delta on it
        if isinstance(delta, SlotsModule):
            self._give_query(delta)
        if side == "output":
            handles.append(located.module.register_forward_hook(delta.change_output, with_kwargs=True))
        else:
            handles.append(located.module.register_forward_pre_hook(delta.change_input))
        return handles

    def _source(self, delta: DeltaModule) -> nn.Module | None:
        """The module whose input is x; None where x is h, or the input of the changed module itself."""
        site = delta.site
        rep, layer = site.representation, self.layer(site.stack, site.layer)
        if site.reads in ("h", "projection") or rep == "layer.out":
            return None
        sublayer = rep[: rep.index(".")]
        if rep == "ffn.residual":  # the layer's own input
            if not self.body.post_norm:
                return None
            return layer.own_input()
        if site.reads == "residual" and not self.body.reads_residual:
            return layer.find(sublayer, "norm").module
        if rep in PROJECTION and rep != "ffn.down":
            return None  # where no norm is between, the residual stream is the projection's input too
        return layer.find(sublayer, "x" if sublayer == "attn" else "up").module

    def _give_query(self, delta: SlotsModule) -> None:
        layer = self.layer(delta.site.stack, delta.site.layer)
        scaling = getattr(layer.owner_of_q(), "scaling", None)
        delta.set_query(layer.find("attn", "q"), delta.site.head_dim**-0.5 if scaling is None else float(scaling))

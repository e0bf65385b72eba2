"""Merging: folding a delta into the weights that it stands beside, where the maths allows it.

| delta | becomes |
|---|---|
| linear, parallel, at a projection whose input it reads | W + s·ΔW, b + s·Δb |
| linear, sequential, at a projection | (I + s·ΔW)·W, (I + s·ΔW)·b + s·Δb |
| linear, on a projection's input | W·(I + s·ΔW), b + s·W·Δb |
| scale at a projection; at attn.heads or ffn.act | l⊙W, l⊙b; the next projection's columns times l |
| bias at a projection | b + s·Δb |
"""

from __future__ import annotations

import torch

from lab.design.method.insertions import INSERTIONS
from lab.design.plain.message import Message, word
from lab.engine import packed
from lab.engine.bind import PROJECTION, Binder
from lab.engine.delta import DeltaModule


def why_not(delta: DeltaModule, binder: Binder) -> str:
    """The reason why a delta cannot be merged, as a sentence; empty where it can."""
    options, site = delta.delta, delta.site
    what = {"form": word(delta.form.label[:1].upper() + delta.form.label[1:]), "place": site.representation}
    if not delta.form.mergeable(options):
        return Message("{form} at {place} depends on the input, so it cannot be merged into weights.", **what)
    if options.ends:
        return Message("{form} at {place} changes some tokens alone, so it cannot be merged into weights.", **what)
    if delta.composition.unmerged:
        return Message("{form} at {place} {reason}, so it cannot be merged into weights.", **what, reason=Message(delta.composition.unmerged))
    if options.norm != "none":
        return Message("{form} at {place} has a layer norm, so it cannot be merged into weights.", **what)
    if delta.of_activation:
        return "" if delta.composition.merges_into_columns else Message("{form} at {place} changes an activation, so it cannot be merged into weights.", **what)
    located, _ = binder.target(delta)
    if len(packed.shape(located.module) or ()) != 2 or site.representation in ("embed", "ffn.residual", "layer.out"):
        return Message("{form} at {place} does not stand at a projection, so it cannot be merged into weights.", **what)
    if not options.reads_h and delta.form.reads_x and not _own_input(delta, binder):
        return Message("{form} at {place} reads another input than the projection's own, so it cannot be merged into weights.", **what)
    change = delta.form.matrix(delta.parts())
    if change is not None and change[1] is not None and located.bias() is None:
        return Message("{form} at {place} adds a bias, and the projection has none to merge it into.", **what)
    return ""


def _own_input(delta: DeltaModule, binder: Binder) -> bool:
    site = delta.site
    if site.reads == "projection":
        return True
    return site.representation in PROJECTION and site.representation != "ffn.down" and (site.reads == "sublayer" or binder.body.reads_residual)


@torch.no_grad()
def merge(delta: DeltaModule, binder: Binder) -> None:
    """Fold the delta into the weights of its projection (see `why_not`)."""
    located, _ = binder.target(delta)
    before = located.weight(), located.bias()
    weight, bias = (
        _share(delta.delta.weight, *each) for each in zip(before, delta.composition.merged(delta, INSERTIONS[delta.delta.insertion], *before), strict=True)
    )
    if weight is not None:
        located.set_weight(weight)
    if bias is not None:
        located.set_bias(bias)


def _share(share: float, before: torch.Tensor | None, after: torch.Tensor | None) -> torch.Tensor | None:
    """What a change comes to of which a share is taken; None where there is none."""
    return after if after is None or before is None or share == 1 else before + share * (after - before)


def touched(delta: DeltaModule, binder: Binder) -> list[torch.nn.Parameter]:
    """The parameters that a merge changes."""
    located, _ = binder.target(delta)
    return [p for p in (located.module.weight, getattr(located.module, "bias", None)) if p is not None]

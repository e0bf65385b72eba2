"""The spectrum of what a method changes in each projection, beside the spectrum of the weight.

For a weight W (out, in) and what the model multiplies by with its method, W' = W + ΔW (linear deltas as they would be merged; selections as they stand):

    relative        ‖ΔW‖_F / ‖W‖_F
    effective_rank  exp(−Σ p log p), p = σ/Σσ over the singular values σ of ΔW                               (Roy and Vetterli 2007)
    stable_rank     ‖ΔW‖_F² / σ₁²
    alignment       ‖U_kᵀ ΔW V_k‖_F / ‖ΔW‖_F with the first k singular vectors of W: the share of ΔW that lies where W is strongest   (Hu et al. 2021, §7.3)
    by_chance       √(k²/(out·in)), what a ΔW of random direction would have there
    intruders       of the first k left singular vectors of W', those whose |cosine| to every left singular vector of W is below ε   (Shuttleworth et al. 2024)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lab.design.plain.message import Message, Note, listed, word
from lab.engine import merge
from lab.engine.attached import Attached
from lab.engine.delta import DeltaModule
from lab.engine.locate import Located

TOP = 10  # k: singular vectors of W and of W' that are looked at
INTRUDER = 0.5  # ε
DRAWN = 64  # singular values that are told
MOST_BYTES = 2 * 1024**3  # of weights held at once; layers are taken evenly where there are more
PROJECTIONS = (
    ("attn.q", "attn", "q"), ("attn.k", "attn", "k"), ("attn.v", "attn", "v"), ("attn.out", "attn", "out"),
    ("ffn.up", "ffn", "up"), ("ffn.gate", "ffn", "gate"), ("ffn.down", "ffn", "down"),
)  # fmt: skip


def spectrum(before: Tensor, after: Tensor) -> dict[str, Any]:
    """The measures above of one weight; `values` and `values_weight`: the first singular values of ΔW and of W. before, after: (out, in)."""
    before, after = before.float(), after.float()
    change = after - before
    left, values, right = torch.linalg.svd(before, full_matrices=False)
    left_after = torch.linalg.svd(after, full_matrices=False)[0]
    own = torch.linalg.svdvals(change)
    k = min(TOP, len(values))
    size = float(change.norm())
    share = own / own.sum()
    share = share[share > 0]
    inside = left[:, :k].T @ change @ right[:k].T
    cosines = (left.T @ left_after[:, :k]).abs().amax(0)
    return {
        "relative": size / float(before.norm()),
        "effective_rank": float(torch.exp(-(share * share.log()).sum())),
        "stable_rank": size**2 / float(own[0]) ** 2,
        "alignment": float(inside.norm()) / size,
        "by_chance": k / (before.shape[0] * before.shape[1]) ** 0.5,
        "intruders": int((cosines < INTRUDER).sum()),
        "of": k,
        "values": [float(value) for value in own[:DRAWN]],
        "values_weight": [float(value) for value in values[:DRAWN]],
    }


def projections(attached: Attached) -> Iterator[tuple[str, int, str, Located]]:
    """(stack, layer, representation, where it is) of every projection of the layers, fused ones by their slices."""
    for stack in attached.body.stacks:
        kinds = [stack.name, "cross"] if stack.map.cross else [stack.name]
        for kind in kinds:
            for index in range(stack.layers):
                layer = attached.binder.layer(kind, index)
                for representation, sublayer, what in PROJECTIONS:
                    if kind == "cross" and sublayer == "ffn" or not getattr(layer.maps[sublayer], what, None):
                        continue
                    yield kind, index, representation, layer.find(sublayer, what)


@torch.no_grad()
def spectra(attached: Attached) -> tuple[list[dict[str, Any]], list[str]]:
    """`spectrum` of every projection that the method changes, each with stack, layer and representation; and sentences on what is left out."""
    found, notes = [], []
    places = list(projections(attached))
    size = sum(located.module.weight.numel() * 4 for *_, located in places)
    step = -(-size // MOST_BYTES)
    if step > 1:
        places = [place for place in places if place[1] % step == 0]
        notes.append(
            Note("Of the layers every {step}th was looked at, since all of their weights are more than {most} GB.", step=step, most=MOST_BYTES // 1024**3)
        )
    merged = [delta for delta in attached.deltas.values() if not merge.why_not(delta, attached.binder)]
    left_out = sorted({(delta.form.label, delta.site.representation) for delta in attached.deltas.values() if delta not in merged})
    if left_out:
        places_of = [Message("{form} at {place}", form=word(form), place=place) for form, place in left_out]
        notes.append(Note("What cannot be merged into a weight has no ΔW: {forms}.", forms=listed(places_of)))
    with attached.disabled():
        before = [located.weight().detach().float().clone() for *_, located in places]
    kept = _merged(attached, merged)
    try:
        for (stack, layer, representation, located), weight in zip(places, before, strict=True):
            after = located.weight().detach().float()
            if not torch.equal(after, weight):
                found.append({"stack": stack, "layer": layer, "representation": representation, **spectrum(weight, after)})
    finally:
        for parameter, original in kept:
            parameter.copy_(original)
    return found, notes


def _merged(attached: Attached, deltas: list[DeltaModule]) -> list[tuple[torch.nn.Parameter, Tensor]]:
    """Fold these deltas into the weights; what the parameters were before."""
    kept: dict[int, tuple[torch.nn.Parameter, Tensor]] = {}
    for delta in deltas:
        for parameter in merge.touched(delta, attached.binder):
            kept.setdefault(id(parameter), (parameter, parameter.detach().clone()))
    for delta in sorted(deltas, key=lambda delta: delta.delta.changes_input or delta.of_activation):
        merge.merge(delta, attached.binder)
    return list(kept.values())

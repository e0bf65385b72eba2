"""Several trained methods of one base as one method; lab/engine/combining.py makes its tensors.

| how | rank | the method | of what |
|---|---|---|---|
| sum | | the deltas of all parts side by side, each with its weight | every method, and mixed |
| average, prune, ties, dare, dare-ties | | the parts' own: each tensor is combined with its like | parts of the same shape |
| sum, prune, ties, dare, dare-ties | r | one low-rank change wherever a part changes a weight: the r largest singular values of the combined ΔW | what merges into weights |

A weight of 0 leaves a part out, so that the others are what they are without it. Weights of the model itself that were trained (a selection) are combined
by their difference to the base, the task vector of Ilharco et al. (2023).
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.design.body.anatomy import Anatomy, Site
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.count import delta_sites
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.parts import all_parts
from lab.design.method.rules import require
from lab.design.method.selections import SelectionOptions
from lab.design.plain.message import Message, word
from lab.design.plain.refusal import Refusal

HOWS = ("sum", "average", "prune", "ties", "dare", "dare-ties")
TRAINING_ONLY = (
    "dropout",
    "inner_dropout",
    "through_dropout",
    "init",
    "text",
    "scale_start",
    "trainable",
    "schedule",
    "weight",
    "frozen_from",
)  # what a trained change does not depend on
READ_BY = {"attn.heads": ("attn.out",), "ffn.act": ("ffn.down",), "ffn.out": ("ffn.down",)}  # the projection that takes up a change there
WHOLE = {"attn.qkv": ("attn.q", "attn.k", "attn.v")}


def combined(methods: Sequence[Method], weights: Sequence[float], how: str = "sum", rank: int | None = None, body: Anatomy | None = None) -> Method:
    """The method that a combination is, on a body. Raises Refusal where the parts cannot be combined like that.

    Fields of refusals: parts, parts.<i>, weights, how, rank."""
    assert body is not None
    if not any(weights):
        raise Refusal("With all weights at 0 nothing is left: give one of them another weight.", "weights")
    if how == "average" and rank:
        raise Refusal("Of changes of weights, the average is their sum: choose sum to keep a rank.", "how")
    for index, method in enumerate(methods):
        if method.select and method.select.head_alone:
            raise Refusal("A run that trained its head alone has changed nothing that could be combined: leave it out.", f"parts.{index}")
        if any(FORMS[delta.form].over_frozen for delta in method.deltas):
            raise Refusal("A fusion attends over the adapters that it stands on, and belongs to them alone: combine those, or leave it out.", f"parts.{index}")
    if rank:
        deltas, select = _of_rank(methods, rank, body), None
    elif how == "sum":
        deltas, select = _side_by_side(methods, weights, body), _selection(methods)
    else:
        deltas, select = _alike(methods), _selection(methods)
    found = Method(name=name_of(methods, how, rank), family="free", deltas=deltas, select=select, training=methods[0].training)
    try:
        require(found, body, trained=True)
    except Refusal as refusal:
        raise Refusal("These methods cannot become one. {reason}", "parts", reason=refusal.sentence) from None
    return found


def name_of(methods: Sequence[Method], how: str, rank: int | None = None) -> str:
    """`ties of LoRA, rank 8`."""
    of = " + ".join(dict.fromkeys(method.name for method in methods))
    return f"{how} of {of}{f', rank {rank}' if rank else ''}"[:100]


def _selection(methods: Sequence[Method]) -> SelectionOptions | None:
    """The one selection of the parts; None where none has one."""
    found = [method.select for method in methods if method.select]
    if any(select != found[0] for select in found):
        raise Refusal("The parts trained different weights of the model itself, and a method selects once: combine those that selected the same.", "parts")
    if found and found[0].masks:
        raise Refusal("What {name} changes has gates of its own, which cannot be combined.", "parts", name=word(found[0].words))
    return found[0] if found else None


# -- side by side


def present(weights: Sequence[float]) -> list[int]:
    """The parts that are not left out."""
    return [index for index, weight in enumerate(weights) if weight]


def _side_by_side(methods: Sequence[Method], weights: Sequence[float], body: Anatomy) -> list[Delta]:
    here = present(weights)
    if len(here) == 1 and weights[here[0]] == 1:
        return [delta.model_copy(update={"frozen_from": ""}) for delta in methods[here[0]].deltas]
    if sum(any(delta.gate == "shared" for delta in methods[index].deltas) for index in here) > 1:
        raise Refusal("Two of the parts share gates among their deltas, which would become one gate over all of them: leave one part out.", "parts")
    return [_weighed(delta, weights[index], body) for index in here for delta in methods[index].deltas]


def _weighed(delta: Delta, weight: float, body: Anatomy) -> Delta:
    changed = {"weight": delta.weight * weight, "schedule": None, "trainable": None, "frozen_from": ""}
    if FORMS[delta.form].start(delta).residual:
        changed |= {
            "init": "lora",
            "core": "none",
            "rank": true_rank(delta, body),
            "allocation": None,
            "alpha": None,
            "scale": delta.strength,
            "composition": "scaled",
        }
    return delta.model_copy(update=changed)


def true_rank(delta: Delta, body: Anatomy) -> int:
    """The rank that the true change of a delta with a start taken out of the weight can have: of both ends of its way, unless A stayed."""
    sites = delta_sites(delta, body)
    top = delta.allocation.rank_max if delta.allocation else delta.rank
    moves = any(part.trains for part in all_parts(delta, sites[0]) if part.name == "A")
    return min(top * (2 if moves else 1), min(min(site.shape) for site in sites))


# -- tensor by tensor


def shape_of(delta: Delta) -> dict:
    """What two deltas must have in common for their tensors to mean the same. A product's scale goes into its factors."""
    left_out = {*TRAINING_ONLY, *(("scale", "alpha", "rank_scaling") if FORMS[delta.form].product(delta) else ())}
    return delta.model_dump(mode="json", exclude=left_out)


def _alike(methods: Sequence[Method]) -> list[Delta]:
    first = methods[0]
    for index, method in enumerate(methods):
        if [shape_of(delta) for delta in method.deltas] != [shape_of(delta) for delta in first.deltas] or (method.select is None) != (first.select is None):
            raise Refusal(
                "Tensors are combined with their like, so all parts need the same method: choose sum, or give a rank for what merges into weights.",
                f"parts.{index}",
            )
        for delta in method.deltas:
            _require_by_tensor(delta, index)
    return [_unscaled(delta) for delta in first.deltas]


def _require_by_tensor(delta: Delta, index: int) -> None:
    form, composition = FORMS[delta.form], COMPOSITIONS[delta.composition]
    reason = Message("")
    if not form.by_tensor and not form.product(delta):
        reason = Message("the tensors of {form} with these options are multiplied with each other", form=word(form.label))
    elif delta.encoder != "none":
        reason = Message("a network makes these tensors")
    elif delta.shared:
        reason = Message("one set of tensors serves all places")
    elif composition.parts(delta, Site(delta.places[0], "encoder", 0, 8, 8, "h", 1, 1, 8, model=8)):
        reason = Message("composition {composition} has tensors of its own", composition=delta.composition)
    if reason:
        raise Refusal(
            "Part {part} is not combined tensor by tensor, since {reason}: choose sum, or give a rank.", f"parts.{index}", part=index + 1, reason=reason
        )


def _unscaled(delta: Delta) -> Delta:
    changed = {"schedule": None, "trainable": None, "weight": 1.0, "frozen_from": ""}
    return delta.model_copy(update=changed | ({"scale": 1.0, "alpha": None, "rank_scaling": "lora"} if FORMS[delta.form].product(delta) else {}))


# -- one low-rank change


def changed_weights(method: Method, body: Anatomy) -> dict[tuple[str, int, str], None]:
    """(stack, layer, projection) of every weight that a method changes, in their order; of fused projections, their slices."""
    found: dict[tuple[str, int, str], None] = {}
    for delta in method.deltas:
        for site in body.sites(delta):
            for name in READ_BY.get(site.representation, (site.representation,)):
                found |= {(site.stack, site.layer, place): None for place in WHOLE.get(name, (name,))}
    return found


def _of_rank(methods: Sequence[Method], rank: int, body: Anatomy) -> list[Delta]:
    for index, method in enumerate(methods):
        if method.select:
            raise Refusal(
                "A rank is of deltas, and part {part} trains {words}: leave the rank empty.", f"parts.{index}", part=index + 1, words=word(method.select.words)
            )
        for delta in method.deltas:
            if not FORMS[delta.form].mergeable(delta) or COMPOSITIONS[delta.composition].unmerged or delta.norm != "none" or delta.ends:
                raise Refusal(
                    "Part {part} changes more than weights by its {form} at {places}: leave the rank empty, and choose sum.",
                    f"parts.{index}",
                    part=index + 1,
                    form=word(FORMS[delta.form].label),
                    places=", ".join(delta.at),
                )
    places: dict[str, dict[str, list[int]]] = {}  # projection: {stack: layers}
    for method in methods:
        for stack, layer, place in changed_weights(method, body):
            layers = places.setdefault(place, {}).setdefault(stack, [])
            layers += [layer] if layer not in layers else []
    groups: dict[tuple, list[str]] = {}  # (stack, layers): projections
    for place, by_stack in places.items():
        for stack, layers in by_stack.items():
            groups.setdefault((stack, tuple(sorted(layers))), []).append(place)
    joined: dict[tuple, list[str]] = {}  # (layers, projections): stacks
    for (stack, layers), names in groups.items():
        joined.setdefault((layers, tuple(names)), []).append(stack)
    counts = {name: stack.layers for name, stack in body.sublayers()}
    return [
        Delta(at=list(names), form="lowrank", composition="add", rank=rank, stacks=stacks,
              layers="all" if all(len(layers) == counts[stack] for stack in stacks) else ",".join(map(str, layers)))
        for (layers, names), stacks in joined.items()
    ]  # fmt: skip

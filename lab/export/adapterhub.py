"""Which AdapterHub configuration a method is, if any: decided from the design alone, without torch (the library `adapters` 1.3).

| part | configuration there | methods |
|---|---|---|
| bottleneck, compacter | bottleneck (mh_adapter, output_adapter; phm_layer) | Houlsby, Pfeiffer, parallel, scaled parallel, Compacter |
| low-rank change | LoRA with r = alpha, its scale in lora_B | LoRA and all that is a fixed low-rank change at q, k, v or the FFN |
| scale | IA3 (LoRA with composition_mode scale) | scales of k, v and the FFN's up projection |
| slots | prefix_tuning, flat | prefixes that keep the positions of real tokens |

Several parts are a union (MAM, UniPELT). FAMILIES says where the library keeps the tensors of a family; it was read off the library and
is proved by tests/test_export_adapterhub.py in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.design.body.anatomy import Anatomy, Site, source
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.plain.refusal import Refusal
from lab.export.kinds import reads_own_input

NAME = "delta_lab"  # of the adapter in what is exported
VERSION = "adapters.1.3.0"


@dataclass(frozen=True)
class Holders:
    """What the library does with models of a type."""

    attention: str = "attention_adapters"  # from a layer: what holds the bottlenecks behind its self-attention ...
    output: str = "output_adapters"  # ... behind its FFN ...
    cross: str = "cross_attention_adapters"  # ... and behind its cross-attention
    prefix: str = "self_prefix"  # of the only stack's prefixes; "": a prefix there is none, or another function
    cached: bool = True  # whether it keeps keys and values while it writes: it loses those of Llama and Mistral, whatever the adapter (1.3.0)
    swapped: bool = False  # `intermediate` is the FFN's down projection and `output` its up projection


BERT = Holders("attention.output", "output")
T5 = Holders("layer.0", "layer.{last}", "layer.1", prefix="")
FAMILIES = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra", "deberta-v2"), BERT),
    "distilbert": Holders(prefix="self"), "bart": Holders(), "mbart": Holders(), "gpt2": Holders(),
    "llama": Holders(cached=False, swapped=True), "mistral": Holders(cached=False, swapped=True),
    "t5": T5, "mt5": T5,
}  # fmt: skip
ATTENTION = {"attn.q": "q", "attn.k": "k", "attn.v": "v"}
ACTIVATIONS = {"none": "linear", "silu": "silu", "relu": "relu", "gelu": "gelu", "tanh": "tanh", "sigmoid": "sigmoid"}


@dataclass
class Piece:
    """One configuration of the library and the deltas that it holds."""

    kind: str  # bottleneck, lora, ia3 or prefix
    deltas: tuple[int, ...]  # their numbers in the method
    config: dict[str, Any] = field(default_factory=dict)


def family_of(body: Anatomy) -> Holders:
    """What the library knows of this type of model, or a Refusal."""
    kind = str(body.config.get("model_type"))
    if kind not in FAMILIES:
        raise Refusal("AdapterHub's library has no adapters for {name}", "format", name=body.architecture.name)
    return FAMILIES[kind]


def pieces(method: Method, body: Anatomy) -> list[Piece]:
    """The configurations that together are this method on this model, or a `Refusal` that says why there are none."""
    family = family_of(body)
    if method.select or not method.deltas:
        raise Refusal("AdapterHub has no adapter for training the model's own weights", "format")
    found: dict[str, list[int]] = {}
    for index, delta in enumerate(method.deltas):
        _require_plain(delta)
        kind = _kind(delta)
        found.setdefault(f"{kind}{index}" if kind == "bottleneck" else kind, []).append(index)
    if {"lora", "ia3"} <= set(found):
        raise Refusal("AdapterHub holds a LoRA or an IA3 in one adapter, not both", "format")
    made = {"bottleneck": _bottleneck, "lora": _lora, "ia3": _ia3, "prefix": _prefix}
    result = []
    for key, indices in found.items():
        kind = key.rstrip("0123456789") if key.startswith("bottleneck") else key
        result.append(Piece(kind, tuple(indices), made[kind]([method.deltas[index] for index in indices], body, family)))
    _require_apart([piece.config for piece in result if piece.kind == "bottleneck"])
    return result


def document(found: Sequence[Piece]) -> dict[str, Any]:
    """`config` of adapter_config.json."""
    return found[0].config if len(found) == 1 else {"architecture": "union", "configs": [piece.config for piece in found]}


def _kind(delta: Delta) -> str:
    if delta.form in ("bottleneck", "compacter") and not (FORMS[delta.form].low_rank(delta) and not delta.biases):
        return "bottleneck"
    if FORMS[delta.form].low_rank(delta):
        return "lora"
    if delta.form == "slots":
        return "prefix"
    if delta.form == "scale":
        return "ia3"
    raise Refusal("AdapterHub has no adapter of the form {form}", "format", form=FORMS[delta.form].label)


def _require_plain(delta: Delta) -> None:
    if delta.ends:
        raise Refusal("AdapterHub counts padding among the last tokens, so a change of some tokens alone has no equal there", "format")
    if delta.frozen_from:
        raise Refusal("AdapterHub holds what one run trained, not the frozen adapters of others", "format")
    if delta.norm != "none":
        raise Refusal("AdapterHub's format has no place for a layer norm of a delta's own", "format")
    composition = COMPOSITIONS[delta.composition]
    if composition.averages and (delta.gate == "shared" or delta.gate_over != "all"):
        raise Refusal(
            "A gate in AdapterHub is a delta's own and averages over padding too: only a run with gate own and gate_over=all means the same there", "format"
        )
    if delta.weight != 1 and not (composition.adds and not composition.averages):
        raise Refusal("AdapterHub has no place for the weight of a change with composition {composition}", "format", composition=delta.composition)


# -- bottlenecks


def _bottleneck(deltas: list[Delta], body: Anatomy, family: Holders) -> dict[str, Any]:
    (delta,) = deltas
    places = body.places(delta)
    if delta.composition not in ("add", "scaled", "learned-gate"):
        raise Refusal("AdapterHub has no bottleneck with composition {composition}", "format", composition=delta.composition)
    summed = places == ["ffn.residual"]
    if not (summed and delta.reads_h) and not set(places) <= {"attn.out", "ffn.out"}:
        raise Refusal(
            "A bottleneck in AdapterHub is at attn.out, at ffn.out, or sequential at ffn.residual, and this one is at {places}",
            "format",
            places=", ".join(places),
        )
    if delta.changes_input or delta.nonlinearity not in ACTIVATIONS:
        raise Refusal(
            "AdapterHub has no bottleneck with insertion {insertion} and nonlinearity {nonlinearity}",
            "format",
            insertion=delta.insertion,
            nonlinearity=delta.nonlinearity,
        )
    if summed and body.post_norm and delta.x != "normed":
        raise Refusal("A bottleneck in AdapterHub at ffn.residual reads h behind its layer norm: only a run with x=normed means the same there", "format")
    if not delta.reads_h and not all(_reads_stream(delta, place, body) for place in places):
        raise Refusal(
            "A parallel bottleneck in AdapterHub reads the residual stream before its norm: only a run with x=residual means the same there", "format"
        )
    if delta.allocation or (delta.schedule and delta.schedule.peft_type):
        raise Refusal("A bottleneck in AdapterHub has one width in all layers", "format")
    sites = body.sites(delta)
    learned = delta.strength == "learned"
    return {
        "architecture": None,
        "mh_adapter": "attn.out" in places,
        "output_adapter": bool({"ffn.out", "ffn.residual"} & set(places)),
        "cross_adapter": any(site.stack == "cross" for site in sites),
        "reduction_factor": _reduction(sites[0].model, delta.rank),
        "non_linearity": ACTIVATIONS[delta.nonlinearity],
        "original_ln_before": summed,
        "original_ln_after": True,
        "residual_before_ln": True,
        "adapter_residual_before_ln": False,
        "ln_before": False,
        "ln_after": False,
        "is_parallel": not delta.reads_h,
        "scaling": "learned" if learned else float(delta.strength) * delta.weight,
        "use_gating": delta.composition == "learned-gate",
        "dropout": 0.0,
        "init_weights": "bert",
        "inv_adapter": None,
        "leave_out": left_out(sites, body),
        "phm_layer": delta.form == "compacter",
        **({"phm_dim": delta.factors, "phm_rank": 1, "factorized_phm_W": True, "shared_W_phm": False, "shared_phm_rule": delta.shared,
            "factorized_phm_rule": False, "phm_bias": True} if delta.form == "compacter" else {}),
    }  # fmt: skip


def _reads_stream(delta: Delta, place: str, body: Anatomy) -> bool:
    """Whether what a parallel delta reads is the residual stream: the sublayer's input itself where no norm stands between."""
    reads = source(delta, place)
    return reads == "residual" or (reads == "sublayer" and body.post_norm)


def _reduction(width: int, rank: int) -> float:
    """What the library divides a width by, rounding down, to get this rank."""
    return width / rank if width % rank == 0 else width / (rank + 0.5)


def _require_apart(configs: Sequence[dict[str, Any]]) -> None:
    """The library tells two bottlenecks of a union apart by their places alone, and keeps the small matrices of one Compacter."""
    places = [place for config in configs for place in ("mh_adapter", "output_adapter") if config[place]]
    if len(places) != len(set(places)):
        raise Refusal("AdapterHub has one bottleneck at each place of an adapter", "format")
    if sum(config["phm_layer"] and config["shared_phm_rule"] for config in configs) > 1:
        raise Refusal("AdapterHub shares the small matrices of one Compacter in an adapter, not of two", "format")


def left_out(sites: Sequence[Site], body: Anatomy) -> list[int]:
    """The layers without any of these sites, as the library counts them: a decoder's layers go on behind the encoder's."""
    there = {layer_number(site, body) for site in sites}
    return [number for number in range(sum(stack.layers for stack in body.stacks)) if number not in there]


def layer_number(site: Site, body: Anatomy) -> int:
    """The number of a site's layer in the library."""
    return site.layer + (body.stacks[0].layers if body.encoder_decoder and site.stack != "encoder" else 0)


# -- low-rank changes and scales of projections


def role(representation: str, family: Holders) -> str:
    """The library's word for a projection: q, k, v, intermediate or output; "" for one that it leaves alone."""
    ffn = ("output", "intermediate") if family.swapped else ("intermediate", "output")
    return {**ATTENTION, "attn.qkv": "qkv", "ffn.up": ffn[0], "ffn.down": ffn[1], "ffn.out": ffn[1]}.get(representation, "")


def _at_projections(roles: set[str], sites: Sequence[Site], body: Anatomy) -> dict[str, Any]:
    matrices = [letter for letter in "qkv" if letter in roles or "qkv" in roles]
    return {
        "architecture": "lora", "selfattn_lora": bool(matrices), "intermediate_lora": "intermediate" in roles, "output_lora": "output" in roles,
        "attn_matrices": matrices, "leave_out": left_out(sites, body), "dropout": 0.0, "use_dora": False,
    }  # fmt: skip


def _lora(deltas: list[Delta], body: Anatomy, family: Holders) -> dict[str, Any]:
    roles: set[str] = set()
    gated = {delta.composition == "learned-gate" for delta in deltas}
    for delta in deltas:
        if delta.composition not in ("add", "scaled", "learned-gate"):
            raise Refusal("AdapterHub has no low-rank change with composition {composition}", "format", composition=delta.composition)
        if FORMS[delta.form].start(delta).residual and delta.composition == "learned-gate":
            raise Refusal("AdapterHub has no place for what init {init} took out of the weight of a gated change", "format", init=delta.init)
        for place in body.places(delta):
            if not role(place, family) or place == "ffn.out" or not reads_own_input(delta, place, body):
                raise Refusal(
                    "A LoRA in AdapterHub reads the own input of q, k, v or the FFN's up and down projections, which this {insertion} delta at {place} does not",
                    "format",
                    insertion=delta.insertion,
                    place=place,
                )
            roles.add(role(place, family))
    if len(gated) > 1:
        raise Refusal("A LoRA in AdapterHub has gates at all its places or at none", "format")
    if gated == {True} and len(deltas) > 1:
        raise Refusal("A gated LoRA in AdapterHub is one delta", "format")
    sites = [site for delta in deltas for site in body.sites(delta)]
    return _at_projections(roles, sites, body) | {"composition_mode": "add", "init_weights": "lora", "use_gating": gated == {True}}


def _ia3(deltas: list[Delta], body: Anatomy, family: Holders) -> dict[str, Any]:
    gated = all(stack.gated for stack in body.stacks)  # act(gate)·up: to scale up is to scale what it gives
    roles: set[str] = set()
    for delta in deltas:
        if delta.composition != "rescale" or not delta.reads_h or delta.changes_input:
            raise Refusal(
                "AdapterHub has no scale with composition {composition} and insertion {insertion}",
                "format",
                composition=delta.composition,
                insertion=delta.insertion,
            )
        for place in body.places(delta):
            if place == "ffn.act" and not gated:
                raise Refusal(
                    "An IA3 in AdapterHub scales the FFN before its activation: only a run at attn.k, attn.v and ffn.up means the same there", "format"
                )
            found = role("ffn.up" if place == "ffn.act" else place, family)
            if not found or found == "qkv":
                raise Refusal("An IA3 in AdapterHub scales q, k, v and the FFN's projections, and {place} is none of these", "format", place=place)
            if found in roles:
                raise Refusal("An IA3 in AdapterHub scales a projection once", "format")
            roles.add(found)
    sites = [site for delta in deltas for site in body.sites(delta)]
    return _at_projections(roles, sites, body) | {"composition_mode": "scale", "init_weights": "ia3", "r": 1, "alpha": 1, "use_gating": False}


# -- prefixes


def _prefix(deltas: list[Delta], body: Anatomy, family: Holders) -> dict[str, Any]:
    delta = deltas[0]
    if not family.prefix:
        raise Refusal(
            "A prefix in AdapterHub moves the distances between real tokens on {name}, which the lab's does not", "format", name=body.architecture.name
        )
    if len(deltas) > 1 or delta.nonlinearity != "softmax" or delta.composition not in ("gated", "learned-gate"):
        raise Refusal("A prefix in AdapterHub is one set of softmax slots inside the attention", "format")
    if body.shifts(delta):
        raise Refusal("A prefix in AdapterHub keeps the positions of real tokens: only a run trained with positions=keep means the same there", "format")
    sites = body.sites(delta)
    out = left_out(sites, body)
    stacks = {site.stack for site in sites}
    here = {(stack, layer_number(site, body)) for stack in stacks for site in sites if site.stack == stack}
    first = body.stacks[0].layers
    kept = [number for number in range(sum(stack.layers for stack in body.stacks)) if number not in out]
    wanted = {("decoder" if body.encoder_decoder or body.stacks[0].name == "decoder" else "encoder", number) for number in kept
              if not body.encoder_decoder or number >= first}  # fmt: skip
    wanted |= {("encoder", number) for number in kept if body.encoder_decoder and number < first and "encoder" in stacks}
    wanted |= {("cross", number) for number in kept if number >= first and "cross" in stacks}
    if here != wanted:
        raise Refusal("A prefix in AdapterHub is in the same layers of the decoder's self-attention and cross-attention", "format")
    return {
        "architecture": "prefix_tuning", "flat": True, "prefix_length": delta.rank, "encoder_prefix": "encoder" in stacks, "cross_prefix": "cross" in stacks,
        "leave_out": out, "dropout": 0.0, "use_gating": delta.composition == "learned-gate", "shared_gating": True,
    }  # fmt: skip

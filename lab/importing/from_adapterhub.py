"""An adapter of AdapterHub's library as a method: its configurations as deltas of the space; what they cannot say is refused by name.

The names and shapes of its tensors stand in the exporter (lab/export/adapterhub.py, adapterhub_tensors.py), which is run backwards; its configuration is
written again from what was read, and what differs is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lab.design.body.anatomy import Anatomy
from lab.design.plain.refusal import Refusal
from lab.export.adapterhub import ACTIVATIONS, ATTENTION, NAME, Holders, document, family_of, pieces, role
from lab.importing import places
from lab.importing.places import ProjectionPlace

HOLDERS = ("adapters", "loras", "prefix_tunings", "prefix_gates", "shared_parameters")  # before the name of an adapter in the names of its tensors
NO_MATTER = {"dropout", "init_weights", "inv_adapter", "inv_adapter_reduction_factor", "reduction_factor", "r", "alpha", "bottleneck_size", "non_linearity",
             "phm_c_init", "learn_phm", "hypercomplex_nonlinearity", "phm_init_range", "use_dora", "vera_d", "vera_b", "kronecker_prod", "stochastic_depth"}  # fmt: skip
Found = dict[str, Tensor]


def renamed(tensors: Found, name: str) -> Found:
    """The tensors by the name that the exporter has for an adapter."""
    before = re.compile(rf"(^|\.)({'|'.join(HOLDERS)})\.{re.escape(name)}(\.|$)")
    return {before.sub(rf"\1\2.{NAME}\3", key): tensor for key, tensor in tensors.items()}


def read(config: Any, tensors: Found, body: Anatomy) -> list[dict[str, Any]]:
    """The deltas of a configuration. Raises Refusal."""
    family = family_of(body)
    if not isinstance(config, Mapping):
        raise Refusal(
            "The adapter_config.json of this adapter names its configuration ('{name}') and does not say it: save it again with a newer library.",
            "source",
            name=str(config)[:60],
        )
    parts = config.get("configs") if config.get("architecture") == "union" else [config]
    deltas: list[dict[str, Any]] = []
    for part in parts if isinstance(parts, list) else []:
        kind = str(part.get("architecture") or "bottleneck") if isinstance(part, Mapping) else "?"
        if kind not in READERS:
            raise Refusal("The space has no place for an AdapterHub configuration of the architecture {kind}.", "source", kind=kind[:40])
        try:
            deltas += READERS[kind](part, tensors, body, family)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            if isinstance(error, Refusal):
                raise
            raise Refusal(
                "The configuration of this adapter lacks a number, or has one that is none ({name}: {reason}).",
                "source",
                name=type(error).__name__,
                reason=str(error)[:80],
            ) from None
    return deltas


def require_same(config: Mapping[str, Any], method: Any, body: Anatomy) -> None:
    """Raise a Refusal that names what a configuration says and a method that was read from it does not."""
    mine = document(pieces(method, body))
    theirs, ours = (each["configs"] if each.get("architecture") == "union" else [each] for each in (config, mine))
    if len(theirs) != len(ours):
        raise Refusal("The space reads this union of {theirs} configurations as {ours}.", "source", theirs=len(theirs), ours=len(ours))
    left = list(ours)
    for part in theirs:
        differing = [(_different(part, other), other) for other in left]
        names, other = min(differing, key=lambda pair: len(pair[0]))
        if names:
            raise Refusal(
                "The space has no place for {name} {value} of this adapter's configuration.", "source", name=names[0], value=str(part.get(names[0]))[:60]
            )
        left.remove(other)


def _different(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """The keys by which two configurations mean something else, `architecture` first."""
    if theirs.get("architecture") != ours.get("architecture"):
        return ["architecture"] * 99
    keys = sorted((set(theirs) | set(ours)) - NO_MATTER)
    return [key for key in keys if _plain(theirs.get(key)) != _plain(ours.get(key)) and (key in ours or _plain(theirs.get(key)) not in ((), None))]


def _plain(value: Any) -> Any:
    """What is not used, in one way: None, False, 0 and empty lists."""
    return tuple(sorted(map(str, value))) if isinstance(value, list) else value if value or value is None else None


def _wanted(names: list[str], config: Mapping[str, Any], body: Anatomy, stacks: tuple[str, ...] = ("encoder", "decoder", "cross")) -> list[dict[str, Any]]:
    """The places of deltas at representations in the layers that a configuration does not leave out; a decoder's are counted behind the encoder's."""
    out = set(config.get("leave_out") or ())
    wanted: dict[ProjectionPlace, int] = {}
    for name, stack in body.sublayers():
        before = body.stacks[0].layers if body.encoder_decoder and name != "encoder" else 0
        here = [each for each in names if name != "cross" or each.startswith("attn")] if name in stacks else []
        wanted |= {ProjectionPlace(name, layer, each): 0 for layer in range(stack.layers) if layer + before not in out for each in here}
    if not wanted:
        raise Refusal("The configuration of this adapter leaves every layer of the base out.", "source")
    return [fields for _, fields in places.covered(wanted, body)]


def _gated(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"composition": "learned-gate", "gate_over": "all"} if config.get("use_gating") else {}


def _bottleneck(config: Mapping[str, Any], tensors: Found, body: Anatomy, family: Holders) -> list[dict[str, Any]]:
    compacter = bool(config.get("phm_layer"))
    summed = bool(config.get("original_ln_before")) and not config.get("is_parallel")
    if summed and config.get("mh_adapter"):
        raise Refusal("The space has no bottleneck behind the sum of the attention and its residual (mh_adapter with original_ln_before).", "source")
    names = [*(["attn.out"] if config.get("mh_adapter") else []), *((["ffn.residual"] if summed else ["ffn.out"]) if config.get("output_adapter") else [])]
    stacks = ("encoder", "decoder", *(("cross",) if config.get("cross_adapter") else ()))
    sigma = str(config["non_linearity"]).lower()
    nonlinearity = next((ours for ours, theirs in ACTIVATIONS.items() if sigma in (theirs, {"silu": "swish"}.get(theirs))), None)
    if nonlinearity is None:
        raise Refusal("The space has no bottleneck with the nonlinearity {sigma}.", "source", sigma=sigma[:40])
    options: dict[str, Any] = {"form": "compacter" if compacter else "bottleneck", "rank": _width(tensors, config, family), "nonlinearity": nonlinearity, "biases": True,
                               "insertion": "parallel" if config.get("is_parallel") else "sequential"}  # fmt: skip
    scaling = config.get("scaling", 1.0)
    options |= {"composition": "scaled", "scale": scaling if scaling == "learned" else float(scaling)} | _gated(config)
    if options["composition"] == "learned-gate":
        del options["scale"]
    if compacter:
        options |= {"factors": int(config["phm_dim"]), "shared": bool(config.get("shared_phm_rule"))}
    if summed and body.post_norm:
        options["x"] = "normed"
    if config.get("is_parallel") and not body.post_norm:
        options["x"] = "residual"
    return [{**fields, **options} for fields in _wanted(names, config, body, stacks)]


def _width(tensors: Found, config: Mapping[str, Any], family: Holders) -> int:
    """Of a bottleneck, by its first map: (r, in), or of a Compacter the bias of it (r,). In a union each place has its own."""
    ending = f".adapters.{NAME}.adapter_down.0.{'b' if config.get('phm_layer') else 'weight'}"
    widths = {
        tensor.shape[0]
        for name, tensor in tensors.items()
        if name.endswith(ending) and config.get("mh_adapter" if _of_attention(name, family) else "output_adapter")
    }
    if len(widths) != 1:
        raise Refusal("The bottlenecks of this adapter have several widths, or none, and a delta has one.", "source")
    return int(widths.pop())


def _of_attention(name: str, family: Holders) -> bool:
    """Whether a tensor is of a bottleneck behind an attention; T5 counts the parts of a layer, and its encoder's second is the FFN."""
    return f".{family.attention}.adapters." in name or (f".{family.cross}.adapters." in name and "encoder." not in name)


def _lora(config: Mapping[str, Any], tensors: Found, body: Anatomy, family: Holders) -> list[dict[str, Any]]:
    mode = config.get("composition_mode", "add")
    letters = [name for name, letter in ATTENTION.items() if config.get("selfattn_lora", True) and letter in (config.get("attn_matrices") or ())]
    wanted = {name for name in ("intermediate", "output") if config.get(f"{name}_lora")}
    names = letters + [place for place in ("ffn.up", "ffn.down") if role(place, family) in wanted]
    if mode == "scale":
        options: dict[str, Any] = {"form": "scale", "insertion": "sequential", "composition": "rescale"}
    elif mode == "add":
        options = {"form": "lowrank", "rank": int(config["r"]), "composition": "scaled", "scale": float(config["alpha"]) / int(config["r"])} | _gated(config)
        if options["composition"] == "learned-gate":
            del options["scale"]
    else:
        raise Refusal("The space has no LoRA with composition_mode {mode}.", "source", mode=str(mode)[:40])
    return [{**fields, **options} for fields in _wanted(names, config, body)]


def _prefix(config: Mapping[str, Any], tensors: Found, body: Anatomy, family: Holders) -> list[dict[str, Any]]:
    if not config.get("flat"):
        raise Refusal(
            "The network that makes this prefix was saved with it (flat false): take it out with model.eject_prefix_tuning(name) and save the adapter again.",
            "source",
        )
    stacks = (
        "decoder",
        *(("encoder",) if config.get("encoder_prefix", True) or not body.encoder_decoder else ()),
        *(("cross",) if config.get("cross_prefix", True) else ()),
    )
    options = {"form": "slots", "nonlinearity": "softmax", "composition": "gated", "rank": int(config["prefix_length"]), "positions": "keep"} | _gated(config)
    return [{**fields, **options} for fields in _wanted(["attn.heads"], config, body, stacks)]


READERS = {"bottleneck": _bottleneck, "lora": _lora, "prefix_tuning": _prefix}

"""The tensors of AdapterHub's adapters, by the names of the library `adapters` 1.3: model path, kind of module, adapter, tensor.

Its modules stand at every place that a configuration names, whether or not the method has a delta there: what is missing is filled with a
bottleneck or a LoRA that gives zero, or a scale of ones, so that nothing that the library draws at random is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lab.engine.delta import DeltaModule
from lab.engine.locate import Layer
from lab.export import lowrank
from lab.export.adapterhub import ATTENTION, NAME, Holders, Piece, family_of, layer_number, pieces, role

Found = dict[str, Tensor]


@torch.no_grad()
def tensors(attached: Any) -> tuple[list[Piece], Found]:
    """(the configurations, every tensor of the adapter by its name there). LoRA's rank is set in its configuration here, where the changes are known."""
    found = pieces(attached.method, attached.body)
    made: Found = {}
    for piece in found:
        deltas = [delta for name, delta in attached.deltas.items() if int(name.split(".")[1]) in piece.deltas]
        made |= {"bottleneck": _bottlenecks, "lora": _loras, "ia3": _scales, "prefix": _prefixes}[piece.kind](attached, piece, deltas)
    return found, {name: tensor.detach().float().to("cpu").clone().contiguous() for name, tensor in made.items()}


def _layers(attached: Any, piece: Piece) -> Iterator[tuple[str, int, Layer]]:
    """(stack word, number in the library, layer) of every layer that the configuration does not leave out, cross-attentions apart."""
    for name, stack in attached.body.sublayers():
        for index in range(stack.layers):
            shift = attached.body.stacks[0].layers if attached.body.encoder_decoder and name != "encoder" else 0
            if index + shift not in piece.config["leave_out"]:
                yield name, index, attached.binder.layer(name, index)


def _paths(attached: Any) -> dict[int, str]:
    return {id(module): path for path, module in attached.model.named_modules()}


# -- bottlenecks


def _bottlenecks(attached: Any, piece: Piece, deltas: list[DeltaModule]) -> Found:
    """adapter_down.0 (r, in), adapter_up (out, r) with biases; scaling (1,); gate (1, in). Of a Compacter W_left (n, in/n, 1), W_right (n, 1, out/n), b."""
    paths, family, config = _paths(attached), family_of(attached.body), piece.config
    mine = {(delta.site.stack, delta.site.layer, delta.site.representation.startswith("attn")): delta for delta in deltas}
    made: Found = {}
    for stack, index, layer in _layers(attached, piece):
        for attention in (True, False):
            if not config["cross_adapter" if stack == "cross" else "mh_adapter" if attention else "output_adapter"] or (stack == "cross" and not attention):
                continue
            place = f"{paths[id(layer.module)]}.{_holder(family, stack, attention)}.adapters.{NAME}"
            delta = mine.get((stack, index, attention))
            made |= {f"{place}.{name}": tensor for name, tensor in (_bottleneck(delta, config) if delta else _idle(deltas[0], config)).items()}
    if config["phm_layer"] and config["shared_phm_rule"]:
        made[f"{_base(attached)}shared_parameters.{NAME}.phm_rule"] = deltas[0].parts().A
    return made


def _holder(family: Holders, stack: str, attention: bool) -> str:
    if stack == "cross":
        return family.cross
    return family.attention if attention else family.output.format(last=1 if stack == "encoder" else 2)


def _bottleneck(delta: DeltaModule, config: dict[str, Any]) -> Found:
    parts = delta.parts()
    if config["phm_layer"]:
        made = {"adapter_down.0.W_left": parts.down_left[..., None], "adapter_down.0.W_right": parts.down_right[:, None],
                "adapter_up.W_left": parts.up_left[..., None], "adapter_up.W_right": parts.up_right[:, None]}  # fmt: skip
        biases, rank = ("adapter_down.0.b", "adapter_up.b"), delta.delta.rank
        if not config["shared_phm_rule"]:
            made |= {"adapter_down.0.phm_rule": parts.A, "adapter_up.phm_rule": parts.A}
    else:
        made = {"adapter_down.0.weight": parts.down, "adapter_up.weight": parts.up}
        biases, rank = ("adapter_down.0.bias", "adapter_up.bias"), parts.down.shape[0]
    like = next(iter(made.values()))
    for name, bias, size in zip(biases, (parts.down_bias, parts.up_bias), (rank, delta.site.width_out), strict=True):
        made[name] = like.new_zeros(size) if bias is None else bias
    if config["scaling"] == "learned":
        made["scaling"] = (delta.delta.weight * delta.scale).reshape(1)
    if config["use_gating"]:
        made |= {"gate.weight": delta.gate[None], "gate.bias": delta.gate_bias.reshape(1)}
    return made


def _idle(delta: DeltaModule, config: dict[str, Any]) -> Found:
    """Of a place that the method leaves alone: a bottleneck that gives zero."""
    return {name: torch.zeros_like(tensor) for name, tensor in _bottleneck(delta, config).items()}


# -- changes of projections


def _targets(attached: Any, piece: Piece) -> Iterator[tuple[str, nn.Module, bool]]:
    """(path, module, whether it is a fused q, k and v) of the projections that have a LoRA or an IA3 there."""
    paths, family, config = _paths(attached), family_of(attached.body), piece.config
    roles = {name for name in ("intermediate", "output") if config[f"{name}_lora"]} | set(config["attn_matrices"])
    for stack, _, layer in _layers(attached, piece):
        fused = layer.stack.fused
        if fused and config["attn_matrices"]:
            module = layer.find("attn", "qkv").module
            yield paths[id(module)], module, True
        for place in (*(() if fused else ATTENTION), *(() if stack == "cross" else ("ffn.up", "ffn.down"))):
            if role(place, family) in roles:
                module = layer.find(*place.split(".")).module
                yield paths[id(module)], module, False


def _loras(attached: Any, piece: Piece, deltas: list[DeltaModule]) -> Found:
    """lora_A (r, in), lora_B (out, r); of a fused q, k and v those of its n chosen thirds below each other, (n·r, in) and (n·out/3, r)."""
    terms: dict[int, list[tuple[DeltaModule, lowrank.Term]]] = {}
    for delta in deltas:
        located = attached.binder.target(delta)[0]
        terms.setdefault(id(located.module), []).append((delta, lowrank.term_of(delta, located)))
    targets = [(path, module, [(letter, _of(letter, terms.get(id(module), []))) for letter in (piece.config["attn_matrices"] if fused else [""])])
               for path, module, fused in _targets(attached, piece)]  # fmt: skip
    rank = max(sum(term.right.shape[0] for _, term in each) for *_, parts in targets for _, each in parts)
    piece.config |= {"r": rank, "alpha": rank}
    gated = piece.config["use_gating"]
    made: Found = {}
    for path, module, parts in targets:
        joined = [_joined(each, module, rank, "qkv".index(letter) if letter else None, gated) for letter, each in parts]
        made[f"{path}.loras.{NAME}.lora_A"] = torch.cat([right for right, _ in joined])
        made[f"{path}.loras.{NAME}.lora_B"] = torch.cat([left for _, left in joined])
        if gated:
            gates = [each[0][0] if each else None for _, each in parts]
            inner = lowrank.sides(module)[1]
            made[f"{path}.loras.{NAME}.gate.weight"] = torch.stack([torch.zeros(inner) if delta is None else delta.gate for delta in gates])
            made[f"{path}.loras.{NAME}.gate.bias"] = torch.stack([torch.zeros(()) if delta is None else delta.gate_bias for delta in gates])
    return made


def _of(letter: str, each: list[tuple[DeltaModule, lowrank.Term]]) -> list[tuple[DeltaModule, lowrank.Term]]:
    """Those that change q, k or v of a fused projection; all of them for ""."""
    return [(delta, term) for delta, term in each if not letter or ATTENTION.get(delta.site.representation, letter) == letter]


def _joined(each: list[tuple[DeltaModule, lowrank.Term]], module: nn.Module, rank: int, third: int | None, gated: bool) -> tuple[Tensor, Tensor]:
    """(right (rank, in), left (rows, rank)) of all terms of a module, or of a third of its rows; zeros where there is nothing."""
    out, inner = lowrank.sides(module)
    rows = slice(None) if third is None else slice(third * out // 3, (third + 1) * out // 3)
    right, left = torch.zeros(rank, inner), torch.zeros(out if third is None else out // 3, rank)
    start = 0
    for _, term in each:
        stop = start + term.right.shape[0]
        right[start:stop], left[:, start:stop] = term.right, (term.left if gated else term.s * term.left)[rows]
        start = stop
    return right, left


def _scales(attached: Any, piece: Piece, deltas: list[DeltaModule]) -> Found:
    """lora_B (out, 1); of a fused q, k and v its n chosen thirds, (n·out/3, 1)."""
    family, scales = family_of(attached.body), {}
    for delta in deltas:
        layer = attached.binder.layer(delta.site.stack, delta.site.layer)
        place = {"ffn.act": "ffn.up", "ffn.out": "ffn.down"}.get(delta.site.representation, delta.site.representation)
        located = layer.find(*place.split("."))
        scales.setdefault(id(located.module), {})[role(place, family)] = delta.parts().l
    made: Found = {}
    for path, module, fused in _targets(attached, piece):
        out, mine = lowrank.sides(module)[0], scales.get(id(module), {})
        if fused:
            values = torch.cat([mine.get(letter, torch.ones(out // 3)) for letter in piece.config["attn_matrices"]])
        else:
            values = next(iter(mine.values()), torch.ones(out))
        made[f"{path}.loras.{NAME}.lora_B"] = values[:, None]
    return made


# -- prefixes


def _prefixes(attached: Any, piece: Piece, deltas: list[DeltaModule]) -> Found:
    """control_trans: of each kind of attention one vector, (l, layers · 2, heads, head_dim) read along its memory, keys before values."""
    folded, family, paths = attached.fold(), family_of(attached.body), _paths(attached)
    names = {id(delta): name for name, delta in attached.deltas.items()}
    made: Found = {}
    for stack in {delta.site.stack: None for delta in deltas}:
        mine = sorted((delta for delta in deltas if delta.site.stack == stack), key=lambda delta: layer_number(delta.site, attached.body))
        rows = [folded[names[id(delta)]][part] for delta in mine for part in ("keys", "values")]  # each (l, kv)
        where = {"encoder": "encoder_prefix", "decoder": "self_prefix", "cross": "cross_prefix"}[stack] if attached.body.encoder_decoder else family.prefix
        made[f"{_base(attached)}prefix_tuning.prefix_tunings.{NAME}.{where}.control_trans"] = torch.stack(rows, 1).flatten()
        if piece.config["use_gating"]:
            for delta in mine:
                owner = paths[id(attached.binder.layer(stack, delta.site.layer).owner_of_q())]
                gate = f"{owner}.prefix_tuning.prefix_gates.{NAME}"
                made |= {f"{gate}.weight": delta.gate[None], f"{gate}.bias": delta.gate_bias.reshape(1)}
    return made


def _base(attached: Any) -> str:
    """The path of the base model in the model, with a dot; "" where the model is its own."""
    model = attached.model
    return "" if model.base_model is model else f"{model.base_model_prefix}."

"""A PEFT checkpoint of an attached method: tensors by PEFT's names, and adapter_config.json.

Keys are `base_model.model.` + module path + the type's suffix (prompts have no prefix). Without the prefix PEFT would load the file
with a warning and change nothing, so tests load every type with the real library and compare logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from lab.design.method.forms import FORMS
from lab.design.spec.objectives import OBJECTIVES
from lab.engine.delta import DeltaModule
from lab.engine.locate import Located
from lab.engine.select import head_parameters
from lab.export import lowrank

PREFIX = "base_model.model."
Made = tuple[dict[str, Tensor], dict[str, Any]]


@torch.no_grad()
def checkpoint(opened: Any, kind: str, one_rank: bool = False) -> Made:
    """(tensors by PEFT's keys, the adapter_config.json) of the attached method as PEFT type `kind`; `one_rank`: of a LORA, see lowrank.lora."""
    if kind == "LORA":
        tensors, own = _lora(opened.attached, one_rank)
    else:
        tensors, own = _adalora(opened) if kind == "ADALORA" else MAKERS.get(kind, _own)(opened.attached)
    config = {"peft_type": kind, "task_type": OBJECTIVES[opened.objective].peft, "base_model_name_or_path": opened.base, "revision": opened.origin.revision or None,
              "inference_mode": True, **own}  # fmt: skip
    if OBJECTIVES[opened.objective].headed:
        head = head_parameters(opened.model)
        inside = f"{opened.model.base_model_prefix}."  # of a pooler that the checkpoint lacked
        config["modules_to_save"] = sorted({name.removeprefix(inside).split(".")[0] for name in head})
        tensors |= {PREFIX + name: parameter for name, parameter in head.items()}
    return {name: tensor.detach().to("cpu").clone().contiguous() for name, tensor in tensors.items()}, config


def terms_of(attached: Any) -> dict[str, list[lowrank.Term]]:
    """The changes of weights of an attached low-rank method, by the path of the module that they change."""
    return {path: [lowrank.term_of(delta, located) for delta, located in each] for path, each in _by_module(attached).items()}


def _lora(attached: Any, one_rank: bool = False) -> Made:
    found = _by_module(attached)
    tensors, config = lowrank.lora(terms_of(attached), one_rank)
    for path, each in found.items():
        composition = each[0][0].composition
        tensors |= {f"{path}.{suffix}": tensor for suffix, tensor in composition.peft_tensors(each).items()}
        config |= composition.peft_config
    return _prefixed(tensors), config | _targets(attached, found)


def _hira(attached: Any) -> Made:
    """hira_A (r, in) and hira_B (out, r), s in hira_B: slices of a fused projection are rows of the whole, as in a LORA. peft 0.21 takes one rank for all."""
    found = _by_module(attached)
    tensors: dict[str, Tensor] = {}
    for path, each in found.items():
        terms = [lowrank.term_of(delta, located) for delta, located in each]
        tensors[f"{path}.hira_A"] = torch.cat([term.right for term in terms], 0)
        tensors[f"{path}.hira_B"] = torch.cat([term.s * term.left for term in terms], 1)
    rank = max(tensors[f"{path}.hira_A"].shape[0] for path in found)
    for path in found:
        missing = rank - tensors[f"{path}.hira_A"].shape[0]
        tensors[f"{path}.hira_A"] = F.pad(tensors[f"{path}.hira_A"], (0, 0, 0, missing))
        tensors[f"{path}.hira_B"] = F.pad(tensors[f"{path}.hira_B"], (0, missing))
    return _prefixed(tensors), {"r": rank, "hira_dropout": 0.0, "init_weights": True} | _targets(attached, found)


def _adalora(opened: Any) -> Made:
    """With the schedule as it was in the run's steps."""
    attached, found = opened.attached, _by_module(opened.attached)
    deltas = lowrank.one_each({path: [delta for delta, _ in each] for path, each in found.items()})
    steps = opened.costs.get("total_steps") or opened.spec.training.steps or 1
    tensors, config = lowrank.adalora(deltas, {path: each[0][1] for path, each in found.items()}, steps)
    return _prefixed(tensors), config | _targets(attached, found)


def _vera(attached: Any) -> Made:
    found = _by_module(attached)
    deltas = lowrank.one_each({path: [delta for delta, _ in each] for path, each in found.items()})
    tensors, config = lowrank.vera(deltas, next(iter(attached.shared.values())))
    pair = {f"base_model.{name}": tensors.pop(name) for name in ("vera_A", "vera_B")}
    return _prefixed(tensors) | pair, config | _targets(attached, found)


def _own(attached: Any) -> Made:
    """A type that one form alone has: s stands in its configuration where it can."""
    found = _by_module(attached)
    deltas = lowrank.one_each({path: [delta for delta, _ in each] for path, each in found.items()})
    options, tensors = attached.method.deltas[0], {}  # several differ in their places alone
    form = FORMS[options.form]
    s = options.strength if form.peft_scales and options.strength != "learned" else 1.0
    for path, delta in deltas.items():
        tensors |= {f"{path}.{suffix}": tensor for suffix, tensor in form.peft_tensors(delta.parts(), options.weight * delta.strength / s).items()}
    for holder in attached.shared.values():
        sites = [delta.site for delta in deltas.values()]
        tensors |= {f"base_model.{name}": tensor for name, tensor in form.peft_shared(dict(holder.named_parameters()), sites).items()}
    targets = _targets(attached, found)
    if not form.peft_conv1d:
        del targets["fan_in_fan_out"]
    whole = {name: tensors.pop(name) for name in [*tensors] if name.startswith("base_model.")}
    return _prefixed(tensors) | whole, form.peft_config(options, s) | targets


def _ia3(attached: Any) -> Made:
    """`ia3_l` (out, 1) multiplies a projection's output, (1, in) the input of a feedforward module."""
    found = _by_module(attached)
    tensors: dict[str, Tensor] = {}
    feedforward = []
    for path, each in found.items():
        located = each[0][1]
        out, inner = lowrank.sides(located.module)
        if each[0][0].of_activation:  # scaled before the projection that reads it
            feedforward.append(path)
            tensors[f"{path}.ia3_l"] = each[0][0].parts().l[None, :]
            continue
        whole = torch.ones(out)
        for delta, place in each:  # slices of one fused projection
            rows = torch.arange(out) if place.part is None else place.part.rows(out)
            whole[rows] = delta.parts().l.detach().float().cpu()
        tensors[f"{path}.ia3_l"] = whole[:, None]
    config = _targets(attached, found)
    return _prefixed(tensors), {**config, "feedforward_modules": _names(attached.model, feedforward), "init_ia3_weights": True}


def _norms(attached: Any) -> Made:
    """The norms' weights and biases, as the tuned copies that PEFT puts in their place."""
    chosen = {id(parameter) for parameter in attached.selected.values()}
    tensors: dict[str, Tensor] = {}
    targets = []
    for path, module in attached.model.named_modules():
        own = {name: p for name, p in module.named_parameters(recurse=False) if id(p) in chosen}
        if own:
            targets.append(path)
            tensors |= {f"{path}.ln_tuning_layers.{name}": parameter for name, parameter in own.items()}
    return _prefixed(tensors), {"target_modules": _names(attached.model, targets)}


def _shira(attached: Any) -> Made:
    """`shira_weight` (K,) and `shira_indices` (2, K), the rows and columns of its entries."""
    ours = {id(entries): entries for entries in attached.entries.values()}
    tensors: dict[str, Tensor] = {}
    targets = []
    for path, module in attached.model.named_modules():
        if is_parametrized(module, "weight") and (entries := ours.get(id(module.parametrizations.weight[0]))):
            targets.append(path)
            inner = module.parametrizations.weight.original.shape[1]
            tensors |= {f"{path}.shira_weight": entries.values, f"{path}.shira_indices": torch.stack([entries.index // inner, entries.index % inner]).int()}
    return _prefixed(tensors), {"target_modules": _names(attached.model, targets), "r": attached.method.select.rank, "mask_type": "random"}


def _prefix(attached: Any) -> Made:
    """prompt_embeddings (l, layers · 2 · kv width): of each layer its keys, then its values."""
    folded = attached.fold()
    rows = [part for name in attached.deltas for part in (folded[name]["keys"], folded[name]["values"])]
    site = next(iter(attached.deltas.values())).site
    kv = site.kv_heads * site.head_dim
    config = _prompt_config(attached, site.kv_heads, kv, len(attached.deltas)) | {"prefix_projection": False, "encoder_hidden_size": kv}
    return {"prompt_embeddings": torch.cat(rows, 1)}, config


def _adaption_prompt(attached: Any) -> Made:
    """adaption_prompt (1, l, width) and adaption_gate (1,) of each attention."""
    paths = {id(module): path for path, module in attached.model.named_modules()}
    tensors: dict[str, Tensor] = {}
    for delta in attached.deltas.values():
        path = paths[id(attached.binder.layer(delta.site.stack, delta.site.layer).owner_of_q())]
        tensors[f"{path}.adaption_prompt"], tensors[f"{path}.adaption_gate"] = delta.prompt[None], delta.scale[None]
    return _prefixed(tensors), {"adapter_len": delta.delta.rank, "adapter_layers": len(attached.deltas), "target_modules": path.rsplit(".", 1)[-1]}


def _prompt(attached: Any) -> Made:
    """prompt_embeddings (l, width): the tokens as they act; a prompt encoder is folded away."""
    ((name, delta),) = attached.deltas.items()
    stack = attached.body.stacks[0]
    config = _prompt_config(attached, stack.heads, delta.site.width_out, stack.layers) | {"prompt_tuning_init": "RANDOM"}
    return {"prompt_embeddings": attached.fold()[name]["tokens"]}, config


def _prompt_config(attached: Any, heads: int, width: int, layers: int) -> dict[str, Any]:
    return {"num_virtual_tokens": attached.method.deltas[0].rank, "token_dim": width, "num_attention_heads": heads, "num_layers": layers,
            "num_transformer_submodules": 1}  # fmt: skip


MAKERS: dict[str, Callable[[Any], Made]] = {
    "HIRA": _hira, "VERA": _vera, "IA3": _ia3, "LN_TUNING": _norms, "SHIRA": _shira, "PREFIX_TUNING": _prefix, "PROMPT_TUNING": _prompt,
    "ADAPTION_PROMPT": _adaption_prompt,
}  # fmt: skip


def _by_module(attached: Any) -> dict[str, list[tuple[DeltaModule, Located]]]:
    """The deltas by the path of the module that they change, in the order of the model."""
    paths = {id(module): path for path, module in attached.model.named_modules()}
    found: dict[str, list[tuple[DeltaModule, Located]]] = {}
    for delta in attached.deltas.values():
        located = attached.binder.target(delta)[0]
        found.setdefault(paths[id(located.module)], []).append((delta, located))
    return found


def _targets(attached: Any, found: dict[str, list[tuple[DeltaModule, Located]]]) -> dict[str, Any]:
    turned = {path for path, each in found.items() if each[0][1].transposed}
    return {"target_modules": _names(attached.model, list(found)), "fan_in_fan_out": len(turned) == len(found)}


def _names(model: nn.Module, paths: list[str]) -> list[str]:
    """Names by which PEFT finds exactly these modules: short endings where they fit no other module, else whole paths."""
    others = [path for path, _ in model.named_modules() if path and "lab_" not in path and path not in set(paths)]
    for parts in (1, 2):
        short = sorted({".".join(path.split(".")[-parts:]) for path in paths})
        if not any(other == name or other.endswith(f".{name}") for other in others for name in short):
            return short
    return sorted(paths)


def _prefixed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {PREFIX + name: tensor for name, tensor in tensors.items()}

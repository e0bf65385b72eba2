"""Low-rank changes as PEFT keeps them: LORA of the true ΔW for all of them, VERA and ADALORA for those that are.

For a projection of weight W (out, in), PEFT computes W x + (alpha / r) · lora_B lora_A x, with lora_A (r, in), lora_B (out, r).
A delta gives terms `left @ right`; several on one module, or a start whose frozen weight keeps the residual, are
joined by stacking: rank r₁ + r₂. A slice of a fused projection becomes rows of the whole, zero elsewhere.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.design.plain.refusal import Refusal
from lab.engine import packed
from lab.engine.delta import DeltaModule
from lab.engine.locate import Located
from lab.engine.starting import true_factors


@dataclass
class Term:
    """s · left @ right (+ s · bias) of one delta on one module. left (out, r), right (r, in), bias (out,)."""

    left: Tensor
    right: Tensor
    s: float | Tensor
    bias: Tensor | None = None


@torch.no_grad()
def term_of(delta: DeltaModule, located: Located) -> Term:
    """The true ΔW of a delta against the model's original weight, in factors."""
    left, right, bias = true_factors(delta)
    return Term(_rows(left, located), right, delta.delta.weight * delta.strength, None if bias is None else _rows(bias, located))


def _rows(values: Tensor, located: Located) -> Tensor:
    """The rows of a slice placed among those of the whole fused projection."""
    if located.part is None:
        return values
    total, _ = sides(located.module)
    whole = values.new_zeros((total, *values.shape[1:]))
    whole[located.part.rows(total).to(values.device)] = values
    return whole


def sides(module: nn.Module) -> tuple[int, int]:
    """(out, in) of a projection: a Linear, or transformers' Conv1D, which keeps its weight the other way round."""
    out, inner = packed.shape(module) or (0, 0)
    return out, inner


def lora(terms: dict[str, list[Term]], one_rank: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors by module path + suffix, config fields) of a LORA. `one_rank`: with the same r and alpha for all, zeros beside smaller ranks and the
    scale in lora_B, for tools that read the global numbers alone."""
    native = all(len(each) == 1 and not isinstance(each[0].s, Tensor) for each in terms.values())
    joined: dict[str, tuple[Tensor, Tensor, float]] = {}
    for path, each in terms.items():
        joined[path] = (each[0].left, each[0].right, float(each[0].s)) if native else (*_joined(each), 1.0)
    if one_rank and len({(right.shape[0], s) for _, right, s in joined.values()}) > 1:
        factors, _ = of_one_rank(terms)
        joined, native = {path: (left, right, 1.0) for path, (left, right) in factors.items()}, False
    biases = {path: _bias(each, native) for path, each in terms.items()}
    with_bias = any(bias is not None for bias in biases.values())
    tensors: dict[str, Tensor] = {}
    for path, (left, right, _) in joined.items():
        tensors[f"{path}.lora_A.weight"], tensors[f"{path}.lora_B.weight"] = right, left
        if with_bias:
            bias = biases[path]
            tensors[f"{path}.lora_B.bias"] = left.new_zeros(left.shape[0]) if bias is None else bias
    ranks = {path: right.shape[0] for path, (_, right, _) in joined.items()}
    alphas = {path: whole(s * ranks[path]) for path, (_, _, s) in joined.items()}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    config = {
        "r": rank, "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none", "use_rslora": False, "use_dora": False, "lora_bias": with_bias,
        "init_lora_weights": True,
        "rank_pattern": {path: value for path, value in ranks.items() if value != rank},
        "alpha_pattern": {path: value for path, value in alphas.items() if value != alpha or ranks[path] != rank},
    }  # fmt: skip
    return tensors, config


def of_one_rank(terms: dict[str, list[Term]]) -> tuple[dict[str, tuple[Tensor, Tensor]], int]:
    """({module path: (left (out, r), right (r, in))}, r): s·ΔW of every module as one product, with zeros up to the largest rank."""
    joined = {path: _joined(each) for path, each in terms.items()}
    rank = max(right.shape[0] for _, right in joined.values())
    return {path: (F.pad(left, (0, rank - left.shape[1])), F.pad(right, (0, 0, 0, rank - right.shape[0]))) for path, (left, right) in joined.items()}, rank


def _joined(each: list[Term]) -> tuple[Tensor, Tensor]:
    """Σ s · left @ right of a module's terms as one product."""
    return torch.cat([term.s * term.left for term in each], 1), torch.cat([term.right for term in each], 0)


def _bias(each: list[Term], native: bool) -> Tensor | None:
    """Of a module: the one term's own where PEFT scales it, else Σ s · bias."""
    if native:
        return each[0].bias
    biases = [term.s * term.bias for term in each if term.bias is not None]
    return torch.stack(biases).sum(0) if biases else None


def adalora(deltas: dict[str, DeltaModule], located: dict[str, Located], steps: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, config) of an ADALORA: lora_A (r, in), lora_E (r, 1), lora_B (out, r); pruned triplets have E = 0. `steps`: of the run, whose schedule it is."""
    tensors: dict[str, Tensor] = {}
    for path, delta in deltas.items():
        parts = delta.parts()
        tensors[f"{path}.lora_A"], tensors[f"{path}.lora_E"] = parts.A, parts.core[:, None]
        tensors[f"{path}.lora_B"] = _rows(parts.B, located[path])
    first = next(iter(deltas.values()))
    rank, schedule = first.delta.rank, first.delta.schedule
    first_steps, last_steps = round(schedule.start * steps), round(schedule.finish * steps)
    if first_steps >= steps - last_steps:  # PEFT wants a step between the two
        first_steps = last_steps = 0
    config = {
        "init_r": rank, "target_r": max(1, round(schedule.target_rank)), "lora_alpha": float(first.strength) * (rank + 1e-5),
        "lora_dropout": 0.0, "tinit": first_steps, "tfinal": last_steps, "deltaT": schedule.every, "beta1": schedule.beta1, "beta2": schedule.beta2,
        "orth_reg_weight": schedule.orthogonality, "total_step": steps, "rank_pattern": None,
    }  # fmt: skip
    return tensors, config


def vera(deltas: dict[str, DeltaModule], shared: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, config) of a VERA; the pair that all projections share is saved with it."""
    tensors: dict[str, Tensor] = {"vera_A": shared.A, "vera_B": shared.B}
    for path, delta in deltas.items():
        parts = delta.parts()
        tensors[f"{path}.vera_lambda_d"], tensors[f"{path}.vera_lambda_b"] = parts.d, parts.b * delta.strength
    rank = shared.A.shape[0]
    return tensors, {"r": rank, "projection_prng_key": 0, "save_projection": True, "vera_dropout": 0.0, "d_initial": 0.1, "bias": "none"}


def whole(value: float) -> float | int:
    """A whole number as an integer, as PEFT writes alpha."""
    return int(round(value)) if abs(value - round(value)) < 1e-9 else float(value)


def one_each(found: dict[str, list[DeltaModule]]) -> dict[str, DeltaModule]:
    """One delta per module, for types that cannot join two."""
    if any(len(each) > 1 for each in found.values()):
        raise Refusal("Two deltas change the same projection, which only a plain LoRA can hold: use --format peft-lora.", "format")
    return {path: each[0] for path, each in found.items()}

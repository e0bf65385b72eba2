"""The engine's laws on the device, for every preset: as on the CPU in fp32, within bounds in bf16."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator
from typing import Any

import torch
from laws import SMALL, batch_of, fresh, hooks, shake, snapshot

from accelerated.device import autocast
from lab.design.method.named import load_method
from lab.design.plain.refusal import Refusal
from lab.design.presets.catalogue import names
from lab.engine import attach

BODIES = ("bert", "llama", "bart", "gpt2", "t5")
FP32, BF16 = 2e-4, 0.03  # largest difference over the largest value, of tiny models
# The bound in bf16 is so many times what rounding every weight to bf16 does to the logits in fp32, where that is more: a random T5 without 1/√d
# has nearly hard attention, and with a change as large as its weights (OLoRA's) any rounding moves it far. One rounding is one draw of what roundings
# do, so it is the most of several, each on a grid of its own.
ROUNDINGS = 3.0
GRIDS = (1.0, 1.1, 1.25, 1.4, 1.55, 1.7, 1.85, 1.95)  # weights are rounded times these


def rows(device: str) -> Iterator[dict[str, Any]]:
    """One row per preset and body: each preset on one body first, then on the others."""
    for turn in range(len(BODIES)):
        for preset in names("methods"):
            yield law(preset, BODIES[(zlib.crc32(preset.encode()) + turn) % len(BODIES)], device)


def law(preset: str, body: str, device: str) -> dict[str, Any]:
    """{"preset", "body", errors by law, "problems": [what does not hold]}; `refused` where the body cannot have the preset."""
    found: dict[str, Any] = {"preset": preset, "body": body, "problems": []}
    method = load_method(preset, SMALL.get(preset))
    here, there = fresh(body), fresh(body).to(device)
    try:
        mine = attach(here, method, seed=1)
    except Refusal as refusal:
        return {**found, "refused": refusal.sentence}
    before = snapshot(there)
    theirs = attach(there, method, seed=1, state=mine.state_dict())
    shake(mine)
    moved = mine.trainable()
    with torch.no_grad():
        for name, parameter in theirs.trainable().items():
            parameter.copy_(moved[name])
    inputs = batch_of(body)
    moved_inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
    _same(found, "forward", here(**inputs).logits, there(**moved_inputs).logits, FP32)
    _gradients(found, mine, theirs, (here, inputs), (there, moved_inputs))
    with torch.no_grad():
        whole = there(**moved_inputs).logits
        with autocast(device, "bfloat16"):
            half = there(**moved_inputs).logits
    found["rounding"] = _rounding(theirs, moved_inputs, whole)
    _same(found, "bf16", whole, half, max(BF16, ROUNDINGS * found["rounding"]))
    _state(found, theirs, body, method, device, moved_inputs, whole)
    try:
        theirs.merge()
        with torch.no_grad():
            _same(found, "merged", whole, there(**moved_inputs).logits, FP32)
        theirs.unmerge()
    except Refusal:
        found["merged"] = None
    theirs.detach()
    after = snapshot(there)
    if before.keys() != after.keys() or any(not torch.equal(before[name], after[name]) for name in before) or hooks(there):
        found["problems"].append("detach leaves the model changed")
    return found


def _rounding(attached: Any, inputs: dict[str, Any], whole: torch.Tensor) -> float:
    """How far the logits move in fp32, over the largest, where the weights that the model has and that train are rounded to bf16, at most over the grids: the case's own condition."""
    trained = {id(p) for p in attached.trainable().values()}
    weights = [p for name, p in attached.model.named_parameters() if "lab_" not in name or id(p) in trained]  # fixed tensors may hold places
    kept = [p.detach().clone() for p in weights]
    moved = []
    with torch.no_grad():
        for grid in GRIDS:
            for weight, old in zip(weights, kept, strict=True):
                weight.copy_((old * grid).bfloat16().float() / grid)
            moved.append(float((attached.model(**inputs).logits - whole).abs().max()))
        for weight, old in zip(weights, kept, strict=True):
            weight.copy_(old)
    return max(moved) / max(float(whole.abs().max()), 1e-12)


def _same(found: dict[str, Any], law: str, mine: torch.Tensor, theirs: torch.Tensor, bound: float) -> None:
    mine, theirs = mine.detach().float().cpu(), theirs.detach().float().cpu()
    error = float((mine - theirs).abs().max() / mine.abs().max().clamp(min=1e-12))
    found[law] = error
    if not error <= bound:
        found["problems"].append(f"{law}: {error:.1e} is over {bound:.0e}")


def _gradients(found: dict[str, Any], mine: Any, theirs: Any, *sides: Any) -> None:
    gradients = []
    for attached, (model, inputs) in zip((mine, theirs), sides, strict=True):
        if not attached.trainable():
            return
        loss = model(**inputs).loss
        penalty = attached.penalty()
        (loss if penalty is None else loss + penalty).backward()
        gradients.append(
            torch.cat([(p if p.grad is None else p.grad).detach().float().cpu().flatten() * (p.grad is not None) for p in attached.trainable().values()])
        )
        model.zero_grad(set_to_none=True)
    _same(found, "gradient", *gradients, FP32)


def _state(found: dict[str, Any], attached: Any, body: str, method: Any, device: str, inputs: dict[str, Any], trained: torch.Tensor) -> None:
    """Saved on the device and loaded on it: the same bits."""
    other = fresh(body).to(device)
    attach(other, method, seed=9, state=copy.deepcopy(attached.state_dict()))
    heads = {name: p for name, p in attached.model.named_parameters() if "classifier" in name or name.startswith("pooler.")}
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name in heads:
                parameter.copy_(heads[name])
        if not torch.equal(other(**inputs).logits, trained):
            found["problems"].append("save and load give other outputs")

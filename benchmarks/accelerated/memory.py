"""Predicted memory beside the device's own peaks: models of published shapes with random weights, one real step each after a first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from accelerated.device import HALF, autocast, build, free
from lab.design.method.named import load_method
from lab.design.plain.refusal import Refusal
from lab.engine import attach
from lab.engine.kernels import mask_left_out
from lab.engine.select import head_parameters
from lab.models import resolve
from lab.planning import measure_step, plan_shape
from lab.planning.building import Subject, _set_types
from lab.planning.trace import batch_of
from lab.tasks.losses import batch_loss

METHODS = ("lora", "mam", "lamda", "adapter-houlsby", "prefix-tuning", "ia3", "dora", "adalora", "vera", "lora-fa", "bitfit", "prompt-tuning",
           "adapter-parallel-scaled", "unipelt-apl", "ln-tuning", "diff-pruning", "full")  # fmt: skip
SIX = ["attn.q", "attn.k", "attn.v", "attn.out", "ffn.up", "ffn.down"]
SHAPES = {  # model: (type of the frozen weights, batches, tokens, target tokens)
    "minilm-l6": ("float32", (8, 32), 128, 1),
    "bart-large": ("float32", (4, 16), 512, 128),
    "llama-3.2-3b": ("bfloat16", (1, 4), 704, 1),
}
ON_CPU = {"minilm-l6": ("float32", (8,), 64, 1)}
PAPER = (4, 8, 16, 32)  # batches of LaMDA's comparison, bart-large with six projections at r=16


def rows(device: str) -> Iterator[dict[str, Any]]:
    """One row per model, method and batch; then LoRA over LaMDA on bart-large by batch."""
    shapes = SHAPES if device != "cpu" else ON_CPU
    for name, (dtype, batches, tokens, targets) in shapes.items():
        model, objective = build(name, device, dtype)
        for preset in METHODS:
            for batch in batches:
                yield row(model, name, objective, preset, {}, device, dtype, batch, tokens, targets)
        if name == "bart-large":
            six = {"deltas.0.rank": 16, "deltas.0.at": SIX}
            for batch in PAPER:
                yield {**row(model, name, objective, "lora", six, device, dtype, batch, tokens, targets), "paper": "LoRA"}
                yield {**row(model, name, objective, "lamda", six, device, dtype, batch, tokens, targets), "paper": "LaMDA"}
        del model
        free(device)


def row(
    model: nn.Module, name: str, objective: str, preset: str, changes: dict, device: str, dtype: str, batch: int, tokens: int, targets: int
) -> dict[str, Any]:
    """{"plan", "allocated", "reserved", "meter"} in bytes; `refused` where the model cannot have the method, `failed` with the device's words."""
    found: dict[str, Any] = {"model": name, "method": preset, "batch": batch, "tokens": tokens, "dtype": dtype}
    try:
        method = load_method(preset, changes or None)
        whole = method.select is not None and method.select.weights == "all"  # these train the weights themselves, in fp32
        if whole and dtype != "float32":
            return {**found, "refused": "trains every weight: fp32 weights of this shape are another model"}
        half = None if dtype == "float32" else dtype
        plan = plan_shape(model=name, method=method, batch=batch, tokens=tokens, target_tokens=targets, dtype=dtype, adapter_dtype="float32",
                          objective=objective, device="cuda" if device == "cuda" else "cpu", autocast=half)  # fmt: skip
    except Refusal as refusal:
        return {**found, "refused": refusal.sentence}
    try:
        return {
            **found,
            "plan": plan.peak_allocated_bytes,
            "plan_reserved": plan.peak_reserved_bytes,
            **_measured(model, name, objective, method, device, dtype, batch, tokens, targets),
        }
    except Refusal as refusal:
        return {**found, "refused": refusal.sentence}
    except torch.cuda.OutOfMemoryError:
        return {**found, "plan": plan.peak_allocated_bytes, "failed": "out of memory"}


def _measured(model: nn.Module, name: str, objective: str, method: Any, device: str, dtype: str, batch: int, tokens: int, targets: int) -> dict[str, Any]:
    kinds = {parameter: (parameter.dtype, parameter.requires_grad) for parameter in model.parameters()}
    half = HALF[dtype]
    attached = attach(model, method, seed=0)
    try:
        mine = {id(p) for p in attached.may_train().values()}
        head = {n: p for n, p in head_parameters(model).items() if id(p) not in mine} if objective == "classification" else {}
        subject = Subject(resolve(name), method, objective, 2, getattr(torch, dtype), torch.float32, False, half is not None)
        _set_types(model, attached, head, subject)
        for parameter in head.values():
            parameter.requires_grad_(True)
        model.train()
        trained = [p for p in (*attached.trainable().values(), *head.values()) if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)
        inputs = batch_of(model, objective, rows=batch, tokens=tokens, target_tokens=targets, device=device)
        inputs["attention_mask"][0, -1] = 0  # padding, which a plan assumes
        if mask_left_out(attached, objective, device):
            del inputs["attention_mask"]

        def step() -> None:
            with autocast(device, dtype):
                loss = batch_loss(model, model, inputs, objective) / batch
                penalty = attached.penalty()
                loss = loss if penalty is None else loss + penalty
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        step()
        free(device)
        step()
        found = {}
        if device == "cuda":
            found = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
        free(device)
        with measure_step(model, attached, optimizer, [inputs]) as meter:
            step()
        return {**found, "meter": meter.peak_bytes}
    finally:
        optimizer = trained = None  # noqa: F841  (what they hold goes)
        attached.detach()
        for parameter, (kind, trains) in kinds.items():
            parameter.data, parameter.grad = parameter.data.to(kind), None
            parameter.requires_grad_(trains)
        free(device)

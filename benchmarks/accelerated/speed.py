"""Step time beside peft and beside the frozen model's own step, and under torch.compile; where peft is faster, what the time goes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import beside_peft
import torch
from torch import nn

from accelerated.device import autocast, build, free, in_turns
from lab.design.method.named import load_method
from lab.design.method.work import frozen_work, step_work
from lab.engine import attach
from lab.engine.attach import body_of

SLOWER = 1.05  # from here on a profile says why


def rows(device: str) -> Iterator[dict[str, Any]]:
    """LoRA, compile on and off, then the other methods that peft has: a time that ends early takes neither of the first two."""
    dtype = "bfloat16" if device == "cuda" else "float32"
    rounds = 20 if device != "cpu" else 5
    for number, name in enumerate(beside_peft.CASES):
        yield beside(name, device, dtype, rounds)
        free(device)
        if number == 0:
            yield compiled(device, dtype, rounds)
            free(device)


def beside(name: str, device: str, dtype: str, rounds: int) -> dict[str, Any]:
    """{"case", "over_peft", "over_frozen", "bound", "step_seconds"}: medians of steps that take turns."""
    found: dict[str, Any] = {"case": name, "dtype": dtype}
    try:
        kind, mine, other = beside_peft.sides(name)
    except Exception as error:  # a version of peft that has another interface: the row says so
        return {**found, "failed": f"{type(error).__name__}: {str(error)[:160]}"}
    batch = {key: tensor.to(device) for key, tensor in beside_peft.batch_of(kind, 32, 128).items()}
    frozen = beside_peft.pristine(kind).to(device)
    sides = {"ours": mine, "peft": other}
    for side in sides.values():
        side.model.to(device)
    works = {key: stepping(side.model, side.trained, batch, device, dtype, side.penalty) for key, side in sides.items()}
    works["frozen"] = frozen_step(frozen, batch, device, dtype)
    took = in_turns(device, works, rounds)
    found |= {"over_peft": took["ours"] / took["peft"], "over_frozen": took["ours"] / took["frozen"], "peft_over_frozen": took["peft"] / took["frozen"],
              "bound": bound(name, frozen, *batch["input_ids"].shape), "step_seconds": took["ours"]}  # fmt: skip
    if found["over_peft"] > SLOWER:
        found["causes"] = {key: largest(works[key], device) for key in ("ours", "peft")}
    return found


def bound(name: str, model: nn.Module, rows: int, tokens: int) -> float:
    """What the multiplications of a case's step alone ask for, over those of the frozen one."""
    _, preset, overrides, _ = beside_peft.CASES[name]
    body = body_of(model)
    return step_work(load_method(preset, overrides), body, rows, tokens).total / frozen_work(body, rows, tokens).total


def stepping(model: nn.Module, trained: list[nn.Parameter], batch: dict[str, Any], device: str, dtype: str, penalty: Any = None) -> Callable[[], None]:
    """A whole step: forward under mixed precision, backward, clipping, AdamW."""
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)

    def step() -> None:
        with autocast(device, dtype):
            loss = model(**batch).loss
            if penalty is not None:
                loss = loss + penalty()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def frozen_step(model: nn.Module, batch: dict[str, Any], device: str, dtype: str) -> Callable[[], None]:
    """The bound: forward and backward through every layer of a model of which no weight has a gradient."""
    model.requires_grad_(False).train()
    model.get_input_embeddings().register_forward_hook(lambda module, args, output: output.requires_grad_(True))

    def step() -> None:
        with autocast(device, dtype):
            loss = model(**batch).loss
        loss.backward()

    return step


def largest(work: Callable[[], None], device: str) -> list[str]:
    """The three operators that take most of a step, with their share."""
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if device == "cuda" else [])]
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in range(3):
            work()
    field = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    rows = sorted(profile.key_averages(), key=lambda row: -getattr(row, field))
    whole = sum(getattr(row, field) for row in rows) or 1
    return [f"{row.key} {100 * getattr(row, field) / whole:.0f} % ({row.count // 3} a step)" for row in rows[:3]]


def compiled(device: str, dtype: str, rounds: int) -> dict[str, Any]:
    """LoRA on MiniLM's shape with torch.compile over without."""
    found: dict[str, Any] = {"case": "torch.compile", "dtype": dtype}
    try:
        model, _ = build("minilm-l6", device)
        attached = attach(model, load_method("lora", {"deltas.0.at": ["all-linear"]}), seed=0)
        model.train()
        batch = {key: tensor.to(device) for key, tensor in beside_peft.batch_of("minilm", 32, 128).items()}
        trained = list(attached.trainable().values())
        plain = stepping(model, trained, batch, device, dtype)
        faster = stepping(torch.compile(model), trained, batch, device, dtype)
        took = in_turns(device, {"plain": plain, "compiled": faster}, rounds, warm=4)
        return {**found, "over_eager": took["compiled"] / took["plain"], "step_seconds": took["plain"]}
    except Exception as error:  # a compiler may be missing
        return {**found, "failed": f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"}

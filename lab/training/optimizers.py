"""The optimizer, the learning rate at each step, and an optimizer's state as plain tensors.

The learning rate of update number s (from 0) of T, with w warmup updates: peak·(s+1)/w while it rises, then peak times
linear (T−s)/(T−w), cosine ½(1+cos π(s−w)/(T−w)), or constant 1. Neither the first nor the last update is wasted at zero.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from lab.design.spec.run import Training
from lab.engine.galore import GaLore


def lr_factor(step: int, total: int, warmup: float, schedule: str) -> float:
    """The share of the peak learning rate for update number `step` (from 0); `warmup` is a fraction of `total`."""
    rise = min(round(warmup * total), total)
    if step < rise:
        return (step + 1) / rise
    if schedule == "constant":
        return 1.0
    done = (step - rise) / max(1, total - rise)
    return max(0.0, 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group to `factor` of its peak; groups marked `constant` keep theirs. The first group's learning rate that moves."""
    for group in optimizer.param_groups:
        peak = group.setdefault("peak_lr", group["lr"])
        group["lr"] = peak if group.get("constant") else peak * factor
    return next((g["lr"] for g in optimizer.param_groups if not g.get("constant")), optimizer.param_groups[0]["lr"])


def drop_gone(optimizer: torch.optim.Optimizer, alive: set[int]) -> None:
    """Take parameters that no longer exist (ids not in `alive`) out of the groups and the state."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) not in alive:
                optimizer.state.pop(parameter, None)
        group["params"] = [p for p in group["params"] if id(p) in alive]


def make_optimizer(groups: list[dict[str, Any]], training: Training, lr: float, weight_decay: float, device: str) -> torch.optim.Optimizer:
    """AdamW (one fused kernel where the device has it, else over lists of tensors), SGD with momentum 0.9, Adafactor, or GaLore.

    Adafactor (Shazeer and Stern 2018) as T-Few sets it: the run's learning rate times max(1e-3, rms of the weight), no first moment, updates
    clipped at an rms of 1. torch's own Adafactor lowers the rate by itself, as 1/√step, so it is transformers'.
    """
    groups = [{**group, "peak_lr": group.get("lr", lr)} for group in groups if group["params"]]
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9, weight_decay=weight_decay)
    if training.optimizer == "galore":
        return GaLore(groups, lr, weight_decay, training.galore_rank, training.galore_every, training.galore_scale)
    if training.optimizer == "adafactor":
        from transformers.optimization import Adafactor  # imports the trainer, and with it peft and bitsandbytes where they are installed

        return Adafactor(groups, lr=lr, weight_decay=weight_decay, scale_parameter=True, relative_step=False, warmup_init=False)
    fused = device in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, **({"fused": True} if fused else {"foreach": True}))


def pack(optimizer: torch.optim.Optimizer, names: dict[int, str]) -> dict[str, Any]:
    """Groups and state by parameter name: plain values and tensors only. `names`: id(parameter) → name."""
    groups = [{**{key: value for key, value in group.items() if key != "params"}, "params": [names[id(p)] for p in group["params"]]}
              for group in optimizer.param_groups]  # fmt: skip
    return {"groups": groups, "state": {names[id(p)]: dict(state) for p, state in optimizer.state.items() if id(p) in names}}


def unpack(optimizer: torch.optim.Optimizer, packed: dict[str, Any], parameters: dict[str, nn.Parameter]) -> None:
    """Put groups and state back, groups that a schedule changed included. KeyError when a parameter is not in the model."""
    groups = [{**group, "params": [parameters[name] for name in group["params"]]} for group in packed["groups"]]
    optimizer.param_groups[:] = groups
    optimizer.state.clear()
    for name, state in packed["state"].items():
        parameter = parameters[name]
        optimizer.state[parameter] = {key: _placed(key, value, parameter, optimizer) for key, value in state.items()}


def _placed(key: str, value: Any, parameter: nn.Parameter, optimizer: torch.optim.Optimizer) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    if key == "step" and not optimizer.defaults.get("fused"):
        return value.clone()  # unfused optimizers count on the CPU
    return value.to(parameter.device, copy=True)

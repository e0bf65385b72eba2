"""The device under test: its clock, its memory, and models of a shape with random weights on it."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from lab.design.spec.objectives import OBJECTIVES
from lab.models import config_of, resolve
from lab.models.loading import _for_task, quiet
from lab.planning.predict import USUAL

HALF = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def synchronise(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device != "cpu":
        getattr(torch, device).synchronize()


def autocast(device: str, dtype: str) -> AbstractContextManager:
    """Mixed precision as the lab's loop has it; nothing in fp32."""
    return nullcontext() if HALF[dtype] is None else torch.autocast(device, HALF[dtype])


def free(device: str) -> None:
    """Give back what nobody holds, so that the next peak is its own."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def build(name: str, device: str, dtype: str = "float32", num_labels: int = 2) -> tuple[nn.Module, str]:
    """(model of a preset's shape with random weights, its objective), made on the device: no file of weights is read."""
    spec = resolve(name)
    objective = USUAL[spec.kind]
    config = _for_task(config_of(spec), objective, num_labels)
    import transformers

    with quiet(), torch.device(device):
        torch.manual_seed(0)
        model = getattr(transformers, OBJECTIVES[objective].auto).from_config(config, dtype=getattr(torch, dtype))
    model.tie_weights()
    return model, objective


def seconds(device: str, work: Callable[[], Any]) -> float:
    """Of one call, by the device's own events on CUDA, else by the clock once the device is done."""
    if device == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000
    synchronise(device)
    clock = time.process_time if device == "cpu" else time.perf_counter
    began = clock()
    work()
    synchronise(device)
    return clock() - began


def in_turns(device: str, works: dict[str, Callable[[], Any]], rounds: int, warm: int = 3) -> dict[str, float]:
    """Median seconds of each, taking turns, after some calls that are not counted."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warm + rounds):
        for name in list(works) if turn % 2 else reversed(list(works)):
            spent = seconds(device, works[name])
            if turn >= warm:
                took[name].append(spent)
    return {name: statistics.median(each) for name, each in took.items()}

"""The live meter: one real step of a run under the same tracker that predicts, so that both have the same categories.

    with measure_step(model, optimizer=optimizer, batches=[batch]) as measured:
        loss = ...; loss.backward(); optimizer.step()
    measured.categories        # {"weights": bytes, "gradients": ..., "optimizer": ..., "activations": ..., "temporary": ...}

It costs one slow step: Python looks at every operation of it. On an accelerator the sizes are those of the storages, as the device's
allocator rounds them; its own peaks and, on a CPU, the resident bytes of the process stand beside them (lab.training.meters).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lab.engine import packed
from lab.planning.tracker import Tracker, state_tensors


@dataclass
class Measured:
    """Bytes at the largest peak of the measured step, by category; `phases` has each phase's own. Filled when the step is over."""

    categories: dict[str, int] = field(default_factory=dict)
    phases: dict[str, dict[str, int]] = field(default_factory=dict)
    peak_bytes: int = 0

    def values(self) -> dict[str, float]:
        """As metric rows: measured/weights, measured/gradients, ..., measured/peak."""
        return {f"measured/{name}": float(size) for name, size in {**self.categories, "peak": self.peak_bytes}.items()}


@contextlib.contextmanager
def measure_step(model: nn.Module, attached: Any = None, optimizer: torch.optim.Optimizer | None = None,
                 batches: Sequence[Mapping[str, Tensor]] = ()) -> Iterator[Measured]:  # fmt: skip
    """Watch one whole step (forward passes, backward passes, optimizer) of a model; gradients must be cleared before it.

    State that the optimizer makes in its first step counts as optimizer state. `attached` is what the method put on the model; its
    tensors are part of the model, so it may be left out. `batches`: what the step reads, counted where it lies on the model's device.
    """
    tracker, measured = Tracker(), Measured()
    tracker.hold(packed.tensors(model), "weights")
    if attached is not None:
        tracker.hold(attached.tensors().values(), "weights")
    tracker.hold((p.grad for p in model.parameters() if p.grad is not None), "gradients")
    tracker.hold(state_tensors(optimizer), "optimizer")
    device = next(model.parameters()).device
    tracker.hold((t for batch in batches for t in batch.values() if t.device == device), "activations")
    handle = None
    if optimizer is not None:
        optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        handle = optimizer.register_step_post_hook(lambda *_: tracker.hold(state_tensors(optimizer), "optimizer"))
    try:
        with tracker.watching(model):
            yield measured
    finally:
        if handle is not None:
            handle.remove()
    tracker.finish()
    peak = tracker.peak()
    measured.categories = {name: size for name, size in peak.items() if name != "total"}
    measured.peak_bytes = peak["total"]
    measured.phases = tracker.peaks

"""Which steps of a run are instrumented, so that its memory is known by category, and what they found.

A metered step is slower (Python looks at each operation), so a run has few: one at the start, and one after a schedule changed what
trains, at most one per two hundred steps more and four in all. "At the start" is the second step, since the first makes the optimizer's
state on its way: its backward pass, where the peak is, has none yet. A changed set of weights is metered two steps later for the
same reason. Neither weights nor random numbers are touched, so a metered run trains as one that is not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lab.design.spec.objectives import OBJECTIVES
from lab.planning.meter import Measured, measure_step
from lab.tasks.losses import count_targets

MOST, PER = 4, 200  # metered steps of a run: one, and one more for so many steps
APART = 8  # parts of a run: at most one metered step in each


class Metering:
    """`with metering.watching(step, batches, objective): ...` around a step; `metering.values()` gives its metric rows once.

    `wanted` is False where a step is not this process's own Python from end to end: several processes, a compiled model.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, total: int, wanted: bool = True):
        self.model, self.optimizer, self.total = model, optimizer, total
        self.left = min(MOST, 1 + total // PER) if wanted else 0
        self.due = 0  # the next step to meter; 0: none
        self._last = 0
        self.peak_bytes = 0  # the most of all metered steps; 0: none was
        self._values: dict[str, float] = {}

    def begin(self, step: int) -> None:
        """A run starts, or goes on, after `step`."""
        ready = bool(self.optimizer.state) or step + 1 == self.total
        self.due = step + (1 if ready else 2)

    def changed(self, step: int) -> None:
        """What trains changed in `step`."""
        if self.due <= step:  # else one is to come, and sees this change too
            self.due = max(step + 2, self._last + self.total // APART)

    @contextlib.contextmanager
    def watching(self, step: int, batches: Sequence[dict[str, Tensor]], objective: str) -> Iterator[None]:
        """Measure this step if it is due. `batches`: those of its passes, of one objective."""
        if step != self.due or self.left <= 0:
            yield
            return
        self.left, self._last = self.left - 1, step
        with measure_step(self.model, optimizer=self.optimizer, batches=batches) as measured:
            yield
        self.peak_bytes = max(self.peak_bytes, measured.peak_bytes)
        self._values = _rows(measured, batches, objective)

    def values(self) -> dict[str, float]:
        """measured/weights, ..., measured/peak and the shape of the widest pass: measured/rows, tokens, and of a language model target_tokens, targets; {} if there is nothing new."""
        found, self._values = self._values, {}
        return found


def _rows(measured: Measured, batches: Sequence[dict[str, Tensor]], objective: str) -> dict[str, float]:
    widest = max(batches, key=lambda batch: batch["input_ids"].numel())
    shape: dict[str, Any] = {"rows": widest["input_ids"].shape[0], "tokens": widest["input_ids"].shape[1]}
    if not OBJECTIVES[objective].headed:
        shape |= {"target_tokens": widest["labels"].shape[1], "targets": count_targets(widest, objective)}
    return measured.values() | {f"measured/{name}": float(size) for name, size in shape.items()}

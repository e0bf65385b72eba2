"""The memory tracker: every storage that a step makes, from its birth to its end, by cause and by phase.

A `TorchDispatchMode` sees each operation below autograd, so it works on meta tensors (a prediction) and on real ones (a
measurement) alike. A storage is registered once, under `untyped_storage()._cdata`, with its size rounded up to a granule of
512 bytes as the CUDA allocator does, and leaves when a weak reference to it dies. Categories: weights and optimizer state are registered
beforehand; a gradient is what a parameter's post-accumulate hook finds; an activation is what autograd saves (the pack side
of `saved_tensors_hooks`) and what is alive when the backward pass begins; the rest is temporary.

    tracker = Tracker()
    with tracker.watching(model):
        loss = ...; loss.backward(); optimizer.step()
    tracker.peaks["backward"]      # {"weights": ..., "gradients": ..., ..., "total": bytes}
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lab.planning.log import Log
from lab.planning.quantised import unfolded
from lab.planning.result import CATEGORIES


class Tracker(TorchDispatchMode):
    """Bytes alive, now and at the peak of each phase.

    `granule`: sizes are rounded up to it, in bytes. `answers`: {operator: function(*args) -> result} for operators that meta tensors cannot
    compute (kernels.py). `log`: where every event goes, in order. Operators of packed weights are carried out step by step (quantised.py), so
    that the dequantised weight is seen.
    """

    def __init__(self, *, granule: int = 512, answers: Mapping[Any, Callable] | None = None, log: Log | None = None):
        super().__init__()
        self.granule, self.answers, self.log = granule, answers or {}, log
        self.unfolded = unfolded()
        self.live: dict[int, list] = {}  # storage → [size, category, id in the log, weak reference]
        self.now = dict.fromkeys(CATEGORIES, 0)
        self.total = 0
        self.phase = "forward"
        self.inside = False  # the model's forward pass, which may make gradients of its own (lab/models/head.py)
        self.peaks: dict[str, dict[str, int]] = {}

    # -- storages ------------------------------------------------------------------------------------------------------------------

    def register(self, tensor: Tensor, category: str = "temporary") -> None:
        """Count a tensor's storage, unless it is counted already; a tensor without one (sparse, opaque) is not counted."""
        if tensor.layout is not torch.strided:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.live:
            return
        size = -(-storage.nbytes() // self.granule) * self.granule
        if not size:
            return
        number = self.log.born(size, category) if self.log is not None else 0
        self.live[key] = [size, category, number, weakref.ref(storage, lambda _: self._gone(key))]
        self.now[category] += size
        self.total += size
        self._note()

    def label(self, tensor: Tensor, category: str) -> None:
        """Say what a counted storage is; one that is not counted yet is counted."""
        if tensor.layout is not torch.strided:
            return
        entry = self.live.get(tensor.untyped_storage()._cdata)
        if entry is None:
            self.register(tensor, category)
        elif entry[1] != category:
            self._relabel(entry, category)

    def _relabel(self, entry: list, category: str) -> None:
        self.now[entry[1]] -= entry[0]
        self.now[category] += entry[0]
        entry[1] = category
        if self.log is not None:
            self.log.labelled(entry[2], category)

    def _gone(self, key: int) -> None:
        entry = self.live.pop(key, None)
        if entry is not None:
            self.now[entry[1]] -= entry[0]
            self.total -= entry[0]
            if self.log is not None:
                self.log.died(entry[2])

    def _note(self) -> None:
        self._follow_autograd()
        peak = self.peaks.get(self.phase)
        if peak is None or self.total > peak["total"]:
            self.peaks[self.phase] = {**self.now, "total": self.total}

    # -- phases --------------------------------------------------------------------------------------------------------------------

    def begin(self, phase: str) -> None:
        """Enter a phase; what is alive when the backward pass begins was kept for it."""
        if phase == self.phase:
            return
        if phase == "backward":
            for entry in list(self.live.values()):
                if entry[1] == "temporary":
                    self._relabel(entry, "activations")
        self.phase = phase
        if self.log is not None:
            self.log.begin(phase)
        self.peaks.setdefault(phase, {**self.now, "total": self.total})

    def _follow_autograd(self) -> None:
        """The backward pass is known by autograd's own task; what follows it belongs to the optimizer."""
        if self.inside:
            return
        if torch._C._current_graph_task_id() >= 0:
            self.begin("backward")
        elif self.phase == "backward":
            self.begin("optimizer")

    # -- hooks ---------------------------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        unfold = self.unfolded.get(func)
        if unfold is not None and args[0].device.type != "cuda":  # whose kernels are fused where that is faster
            with self:
                return unfold(*args, **(kwargs or {}))
        answer = self.answers.get(func)
        out = func(*args, **(kwargs or {})) if answer is None else answer(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.register(out)
        elif isinstance(out, (tuple, list)):
            for each in out:
                if isinstance(each, Tensor):
                    self.register(each)
        return out

    def _saved(self, tensor: Tensor) -> Tensor:
        if tensor.layout is not torch.strided:
            return tensor
        entry = self.live.get(tensor.untyped_storage()._cdata)
        if entry is not None and entry[1] == "temporary":
            self._relabel(entry, "activations")
        return tensor

    def _accumulated(self, parameter: Tensor) -> None:
        if parameter.grad is not None:
            self.label(parameter.grad, "gradients")

    def _enter(self) -> None:
        self.begin("forward")
        self.inside = True

    def _leave(self) -> None:
        self.inside = False

    @contextlib.contextmanager
    def watching(self, model: nn.Module) -> Iterator[Tracker]:
        """Watch one step of a model whose weights (and optimizer state, see `hold`) are held."""
        trained = [p for p in model.parameters() if p.requires_grad]
        handles = [p.register_post_accumulate_grad_hook(self._accumulated) for p in trained]
        handles.append(model.register_forward_pre_hook(lambda *_: self._enter(), prepend=True))
        handles.append(model.register_forward_hook(lambda *_: self._leave(), always_call=True))
        self.peaks.setdefault(self.phase, {**self.now, "total": self.total})
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._saved, lambda tensor: tensor), self:
                yield self
        finally:
            for handle in handles:
                handle.remove()

    def hold(self, tensors: Iterable[Tensor], category: str) -> None:
        """Count what is there before the step: weights, gradients, optimizer state."""
        for tensor in tensors:
            self.label(tensor, category)

    def finish(self) -> None:
        """Let go of every storage; peaks stay."""
        self.live.clear()

    def peak(self) -> dict[str, int]:
        """Categories and total of the phase with the largest peak."""
        return max(self.peaks.values(), key=lambda peak: peak["total"])


def state_tensors(optimizer: torch.optim.Optimizer | None) -> list[Tensor]:
    """Every tensor of an optimizer's state."""
    states = optimizer.state.values() if optimizer is not None else ()
    return [value for state in states for value in state.values() if isinstance(value, Tensor)]

"""What the loop's next step reads, collated ahead by a thread on accelerators, so that the device never waits for data.

The thread goes on from where the data are while a step is in progress: it pads the rows of the next steps and puts them into page-locked
memory, from which a copy to the device waits for nobody. Tokenised rows lie in arrays, so a thread is enough. The position of the data is that
of the steps that were taken here, never of those that are only made: a checkpoint, a step that is taken back, and a resumed run know of
nothing else. What goes wrong in the thread is raised when its step is due.

On a CPU nothing is made ahead: the mathematics has every core, and a thread that collates would take one from it.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lab.design.spec.run import Training
from lab.tasks import Prepared
from lab.tasks.losses import count_targets, count_tokens
from lab.training.batches import Mixture, Position, split

DEPTH = 2  # steps made ahead: one that is ready, and one in the making while a long batch comes


def depth_of(device: torch.device) -> int:
    """How many steps are made ahead on a device."""
    return 0 if device.type == "cpu" else DEPTH


@dataclass(frozen=True)
class Collated:
    """The data of one step: number of its task, this process's passes with their weights (0 for one that only keeps step with the others), targets,
    tokens and rows of all its passes, and where the data were before and after it."""

    task: int
    passes: list[tuple[dict[str, Tensor], float]]
    targets: int
    tokens: int
    rows: int
    before: list[Position]
    after: list[Position]


class Feed:
    """The endless sequence of steps from where `steps` is: `next(feed)` takes one and moves `steps` on by it.

    Whoever sets `steps.positions` goes on from there, whatever was made ahead. `close()` ends the thread.
    """

    def __init__(self, steps: Mixture, tasks: Sequence[Prepared], training: Training, device: torch.device, processes: int = 1, rank: int = 0):
        self.steps, self.tasks, self.batch_size = steps, tasks, training.batch_size
        self.device, self.processes, self.rank = device, processes, rank
        self.depth = depth_of(device)
        self._ahead = copy.deepcopy(steps) if self.depth else steps  # read by the thread alone
        self._made: deque[Future[Collated]] = deque()
        self._thread: ThreadPoolExecutor | None = None

    def __next__(self) -> Collated:
        """The next step's data. Raises what its collation raised."""
        if not self.depth:
            return self._make()
        step = self._take()
        if step.before != self.steps.positions:  # another place was set since: a step taken back, or a checkpoint
            self._forget()
            step = self._take()
        self.steps.positions = step.after
        return step

    def close(self) -> None:
        """End the thread and forget what it made; the feed may be used again."""
        self._forget()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _take(self) -> Collated:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "collation", initializer=self._begin)
        if not self._made:
            self._ahead.positions = self.steps.positions
        while len(self._made) <= self.depth:
            self._made.append(self._thread.submit(self._make))
        return self._made.popleft().result()

    def _forget(self) -> None:
        """Drop what was made; the thread is at rest afterwards."""
        for future in self._made:
            future.cancel()
        for future in self._made:
            if not future.cancelled():
                future.exception()
        self._made.clear()

    def _begin(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # a thread begins on the first one, and would make a context there

    def _make(self) -> Collated:
        before = self._ahead.positions
        task, whole = next(self._ahead)
        return self.collated(task, whole, before, self._ahead.positions)

    def collated(self, number: int, whole: np.ndarray, before: list[Position], after: list[Position]) -> Collated:
        """The step of a task that reads rows `whole`, as this process takes part in it."""
        task, passes, targets, tokens, rows = self.tasks[number], [], 0, 0, 0
        for numbers in split(whole, self.batch_size, self.processes, self.rank):
            weight = 1.0 if len(numbers) else 0.0
            chosen: np.ndarray = numbers if len(numbers) else whole[:1]
            batch = task.collate([task.train[i] for i in chosen])
            if weight:
                targets += count_targets(batch, task.objective)
                tokens += count_tokens(batch, task.objective)
                rows += len(chosen)
            if self.device.type == "cuda":
                batch = {name: tensor.pin_memory() for name, tensor in batch.items()}
            passes.append((batch, weight))
        return Collated(number, passes, targets, tokens, rows, before, after)

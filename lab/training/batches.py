"""Which rows make up each optimizer step: shuffled, bucketed by length, the same whatever the batch is split into.

An epoch is shuffled from (seed, epoch), cut into windows of 50 steps, sorted by length inside each window and cut into
steps, whose order is shuffled again. A step's rows are then split over accumulation and processes, so 1 process × batch 32,
4 accumulated passes of 8, and 2 processes × batch 16 see the same rows at the same step.

    steps of 100 rows, batch 8, accumulation 2, 2 processes: 4 steps of 8·2·2 = 32, 32, 32 and 4 rows in shuffled order

Of several tasks (`Mixture`), each has such a sequence, and every step goes on in that of one task, drawn from (seed, number of the step).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 50  # steps whose rows are sorted together: wide enough for little padding, narrow enough for a fair shuffle


def plan_epoch(lengths: Sequence[int], rows_per_step: int, *, seed: int, epoch: int, window: int = WINDOW) -> list[np.ndarray]:
    """The steps of one epoch: arrays of row numbers, every row exactly once, the last rows of a window perhaps fewer."""
    lengths = np.asarray(lengths)
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    steps: list[np.ndarray] = []
    for start in range(0, len(order), rows_per_step * window):
        part = order[start : start + rows_per_step * window]
        part = part[np.argsort(-lengths[part], kind="stable")]
        steps += [part[at : at + rows_per_step] for at in range(0, len(part), rows_per_step)]
    return [steps[index] for index in generator.permutation(len(steps))]


def split(rows: np.ndarray, batch_size: int, processes: int = 1, rank: int = 0) -> list[np.ndarray]:
    """One step's rows as this process's forward passes, at most `batch_size` rows each, all processes equally many.

    A piece may be empty where a step has fewer rows than pieces; the process must still take part in that pass.
    """
    passes = -(-len(rows) // (batch_size * processes))
    return np.array_split(rows, passes * processes)[rank::processes]


def padding_share(lengths: Sequence[int], batches: Sequence[np.ndarray]) -> float:
    """Share of positions that are padding when each batch is padded to its own longest row."""
    lengths = np.asarray(lengths)
    positions = sum(int(lengths[rows].max()) * len(rows) for rows in batches)
    return 1 - sum(int(lengths[rows].sum()) for rows in batches) / positions


@dataclass
class Position:
    """Where in the data a run is: the next step is number `index` of `epoch`."""

    epoch: int = 0
    index: int = 0


class Steps:
    """The endless sequence of steps, from a position that can be saved and set."""

    def __init__(self, lengths: Sequence[int], rows_per_step: int, seed: int):
        self.lengths = np.asarray(lengths)
        self.rows_per_step, self.seed = rows_per_step, seed
        self.position = Position()
        self._planned: tuple[int, list[np.ndarray]] = (-1, [])

    @property
    def per_epoch(self) -> int:
        """Steps in one pass over the data."""
        return -(-len(self.lengths) // self.rows_per_step)

    @property
    def epochs_done(self) -> float:
        """Passes over the data so far, a fraction."""
        return self.position.epoch + self.position.index / self.per_epoch

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        here = self.position
        if here.index >= self.per_epoch:
            here = Position(here.epoch + 1, 0)
        if self._planned[0] != here.epoch:
            self._planned = (here.epoch, plan_epoch(self.lengths, self.rows_per_step, seed=self.seed, epoch=here.epoch))
        self.position = Position(here.epoch, here.index + 1)
        return self._planned[1][here.index]


DRAWING = 0x7A5C  # of which task a step takes: other numbers than those that shuffle


class Mixture:
    """The endless sequence of (task, rows) of a run: one step of one of its tasks after another; see `shares`. One task is `Steps` alone."""

    def __init__(self, lengths: Sequence[Sequence[int]], rows_per_step: int, seed: int, temperature: float = 1.0):
        self.streams = [Steps(each, rows_per_step, seed) for each in lengths]
        self.rows_per_step, self.seed = rows_per_step, seed
        self.shares = shares([len(each) for each in lengths], temperature)

    @property
    def per_epoch(self) -> int:
        """Steps in which every task is passed over once, drawn by size."""
        return sum(stream.per_epoch for stream in self.streams)

    @property
    def epochs_done(self) -> float:
        """Passes over all rows so far, a fraction."""
        return sum(stream.epochs_done * (stream.per_epoch / self.per_epoch) for stream in self.streams)

    @property
    def taken(self) -> list[int]:
        """Steps so far of each task."""
        return [stream.position.epoch * stream.per_epoch + stream.position.index for stream in self.streams]

    @property
    def positions(self) -> list[Position]:
        """Where each task is; all that a resumed run needs."""
        return [stream.position for stream in self.streams]

    @positions.setter
    def positions(self, positions: Sequence[Position]) -> None:
        for stream, position in zip(self.streams, positions, strict=True):
            stream.position = position

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        return self

    def __next__(self) -> tuple[int, np.ndarray]:
        number = 0
        if len(self.streams) > 1:
            number = int(np.random.default_rng([self.seed, sum(self.taken), DRAWING]).choice(len(self.shares), p=self.shares))
        return number, next(self.streams[number])


def shares(sizes: Sequence[int], temperature: float) -> np.ndarray:
    """p_i ∝ n_i^(1/T) of tasks with n_i rows: by size at T = 1, evenly as T grows (Devlin 2019 for languages of multilingual BERT, T5's mixing; arXiv 1910.10683, §3.5.2)."""
    weights = np.exp((np.log(sizes) - np.log(max(sizes))) / temperature)
    return weights / weights.sum()

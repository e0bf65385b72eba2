"""Dropout masks on processors for which torch has no vectorised draws; they took a third of a LoRA step on inputs of 256 tokens here.

torch draws Bernoulli numbers by MKL on Intel's processors, and one by one, by one thread, on all others. Inside `quick` those others take 16 bits a number
from numpy's SFC64, seeded from torch's own generator for every mask: so masks are fixed by the run's seed, a checkpoint of torch's generator
continues them, and a forward pass that is computed again draws the same. The share that is kept is p to 16 bits, rounded up as often as makes it p
on average. It holds for every dropout of the process, that inside of attention included.
"""

from __future__ import annotations

import contextlib
import platform
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

BITS = 16
HALF = 2 ** (BITS - 1)
FEWEST = 4096  # numbers for which a generator of their own pays
EDGE = 1 / 128  # from 0 and from 1: nearer to them, 16 bits are coarse

_lock = threading.Lock()
_users = 0
_library: Any = None


def slow_here() -> bool:
    """Whether torch draws Bernoulli numbers one by one on this processor."""
    vendor = platform.processor()
    with contextlib.suppress(OSError):
        vendor += Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")[:4096]
    return not (torch.backends.mkl.is_available() and "Intel" in vendor)


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """While open, masks on the CPU are drawn quickly wherever torch is slow at it."""
    global _users, _library
    if not slow_here():
        yield
        return
    with _lock:
        _users += 1
        if _library is None:
            _library = torch.library.Library("aten", "IMPL")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that a kernel is put in the place of another one
                _library.impl("bernoulli_.float", draw, "CPU")
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _library._destroy()
                _library = None


@torch.no_grad()
def draw(self: Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> Tensor:
    """Fill a tensor with 1, each number with probability p, and 0."""
    if self.numel() < FEWEST or not EDGE <= p <= 1 - EDGE:
        return torch.lt(torch.rand(self.shape, generator=generator), p, out=self)
    seed, share = torch.empty(2, dtype=torch.int64).random_(generator=generator).tolist()
    bits = np.random.SFC64(seed).random_raw(-(-self.numel() * BITS // 64)).view(np.int16)
    kept = int(p * 2**BITS + share / 2**63)
    return torch.lt(torch.from_numpy(bits)[: self.numel()].view(self.shape), kept - HALF, out=self)

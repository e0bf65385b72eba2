"""Speed and memory of a run, measured so that measuring costs less than a hundredth of a step.

Speed counts rows and real tokens (no padding) over the time that steps took, evaluations and checkpoints left out. Memory
is the accelerator's allocated and reserved bytes and their peaks, or the process's resident bytes on a CPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import torch

SMOOTHING = 0.9  # of the time per step, for what is left


class Memory:
    """Bytes in use now and at most, on the device of a run."""

    def __init__(self, device: torch.device):
        self.device = device
        self._process = psutil.Process()
        self._most = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> dict[str, float]:
        """{"memory_bytes", "peak_bytes"}, on CUDA also the allocator's {"reserved_bytes", "reserved_peak_bytes"}."""
        if self.device.type == "cuda":
            return {"memory_bytes": torch.cuda.memory_allocated(self.device), "peak_bytes": torch.cuda.max_memory_allocated(self.device),
                    "reserved_bytes": torch.cuda.memory_reserved(self.device),
                    "reserved_peak_bytes": torch.cuda.max_memory_reserved(self.device)}  # fmt: skip
        now = torch.mps.driver_allocated_memory() if self.device.type == "mps" else self._process.memory_info().rss
        self._most = max(self._most, now, resident_peak() if self.device.type == "cpu" else 0)
        return {"memory_bytes": now, "peak_bytes": self._most}


def resident() -> int:
    """Resident bytes of this process now."""
    return psutil.Process().memory_info().rss


def resident_beside(tensors: Iterable[torch.Tensor]) -> int:
    """Resident bytes of this process that are not of `tensors`: programs, libraries, data. Call it when the tensors were used once:
    weights that are mapped from a file are not resident before."""
    with contextlib.suppress(OSError, AttributeError):  # what glibc keeps of freed activations would count as the process's own
        ctypes.CDLL(None).malloc_trim(0)
    return max(0, resident() - sum(tensor.nbytes for tensor in tensors))


def resident_peak() -> int:
    """The most resident bytes of this process since its program began, 0 where the system does not say.

    Not getrusage's ru_maxrss on Linux: that keeps what the parent had at the fork, so a run would have the app's memory for its peak.
    """
    try:
        return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


KNOWN = 3  # steps before which nobody knows how long the others take


class Speed:
    """Rows and tokens per second since the last reading and over the whole run, and the time that is left."""

    def __init__(self) -> None:
        self.rows = self.tokens = 0
        self.seconds = 0.0  # of training steps only
        self.step_seconds: float | None = None  # smoothed
        self.timed = 0  # steps of this attempt
        self._rows = self._tokens = 0
        self._seconds = 0.0
        self.wall_began = time.perf_counter()  # of the whole run, moved back by what earlier attempts took

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Time one step."""
        start = time.perf_counter()
        yield
        took = time.perf_counter() - start
        self.timed += 1
        self._seconds += took
        self.seconds += took
        self.step_seconds = took if self.step_seconds is None else SMOOTHING * self.step_seconds + (1 - SMOOTHING) * took

    def count(self, rows: int, tokens: int) -> None:
        """Note what a step went through."""
        self.rows, self.tokens = self.rows + rows, self.tokens + tokens
        self._rows, self._tokens = self._rows + rows, self._tokens + tokens

    def read(self) -> dict[str, float]:
        """{"rows_per_second", "tokens_per_second"} since the last call."""
        seconds = max(self._seconds, 1e-9)
        found = {"rows_per_second": self._rows / seconds, "tokens_per_second": self._tokens / seconds}
        self._rows = self._tokens = 0
        self._seconds = 0.0
        return found

    def left(self, steps: int, other: float = 0.0) -> float | None:
        """Seconds that `steps` more will take, `other` seconds (evaluations to come) added; None before KNOWN steps: the first ones warm up."""
        return None if self.step_seconds is None or self.timed < KNOWN else steps * self.step_seconds + other

    def wall(self) -> float:
        """Seconds of the whole run, everything included; time between a stop and its resumption is not."""
        return time.perf_counter() - self.wall_began

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return {"rows": self.rows, "tokens": self.tokens, "seconds": self.seconds, "wall": self.wall()}

    def load(self, state: dict[str, float]) -> None:
        """Go on counting from `state`."""
        self.rows, self.tokens, self.seconds = state["rows"], state["tokens"], state["seconds"]

"""Small helpers for the tests of runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil

WORKER = [sys.executable, str(Path(__file__).with_name("runs_worker.py"))]


def until(condition, seconds: float = 15.0, pause: float = 0.05):
    """The first true value of condition(), or its last value after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(pause)
    return value


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

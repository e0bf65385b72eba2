"""Small helpers for the tests of runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from lab.runs import Queue, fork_server, local

WORKER = [sys.executable, str(Path(__file__).with_name("runs_worker.py"))]


def until(condition, seconds: float = 15.0, pause: float = 0.05):
    """The first true value of condition(), or its last value after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(pause)
    return value


def starting(queue: Queue, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a queue start its workers `cold` or `warm` for the time of a test. The fork server of one test serves those after it."""
    monkeypatch.setenv("LAB_WARM", "10" if how == "warm" else "0")
    fork_server.OF_A_RUN.add("PYTEST_CURRENT_TEST")  # which is another one all the time
    if how == "warm":
        assert queue.warm(wait=300)  # importing torch takes its time where others work too
    else:
        monkeypatch.setattr(local._warmth, "_command", [])


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

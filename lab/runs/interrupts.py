"""Ctrl-C and what must not be cut in two by it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """What is within is not cut in two by Ctrl-C: the KeyboardInterrupt comes after it. (In the main thread; others get none.)

    Where it is ignored (nohup, a shell's background job) it stays so, also for what is started within.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) in (None, signal.SIG_IGN):
        yield
        return
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard and callable(before):
        before(signal.SIGINT, None)

"""Guessing a password takes long: after a few wrong ones a caller waits, twice as long after each further one. Answers come at once."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from lab.ui.door.hosts import address_of, split

FREE, FIRST, LONGEST = 5, 2.0, 300.0  # wrong ones without a wait, seconds after the next one, and at most
FORGOTTEN = 900.0  # seconds after the last wrong one
KNOWN = 4096  # callers remembered
ALL = 120  # wrong ones in a minute, whoever tries


class Throttle:
    """Counts wrong logins by caller and in all. `clock`: seconds. For one thread (the server's loop)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # caller: how many, when the last one was
        self._lately: deque[float] = deque(maxlen=ALL)

    def wait(self, caller: str) -> float:
        """Seconds until this caller may try again; 0: now."""
        now = self.clock()
        count, last = self._wrong.get(_group(caller), (0, now))
        if count and now - last > FORGOTTEN:
            count = 0
        own = last + min(LONGEST, FIRST * 2.0 ** min(count - FREE, 20)) - now if count >= FREE else 0.0
        everybody = self._lately[0] + 60.0 - now if len(self._lately) == ALL else 0.0
        return max(0.0, own, everybody)

    def tried(self, caller: str) -> None:
        """Count a login as wrong, before it is known: many at once must not all pass for the first."""
        now, name = self.clock(), _group(caller)
        count, last = self._wrong.pop(name, (0, now))
        self._wrong[name] = (1 if now - last > FORGOTTEN else count + 1, now)
        while len(self._wrong) > KNOWN:
            self._wrong.popitem(last=False)
        self._lately.append(now)

    def right(self, caller: str) -> None:
        """Forget the wrong ones of who is in."""
        self._wrong.pop(_group(caller), None)
        if self._lately:
            self._lately.pop()


def _group(caller: str) -> str:
    """An IPv6 network of one owner counts as one caller, and the ports that some proxies add to an address make no new one."""
    address = address_of(split(caller)[0].partition("%")[0])
    if address is None:
        return caller
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if address.version == 6 else str(address)

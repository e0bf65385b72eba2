"""How long a connection may take, and how many there may be: uvicorn's protocol with clocks for slow heads, slow bodies and readers that stopped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from lab.ui.door.hosts import is_of

LOOPBACK = ("127.0.0.0/8", "::1/128")
WORDS = b"Too many connections: close some first."
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(WORDS), WORDS)


@dataclass(frozen=True)
class Patience:
    """Seconds and numbers. A body may take `body` seconds and one more for every `rate` bytes of it."""

    head: float = 15.0
    body: float = 30.0
    rate: float = 16 * 1024
    write: float = 60.0
    connections: int = 1000
    each: int = 200  # of one address that is not this machine's own: a page has about six
    tick: float = 1.0


class Wire(H11Protocol):
    """One connection. `patience` and `trusted` (proxies, whose connections are many people's) are the class's, as uvicorn makes the objects."""

    patience = Patience()
    trusted: tuple[str, ...] = ()
    callers: Counter[str] = Counter()

    def connection_made(self, transport: Any) -> None:
        """Take it, or say that there are too many."""
        peer = transport.get_extra_info("peername")
        self._caller = str(peer[0]) if peer else ""
        self._counted = not is_of(self._caller, (*LOOPBACK, *self.trusted))
        if len(self.connections) >= self.patience.connections or self._counted and self.callers[self._caller] >= self.patience.each:
            self._counted, self.transport = False, transport
            transport.write(BUSY)
            transport.close()
            return
        if self._counted:
            self.callers[self._caller] += 1
        super().connection_made(transport)
        self._since = self.loop.time()  # when the head, or then the body, was begun to be waited for
        self._state, self._answered = self.conn.their_state, self.cycle
        self._got, self._unsent, self._stalled = 0, 0, 0.0
        self._clock = self.loop.call_later(self.patience.tick, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._counted:
            self.callers[self._caller] -= 1
            if self.callers[self._caller] <= 0:
                del self.callers[self._caller]
        if clock := getattr(self, "_clock", None):
            clock.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes."""
        self._got += len(data)
        super().data_received(data)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        now, patience = self.loop.time(), self.patience
        if self.conn.their_state is not self._state or self.cycle is not self._answered:
            self._state, self._answered, self._since, self._got = self.conn.their_state, self.cycle, now, 0
        if self.flow.read_paused:  # it is we who are slow
            self._since = now
        waited = now - self._since
        unsent = self.transport.get_write_buffer_size()
        self._stalled = self._stalled + patience.tick if unsent and unsent == self._unsent else 0.0
        self._unsent = unsent
        late = (self.conn.their_state is h11.IDLE and waited > patience.head
                or self.conn.their_state is h11.SEND_BODY and waited > patience.body + self._got / patience.rate
                or self._stalled > patience.write)  # fmt: skip
        if late:
            self.transport.abort()
            return
        self._clock = self.loop.call_later(patience.tick, self._look)

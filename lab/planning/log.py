"""The log of a step: what was allocated and freed, in order, in segments; and how it is unrolled to a model's real depth.

A segment is a stretch of events of one place: the forward pass of a layer, its backward pass, what lies between. A model is traced
with five layers per stack, of which the middle ones do the same as any other middle layer of the real model. `unroll` puts as many copies of
the third layer in its place as the real depth asks for. A reference to a neighbouring layer becomes one to the copy's own neighbour. It first checks that layers
two, three and four left the same events; where they did not, `NotAlike` is raised and the caller traces the whole model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

TRACED, MIDDLE = 5, 2  # layers of a trace, and which of them (from 0) is copied
BORN, DIED, LABELLED = 0, 1, 2


class NotAlike(Exception):
    """The middle layers of a trace differ, so it cannot be unrolled."""


@dataclass
class Segment:
    """Events are (kind, id, size, category); an id is the segment's number and the ordinal of the allocation in it."""

    kind: str
    phase: str
    stack: str = ""
    layer: int = -1
    events: list[tuple] = field(default_factory=list)
    births: int = 0


class Log:
    """Segments in order. `enter` opens the next; `begin` marks a phase."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.ids: list[tuple[int, int]] = []
        self.phase = "before"
        self.closed = False  # deaths after the step are the end of the trace itself
        self.enter("start")

    def enter(self, kind: str, stack: str = "", layer: int = -1) -> None:
        again = sum(s.kind.rstrip("+") == kind and (s.phase, s.stack, s.layer) == (self.phase, stack, layer) for s in self.segments)
        self.segments.append(Segment(kind + "+" * again, self.phase, stack, layer))

    def begin(self, phase: str) -> None:
        self.phase = phase
        self.enter(phase)

    def born(self, size: int, category: str) -> int:
        segment = self.segments[-1]
        self.ids.append((len(self.segments) - 1, segment.births))
        segment.births += 1
        segment.events.append((BORN, len(self.ids) - 1, size, category))
        return len(self.ids) - 1

    def died(self, number: int) -> None:
        if not self.closed:
            self.segments[-1].events.append((DIED, number, 0, ""))

    def labelled(self, number: int, category: str) -> None:
        self.segments[-1].events.append((LABELLED, number, 0, category))

    def recorded(self) -> Iterator[tuple[str, int, object, int, str]]:
        """(phase, event kind, id, size, category) as they were."""
        for segment in self.segments:
            for kind, number, size, category in segment.events:
                yield segment.phase, kind, number, size, category

    def unroll(self, depths: dict[str, int]) -> Iterator[tuple[str, int, object, int, str]]:
        """The events of a model with `depths` layers per stack. Raises `NotAlike` before the first one."""
        return _Unrolled(self, depths).events()


class _Unrolled:
    """Positions: a layer of the deep model. Layers 0 and 1 keep theirs, copies of layer 2 follow, then layers 3 and 4."""

    def __init__(self, log: Log, depths: dict[str, int]):
        self.log = log
        self.more = {stack: depth - TRACED for stack, depth in depths.items()}
        self.place = {(s.kind, s.phase, s.stack, s.layer): n for n, s in enumerate(log.segments) if s.layer >= 0}
        for stack, more in self.more.items():
            if more:
                self._check(stack)

    def _check(self, stack: str) -> None:
        seen = {}
        for layer in (1, 2, 3):
            seen[layer] = {(s.kind, s.phase): self._canonical(s) for s in self.log.segments if s.stack == stack and s.layer == layer}
        for layer in (1, 3):
            if seen[layer].keys() != seen[MIDDLE].keys() or not all(map(_same, seen[layer].values(), seen[MIDDLE].values())):
                raise NotAlike(stack)

    def _canonical(self, segment: Segment) -> list[tuple]:
        """Events with what they are about as seen from the layer: (steps away, kind of segment, ordinal)."""
        lines: list[tuple] = []
        for kind, number, size, category in segment.events:
            place, ordinal = self.log.ids[number]
            home = self.log.segments[place]
            away = home.layer - segment.layer
            if home.stack != segment.stack or home.layer < 0 or abs(away) > 1:
                lines.append((kind, size, category, None, (place, ordinal)))
            else:  # the first and the last layer may count otherwise
                edge = home.layer in (0, TRACED - 1)
                lines.append((kind, size, category, away, None if edge else (home.kind, ordinal)))
        return lines

    def events(self) -> Iterator[tuple[str, int, object, int, str]]:
        number = 0
        segments = self.log.segments
        while number < len(segments):
            run = self._run_of_middle(number)
            if not run:
                yield from self._emit(segments[number], self._position(segments[number]))
                number += 1
                continue
            stack = run[0].stack
            positions = range(MIDDLE, MIDDLE + self.more[stack] + 1)
            for position in positions if self._ascending(run[0]) else reversed(positions):
                for segment in run:
                    yield from self._emit(segment, position)
            number += len(run)

    def _run_of_middle(self, number: int) -> list[Segment]:
        """The consecutive segments, from this one, of a layer that is copied."""
        run: list[Segment] = []
        for segment in self.log.segments[number:]:
            if segment.layer != MIDDLE or not self.more.get(segment.stack) or (run and segment.stack != run[0].stack):
                break
            run.append(segment)
        return run

    def _ascending(self, segment: Segment) -> bool:
        before = self.place.get((segment.kind, segment.phase, segment.stack, MIDDLE - 1), -1)
        return before < self.place[segment.kind, segment.phase, segment.stack, MIDDLE]

    def _position(self, segment: Segment) -> int:
        return segment.layer + self.more.get(segment.stack, 0) * (segment.layer > MIDDLE)

    def _emit(self, segment: Segment, position: int) -> Iterator[tuple[str, int, object, int, str]]:
        for kind, number, size, category in segment.events:
            for name in self._names(number, segment, position):
                yield segment.phase, kind, name, size, category

    def _names(self, number: int, segment: Segment, position: int) -> list[object]:
        """Which tensors of the deep model an event of this segment, at this position, is about."""
        place, ordinal = self.log.ids[number]
        home = self.log.segments[place]
        more = self.more.get(home.stack, 0)
        if home.layer < 0 or not more:
            return [number]
        if home.stack == segment.stack and segment.layer >= 0 and abs(home.layer - segment.layer) <= 1:
            return [self._at(home, ordinal, position + home.layer - segment.layer, more)]
        if home.layer != MIDDLE:
            return [self._at(home, ordinal, self._position(home), more)]
        return [self._at(home, ordinal, at, more) for at in range(MIDDLE, MIDDLE + more + 1)]

    def _at(self, home: Segment, ordinal: int, position: int, more: int) -> tuple:
        layer = position if position < MIDDLE else max(MIDDLE, position - more)
        kind = self.place.get((home.kind, home.phase, home.stack, layer))
        return (kind, ordinal, position)


def _same(left: list[tuple], right: list[tuple]) -> bool:
    return len(left) == len(right) and all(a[:4] == b[:4] and (a[4] == b[4] or a[4] is None or b[4] is None) for a, b in zip(left, right, strict=True))

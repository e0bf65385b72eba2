"""A model of the CUDA caching allocator: what `torch.cuda.max_memory_reserved` says of a sequence of allocations.

Blocks are multiples of 512 bytes. Up to 1 MiB a block is cut from segments of 2 MiB; larger ones from segments of 20 MiB, or of their own
size rounded up to 2 MiB from 10 MiB on. The smallest free block that fits is taken (lowest address among equals) and split when what
remains is at least 512 bytes (small) or more than 1 MiB (large). Freed neighbours of a segment are joined. Segments are never given back,
as torch does not before memory runs out. Source: c10/cuda/CUDACachingAllocator.cpp, default settings.
"""

from __future__ import annotations

import bisect

MIB = 1 << 20
SMALL, SMALL_SEGMENT, LARGE_SEGMENT, OWN_SEGMENT, ROUND = MIB, 2 * MIB, 20 * MIB, 10 * MIB, 2 * MIB


class _Block:
    __slots__ = ("address", "size", "free", "before", "after")

    def __init__(self, address: int, size: int):
        self.address, self.size, self.free = address, size, True
        self.before: _Block | None = None
        self.after: _Block | None = None


class Allocator:
    """`allocate(name, bytes)`, `release(name)`; `.reserved` and `.peak_reserved` in bytes."""

    def __init__(self) -> None:
        self.reserved = self.peak_reserved = 0
        self._pools: dict[bool, list[tuple[int, int, _Block]]] = {True: [], False: []}  # small or not: free blocks by size, address
        self._used: dict[object, tuple[_Block, bool]] = {}
        self._next = 0

    def allocate(self, name: object, size: int) -> None:
        small = size <= SMALL
        pool = self._pools[small]
        at = bisect.bisect_left(pool, (size, -1))
        block = pool.pop(at)[2] if at < len(pool) else self._segment(size, small)
        rest = block.size - size
        if rest >= 512 if small else rest > SMALL:
            self._split(block, size, pool)
        block.free = False
        self._used[name] = (block, small)

    def _segment(self, size: int, small: bool) -> _Block:
        whole = SMALL_SEGMENT if small else LARGE_SEGMENT if size < OWN_SEGMENT else -(-size // ROUND) * ROUND
        block = _Block(self._next, whole)
        self._next += whole + ROUND  # a gap, so that segments never touch
        self.reserved += whole
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return block

    def _split(self, block: _Block, size: int, pool: list) -> None:
        rest = _Block(block.address + size, block.size - size)
        rest.before, rest.after = block, block.after
        if block.after is not None:
            block.after.before = rest
        block.after, block.size = rest, size
        bisect.insort(pool, (rest.size, rest.address, rest))

    def release(self, name: object) -> None:
        block, small = self._used.pop(name)
        pool = self._pools[small]
        before, after = block.before, block.after
        if after is not None and after.free:
            self._take(pool, after)
            block.size += after.size
            block.after = after.after
            if block.after is not None:
                block.after.before = block
        if before is not None and before.free:
            self._take(pool, before)
            before.size += block.size
            before.after = block.after
            if block.after is not None:
                block.after.before = before
            block = before
        block.free = True
        bisect.insort(pool, (block.size, block.address, block))

    def _take(self, pool: list, block: _Block) -> None:
        at = bisect.bisect_left(pool, (block.size, block.address))
        pool.pop(at)

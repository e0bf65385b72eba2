"""How rank is shared out over sites (LaMDA++, Azizi et al. 2024).

The set of ranks is fixed by rank, rank_min, rank_max and the number of sites alone; the weights decide only which site gets
which. It is shared out within sites of equal shape, so the count of weights is known before any weight has been read.
The paper's exact rule could not be read; its energy score E(r) = Σ_{i≤r} σᵢ² / Σ σᵢ² and its three orders are as published.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from lab.design.anatomy import Site
from lab.design.method import Delta


def rank_ladder(count: int, mean: int, low: int, high: int) -> list[int]:
    """`count` whole ranks from high down to low in even steps, with the sum count·mean.

    Example: 5 sites, mean 32, from 16 to 48: [48, 40, 32, 24, 16].
    """
    if count == 1:
        return [mean]
    spread = min(high - mean, mean - low)  # symmetric about the mean, so that the total is kept
    top, bottom = mean + spread, mean - spread
    ladder = [round(top + (bottom - top) * i / (count - 1)) for i in range(count)]
    missing = count * mean - sum(ladder)
    for i in range(abs(missing)):
        ladder[count // 2 + (i if i % 2 else -i) // 2] += 1 if missing > 0 else -1
    return sorted(ladder, reverse=True)


def groups(sites: Sequence[Site]) -> list[list[int]]:
    """Indices of the sites of equal shape, in order."""
    found: dict[tuple[int, int], list[int]] = {}
    for index, site in enumerate(sites):
        found.setdefault(site.shape, []).append(index)
    return list(found.values())


def allot(delta: Delta, sites: Sequence[Site], losses: Sequence[float] | None, seed: int = 0) -> list[int]:
    """A rank per site. `losses[i]`: the energy that a cut from rank_max to rank_min loses; None where no weights are known."""
    if delta.allocation is None:
        return [delta.rank] * len(sites)
    ranks = [delta.rank] * len(sites)
    for group in groups(sites):
        ladder = rank_ladder(len(group), delta.rank, delta.allocation.rank_min, delta.allocation.rank_max)
        for index, rank in zip(_ordered(group, delta.allocation.order, losses, seed), ladder, strict=True):
            ranks[index] = rank
    return ranks


def _ordered(group: list[int], order: str, losses: Sequence[float] | None, seed: int) -> list[int]:
    """The sites of a group, those that get the larger ranks first."""
    if order == "random":
        return random.Random(seed).sample(group, len(group))
    if losses is None:
        return group
    return sorted(group, key=lambda index: losses[index], reverse=order == "descending")

"""How rank is shared out over sites (LaMDA++, Azizi et al. 2024).

The set of ranks is fixed by rank, rank_min, rank_max and the number of sites alone; the weights decide only which site gets
which. Shared out within sites of equal shape, the count of weights is known before any weight has been read; among all sites it is
known once they have been, and before that sites of each shape are taken to get an even share.
The paper's exact rule could not be read; its energy score E(r) = Σ_{i≤r} σᵢ² / Σ σᵢ² and its three orders are as published.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from lab.design.body.anatomy import Site
from lab.design.method.delta import Delta

MORE, LESS = "larger-where-more-is-lost", "larger-where-less-is-lost"


def reachable(count: int, mean: int, low: int, high: int) -> bool:
    """Whether `count` ranks of that mean, all within the bounds, can have both bounds among them."""
    return low == mean == high or low * (count - 1) + high <= count * mean <= high * (count - 1) + low


def rank_ladder(count: int, mean: int, low: int, high: int) -> list[int]:
    """`count` whole ranks from high down to low with the sum count·mean.

    In even steps where the bounds are as far below the mean as above it, else low + (high − low)·(1 − t)^p for t from 0 to 1, with the p
    that keeps the sum. Where that cannot be (see `reachable`), even steps about the mean, as wide as the nearer bound allows.
    Examples: 5 sites, mean 32: from 16 to 48 [48, 40, 32, 24, 16]; from 8 to 40 [40, 39, 38, 35, 8].
    """
    if count == 1:
        return [mean]
    if not reachable(count, mean, low, high):
        spread = min(high - mean, mean - low)
        low, high = mean - spread, mean + spread
    falls = [1 - i / (count - 1) for i in range(count)]
    power = 1.0 if high - mean == mean - low else _power(falls, (mean - low) / (high - low))
    ladder = [round(low + (high - low) * fall**power) for fall in falls]
    missing, inner = count * mean - sum(ladder), sorted(range(1, count - 1), key=lambda i: abs(i - count / 2))
    while missing:
        step = 1 if missing > 0 else -1
        for i in (i for i in inner if low <= ladder[i] + step <= high):
            ladder[i] += step
            missing -= step
            if not missing:
                break
    return sorted(ladder, reverse=True)


def _power(falls: Sequence[float], share: float) -> float:
    """p with mean(fall^p) = share, by bisection: the mean falls as p grows."""
    low, high = -20.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(fall ** math.exp(middle) for fall in falls) > share * len(falls) else (low, middle)
    return math.exp(low)


def groups(sites: Sequence[Site], within: str = "shape") -> list[list[int]]:
    """Indices of the sites among which rank is shared out, in order."""
    found: dict[object, list[int]] = {}
    for index, site in enumerate(sites):
        found.setdefault(site.shape if within == "shape" else None, []).append(index)
    return list(found.values())


def allot(delta: Delta, sites: Sequence[Site], losses: Sequence[float] | None, seed: int = 0, order: str = "") -> list[int]:
    """A rank per site. `losses[i]`: the energy that a cut from rank_max to rank_min loses; None where no weights are known.

    `order` stands in for the delta's own.
    """
    if delta.allocation is None:
        return [delta.rank] * len(sites)
    ranks = [delta.rank] * len(sites)
    for group in groups(sites, delta.allocation.within):
        ladder = rank_ladder(len(group), delta.rank, delta.allocation.rank_min, delta.allocation.rank_max)
        for index, rank in zip(_ordered(group, sites, order or delta.allocation.order, losses, seed), ladder, strict=True):
            ranks[index] = rank
    return ranks


def _ordered(group: list[int], sites: Sequence[Site], order: str, losses: Sequence[float] | None, seed: int) -> list[int]:
    """The sites of a group, those that get the larger ranks first."""
    if order == "random":
        return random.Random(seed).sample(group, len(group))
    if losses is not None:
        return sorted(group, key=lambda index: losses[index], reverse=order == MORE)
    alike = groups([sites[index] for index in group])
    share = {group[place]: (n + 0.5) / len(each) for each in alike for n, place in enumerate(each)}
    return sorted(group, key=share.__getitem__)

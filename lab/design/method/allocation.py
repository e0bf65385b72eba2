"""How rank is shared out over sites, by what an allocation measured there (lab/design/method/allocations).

In order of a score (LaMDA++, Azizi et al. 2024) the set of ranks is fixed by rank, rank_min, rank_max and the number of sites alone; the weights decide only which site gets
which. Shared out within sites of equal shape, the count of weights is known before any weight has been read; among all sites it is
known once they have been, and before that sites of each shape are taken to get an even share.
The paper's exact rule could not be read; its energy score E(r) = Σ_{i≤r} σᵢ² / Σ σᵢ² and its three orders are as published.
Without an order each rank goes where it is worth most, as EVA does.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from lab.design.body.anatomy import Site
from lab.design.method.allocations.base import MORE, Ordered
from lab.design.method.delta import Delta


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


def allot(delta: Delta, sites: Sequence[Site], measures: Sequence[Sequence[float]] | None, seed: int = 0, order: str = "") -> list[int]:
    """A rank per site. `measures[i]`: what the allocation measured at a site (`AllocationOptions.measure`); None where nothing is known.

    `order` stands in for the delta's own.
    """
    allocation = delta.allocation
    if allocation is None:
        return [delta.rank] * len(sites)
    ranks = [delta.rank] * len(sites)
    for group in groups(sites, allocation.within):
        if isinstance(allocation, Ordered):
            ladder = rank_ladder(len(group), delta.rank, allocation.rank_min, allocation.rank_max)
            scores = None if measures is None else [allocation.score(measure) for measure in measures]
            given = dict(zip(_ordered(group, sites, order or allocation.order, scores, seed), ladder, strict=True))
        else:
            given = {} if measures is None else _where_most(group, delta.rank, allocation.rank_min, allocation.rank_max, measures)
        for index, rank in given.items():
            ranks[index] = rank
    return ranks


def _where_most(group: list[int], mean: int, low: int, high: int, measures: Sequence[Sequence[float]]) -> dict[int, int]:
    """All begin at `low`; each of the ranks that are left goes where it is worth most, until a site has `high`."""
    worth = {index: [*measures[index], *[measures[index][-1]] * (high + 1 - len(measures[index]))] for index in group}
    gains = [(worth[index][rank + 1] - worth[index][rank], index) for rank in range(low, high) for index in group]
    ranks = dict.fromkeys(group, low)
    for _, index in sorted(gains, key=lambda gain: -gain[0])[: (mean - low) * len(group)]:
        ranks[index] += 1
    return ranks


def _ordered(group: list[int], sites: Sequence[Site], order: str, scores: Sequence[float] | None, seed: int) -> list[int]:
    """The sites of a group, those that get the larger ranks first."""
    if order == "random":
        return random.Random(seed).sample(group, len(group))
    if scores is not None:
        return sorted(group, key=lambda index: scores[index], reverse=order == MORE)
    alike = groups([sites[index] for index in group])
    share = {group[place]: (n + 0.5) / len(each) for each in alike for n, place in enumerate(each)}
    return sorted(group, key=share.__getitem__)

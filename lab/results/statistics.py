"""Which differences are real: tests between groups of numbers by the seeds that they have in common, by the rows that two models answered, and the
correction for many pairs. Arrays in, arrays out; what the numbers are of is known in `groups` and `examples`.

Sources: the paired t test (Student 1908) and Welch's (1947) as scipy has them; McNemar's test with the mid-p value (McNemar 1947; Fagerland, Lydersen and
Laake 2013, doi 10.1186/1471-2288-13-91), and the interval of Bonett and Price (2012, doi 10.3102/1076998611411915) with it; the paired bootstrap (Efron and Tibshirani 1993;
Koehn 2004, W04-3250); Holm's step-down correction (1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 0.05  # chance of calling a pair different among all pairs of a comparison where there is no difference
NONE, PAIRED, WELCH, ALIKE, UNLIKE = range(5)
HOW = ("", "paired t", "welch", "sign flips", "permutation")  # by these numbers
SAME = 1e-9  # relative: numbers nearer than this are the same one
DRAWS = 2000  # resamples of a bootstrap
CHUNK = 4_000_000  # cells of drawn rows at once


@dataclass(frozen=True)
class Pairs:
    """Every group against every other one, as (groups, groups) arrays: row minus column; NaN and NONE where a pair cannot be tested.

    `effect`: difference of the means over what both have. `low`, `high`: 95 % interval. `p`: two-sided; `adjusted`: by Holm over all pairs. `n`: seeds
    compared. `how`: index of HOW.
    """

    effect: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    adjusted: np.ndarray
    n: np.ndarray
    how: np.ndarray


def pairwise(values: np.ndarray, seeds: Sequence[int] | None = None, allowed: np.ndarray | None = None) -> Pairs:
    """All pairs of groups. `values`: (groups, points), NaN where a group has no such point; `seeds`: whose seed each point is (None: a point is a seed).

    Points of one seed are averaged, over those that both groups have, since it is the seed that was drawn anew. Two groups with two seeds or more in
    common are compared by the paired t test on them, others, where each point is a seed, by Welch's. Where all differences are the same number (scores come in
    steps of one row) there is no spread to judge by: then p is exact, by the flips of their signs, 2 · 2⁻ⁿ, and there is no interval. `allowed`: (groups,
    groups), which pairs may be compared at all.
    """
    groups, points = values.shape
    owners = np.arange(points) if seeds is None else np.unique(np.asarray(seeds), return_inverse=True)[1]
    belongs = np.zeros((points, owners.max(initial=-1) + 1))
    belongs[np.arange(points), owners] = 1.0
    scale = float(np.nanmax(np.abs(values), initial=0.0, where=np.isfinite(values)))
    upper = np.triu_indices(groups, 1)
    rows = [_paired(values[one], values[one + 1 :], belongs, scale) for one in range(groups - 1)]
    found = np.concatenate(rows, axis=1) if rows else np.zeros((6, 0))
    if seeds is None:
        apart = found[5] == NONE
        found[:, apart] = _welch(values, upper[0][apart], upper[1][apart], scale)
    if allowed is not None:
        found[:, ~allowed[upper]] = np.array([np.nan, np.nan, np.nan, np.nan, 0, NONE])[:, None]
    effect, low, high, p, n, how = found
    adjusted = holm(p)
    kinds = ((effect, -effect), (low, -high), (high, -low), (p, p), (adjusted, adjusted), (n, n), (how, how))
    squares = [_square(above, below, upper, groups) for above, below in kinds]
    return Pairs(*squares[:5], squares[5].astype(int), squares[6].astype(int))


def _square(above: np.ndarray, below: np.ndarray, upper: tuple[np.ndarray, np.ndarray], groups: int) -> np.ndarray:
    square = np.zeros((groups, groups))
    square[upper], square[upper[::-1]] = above, below
    return square


def _paired(one: np.ndarray, others: np.ndarray, belongs: np.ndarray, scale: float) -> np.ndarray:
    """(effect, low, high, p, n, how) of a group, (points,), against others, (others, points), as (6, others)."""
    from scipy import stats

    apart = one - others
    there = np.isfinite(apart)
    counted = there @ belongs  # (others, seeds)
    common = counted > 0
    each = np.where(common, (np.where(there, apart, 0.0) @ belongs) / np.maximum(counted, 1), 0.0)
    n = common.sum(1)
    mean = each.sum(1) / np.maximum(n, 1)
    deviation = np.sqrt((np.where(common, each - mean[:, None], 0.0) ** 2).sum(1) / np.maximum(n - 1, 1))
    flips = np.where(np.abs(mean) <= SAME * scale, 1.0, 2.0 ** (1.0 - n))
    found = _by_t(mean, deviation / np.sqrt(np.maximum(n, 1)), np.maximum(n - 1, 1), flips, deviation <= SAME * scale, stats)
    how = np.where(deviation <= SAME * scale, ALIKE, PAIRED)
    return np.where(n >= 2, np.vstack([found, n, how]), np.array([np.nan, np.nan, np.nan, np.nan, 0, NONE])[:, None])


def _welch(values: np.ndarray, ones: np.ndarray, others: np.ndarray, scale: float) -> np.ndarray:
    """The same of pairs of groups, by their places, whose seeds are drawn apart; nothing where one of them has a single value."""
    from scipy import special, stats

    n = np.isfinite(values).sum(1)
    mean = np.nansum(values, 1) / np.maximum(n, 1)
    share = np.where(np.isfinite(values), values - mean[:, None], 0.0)
    share = (share**2).sum(1) / np.maximum(n - 1, 1) / np.maximum(n, 1)  # of the squared error
    apart, error = mean[ones] - mean[others], np.sqrt(share[ones] + share[others])
    same = error <= SAME * scale
    freedom = error**4 / np.maximum(share[ones] ** 2 / np.maximum(n[ones] - 1, 1) + share[others] ** 2 / np.maximum(n[others] - 1, 1), 1e-300)
    ways = np.where(np.abs(apart) <= SAME * scale, 1.0, np.minimum(1.0, 2 / special.comb(n[ones] + n[others], n[ones])))
    found = _by_t(apart, error, np.maximum(freedom, 1e-9), ways, same, stats)
    fewer = np.minimum(n[ones], n[others])
    return np.where(fewer >= 2, np.vstack([found, fewer, np.where(same, UNLIKE, WELCH)]), np.array([np.nan, np.nan, np.nan, np.nan, 0, NONE])[:, None])


def _by_t(effect: np.ndarray, error: np.ndarray, freedom: np.ndarray, exact: np.ndarray, same: np.ndarray, stats: Any) -> np.ndarray:
    """(effect, low, high, p) by Student's distribution; where there is no spread, no interval and the exact p."""
    width = np.where(same, np.nan, stats.t.ppf(1 - LEVEL / 2, freedom) * error)
    p = np.where(same, exact, 2 * stats.t.sf(np.abs(effect) / np.where(same, 1.0, error), freedom))
    return np.vstack([effect, effect - width, effect + width, p])


def holm(p: np.ndarray) -> np.ndarray:
    """P values corrected for as many tests as there are numbers among them: 1.0 at most, NaN where there is none."""
    found = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = np.arange(len(order), 0, -1) * p[order]
    found[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return found


def unbeaten(pairs: Pairs, tested: np.ndarray, greater: bool) -> np.ndarray:
    """Which groups nothing beats significantly, (groups,), of those that were `tested` against another at all."""
    better = pairs.effect < 0 if greater else pairs.effect > 0  # the column's group against the row's
    with np.errstate(invalid="ignore"):
        beaten = (better & (pairs.how != NONE) & (pairs.adjusted < LEVEL)).any(1)
    return tested & ~beaten


# -- by rows that both answered ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ByRows:
    """One model, or one group of them, against another on the same rows. `how`: mcnemar or bootstrap; `low`, `high`: 95 % interval."""

    effect: float
    low: float
    high: float
    p: float
    rows: int
    how: str


def mcnemar(one: np.ndarray, other: np.ndarray) -> ByRows:
    """Two models' right answers on the same rows, (rows,) of bool: McNemar's test with the mid-p value of the exact binomial."""
    from scipy import stats

    rows, only, theirs = len(one), int((one & ~other).sum()), int((other & ~one).sum())
    fewer, discordant = min(only, theirs), only + theirs
    exact = min(1.0, 2 * float(stats.binom.cdf(fewer, discordant, 0.5)))
    p = 1.0 if only == theirs else exact - float(stats.binom.pmf(fewer, discordant, 0.5))
    mine, other_s = (only + 1) / (rows + 2), (theirs + 1) / (rows + 2)
    width = float(stats.norm.ppf(1 - LEVEL / 2)) * np.sqrt((mine + other_s - (mine - other_s) ** 2) / (rows + 2))
    middle = mine - other_s
    return ByRows((only - theirs) / rows, float(middle - width), float(middle + width), p, rows, "mcnemar")


def drawn_sums(summed: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Sums of rows' statistics over resamples of the rows with replacement, (draws, statistics); the same resamples for every call with as many rows.

    `summed`: (rows, statistics).
    """
    rows, chance = len(summed), np.random.default_rng(seed)
    size, found = max(1, CHUNK // max(1, rows)), []
    for first in range(0, draws, size):
        counts = chance.multinomial(rows, np.full(rows, 1 / rows), size=min(size, draws - first))
        found.append(counts @ summed)
    return np.concatenate(found)


def bootstrap(one: float, drawn: np.ndarray, other: float, of_other: np.ndarray, rows: int) -> ByRows:
    """A metric of two groups on the same rows, and on the same resamples of them, each (draws,)."""
    apart = drawn - of_other
    apart = apart[np.isfinite(apart)]
    low, high = np.quantile(apart, (LEVEL / 2, 1 - LEVEL / 2)) if len(apart) else (np.nan, np.nan)
    p = min(1.0, 2 * (1 + min(int((apart <= 0).sum()), int((apart >= 0).sum()))) / (1 + len(apart)))
    return ByRows(one - other, float(low), float(high), p, rows, "bootstrap")

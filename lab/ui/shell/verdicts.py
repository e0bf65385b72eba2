"""What the tests between groups of runs say, as plain sentences in the reader's language; for pages, the report and the terminal alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lab.design.plain import numbers
from lab.design.spec.families import LOSS, OF, Metric
from lab.results.groups import Difference, Group, Tested
from lab.results.statistics import NONE, ByRows
from lab.ui.words.table import say

PERPLEXITY = "perplexity"


def amount(metric: Metric, value: float, language: str) -> str:
    """A difference in a metric: in points (of 100) where papers print it so."""
    if metric.name.partition(OF)[0] in (LOSS.name, PERPLEXITY) or not (metric.fraction or metric.greater):
        return numbers.number(value, 3)
    return say(language, "answers.points", n=_points(metric, value))


def mean_of(group: Group) -> str:
    """0.782 ± 0.011: the mean and deviation over seeds as they are measured."""
    spread = f" ± {numbers.number(group.deviation, 2)}" if group.deviation is not None else ""
    return numbers.number(group.mean) + spread if group.mean is not None else numbers.UNKNOWN


def sentence(tested: Tested, found: Difference, names: Sequence[str], language: str) -> str:
    """A difference between two groups in one sentence."""
    one, other = tested.groups[found.one], tested.groups[found.other]
    seeds = [len(one.by_seed), len(other.by_seed)]
    about = {"one": names[found.one], "other": names[found.other]}
    if found.kind == "apart":
        return say(language, "answers.apart", **about)
    if found.kind == "few":
        return say(language, "answers.few.one" if seeds == [1, 1] else "answers.few", **about, a=seeds[0], b=seeds[1])
    metric = one.metric
    values = {**about, "effect": amount(metric, found.effect, language), "n": found.n, "p": p_value(found.adjusted)}
    if math.isfinite(found.low):
        values |= {"low": _bound(metric, found.low), "high": _bound(metric, found.high)}
    exact = ".exact" if found.kind == "better" and not math.isfinite(found.low) else ""
    apart = say(language, "answers.unpaired") if found.how in ("welch", "permutation") else ""
    return say(language, f"answers.{found.kind}{exact}", **values) + apart


def by_rows(tested: Tested, found: ByRows, one: int, other: int, names: Sequence[str], language: str) -> str:
    """What the rows that both were judged on say, in one sentence."""
    metric = tested.groups[one].metric
    effect, low, high = (value if metric.greater else -value for value in (found.effect, found.low, found.high))
    if effect < 0:
        one, other, effect, low, high = other, one, -effect, -low, -high
    low, high = sorted((low, high))
    return say(language, "answers.rows" if effect else "answers.rows.equal", one=names[one], other=names[other], effect=amount(metric, effect, language), low=_bound(metric, low),
               high=_bound(metric, high), rows=f"{found.rows:,}", how=say(language, "answers.how." + found.how), p=p_value(found.p))  # fmt: skip


def lines(tested: Tested, names: Sequence[str], language: str, baseline: int | None = None) -> list[str]:
    """One sentence for each other group against the baseline, else against the best one; [] where there is no pair."""
    place = tested.best() if baseline is None else baseline
    if place is None:
        return []
    found = tested.against(place)
    few = [each for each in found if each.kind == "few"]
    others = ("、" if language == "zh" else ", ").join(names[each.other] for each in few)
    together = [say(language, "answers.few.all", one=names[place], others=others)] if len(few) > 1 else []
    return [sentence(tested, each, names, language) for each in found if each.kind != "few" or not together] + together


def stars(tested: Tested, language: str) -> str:
    """What a star means here, or why there is none."""
    several = sum(len(group.by_seed) > 1 for group in tested.groups)
    key = "answers.star" if tested.stars else "answers.star.none" if several < 2 else "answers.star.apart"
    return say(language, key)


def by_which_test(tested: Tested, language: str) -> str:
    """By which tests, of how many pairs; "" where none could be tested."""
    pairs = int((tested.pairs.how != NONE).sum()) // 2
    return say(language, "answers.tests", n=pairs) if pairs else ""


def p_value(value: float) -> str:
    """As papers print it: 0.03, < 0.001."""
    return "–" if not math.isfinite(value) else "< 0.001" if value < 0.001 else f"{value:.2g}"


def _bound(metric: Metric, value: float) -> str:
    if metric.name.partition(OF)[0] in (LOSS.name, PERPLEXITY) or not (metric.fraction or metric.greater):
        return numbers.number(value, 3)
    return _points(metric, value)


def _points(metric: Metric, value: float) -> str:
    scaled = 100 * value if metric.fraction else value
    text = f"{scaled:.1f}" if abs(scaled) >= 0.095 or scaled == 0 else f"{scaled:.2g}"
    return text.replace("-", "−")

"""Rank by how much the loss feels a weight at the start: GoRA's importance (He et al. 2025, arXiv 2502.12171), mean |W ⊙ ∇W| over rows of the training data."""

from __future__ import annotations

from typing import Literal

from lab.design.method.allocations.base import Ordered
from lab.design.plain.options import option


class SensitivityAllocation(Ordered):
    """Larger ranks where weights matter more to the loss, by one look at the training data before the first step."""

    name: Literal["sensitivity"] = "sensitivity"
    label, label_zh = "by sensitivity", "按敏感度"
    reads, reading = "gradient", "sensitivity"
    cumulative = False
    of: Literal["weight-times-gradient", "gradient"] = option(
        "weight-times-gradient",
        label="score",
        help="weight-times-gradient: the mean of |W ⊙ ∇W|, as GoRA has it; gradient: the mean of |∇W|.",
    )

    def measure(self, seen):
        size = seen.gradient * seen.weight if self.of == "weight-times-gradient" else seen.gradient
        return [float(size.abs().mean())]

    def score(self, measure):
        return measure[0]

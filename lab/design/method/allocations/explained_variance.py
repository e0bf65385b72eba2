"""EVA (Paischer et al. 2024, arXiv 2410.07170): each rank goes where one more direction explains most of the variance of a projection's inputs."""

from __future__ import annotations

import itertools
from typing import Any, Literal

from lab.design.method.allocations.base import AllocationOptions


class ExplainedVarianceAllocation(AllocationOptions):
    """Every rank to the projection whose next principal direction explains the largest share of its inputs' variance."""

    name: Literal["explained-variance"] = "explained-variance"
    label, label_zh = "by explained variance", "按解释方差"
    reads, reading = "inputs", "explained_variance"

    def measure(self, seen):
        return [0.0, *itertools.accumulate(seen.inputs.shares)]

    def score(self, measure):
        """The share that rank_max directions explain."""
        return measure[min(self.rank_max, len(measure) - 1)]

    @classmethod
    def numbers(cls, rank: int) -> dict[str, Any]:
        return {"rank_min": 1, "rank_max": 2 * rank}

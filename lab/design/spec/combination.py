"""Runs put together: which, with which weights, and how. What they become stands in lab/design/method/combining.py."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from lab.design.plain.options import Options, option
from lab.design.plain.refusal import Refusal

MOST = 8  # runs of one combination


class Combination(Options):
    """Trained runs of one base as one: RUN, or RUN/final for the last weights in place of the best."""

    runs: list[str] = option(min_length=2, max_length=MOST, label="runs", zh="运行", help="The runs, each by its id, the beginning of one, or its name.")
    weights: list[float] = option(default_factory=list, label="weights", symbol="w", zh="权重", help="One for each run; empty: equal shares of 1.")
    how: Literal["sum", "average", "prune", "ties", "dare", "dare-ties"] = option(
        "sum", label="how", zh="合并方式",
        help="sum: the changes side by side, each with its weight, of any methods. Of one method: average tensor by tensor; prune keeps the largest numbers; "
             "ties (Yadav et al. 2023) lets signs be elected too; dare (Yu et al. 2024) drops numbers at random. SVD back to a rank is the option rank.",
    )  # fmt: skip
    rank: int | None = option(
        None, ge=1, le=65536, label="rank", symbol="r", zh="秩",
        help="Combine the changes of weights, and keep so many singular values of each. Empty: combine the methods as they are.",
    )  # fmt: skip
    density: float = option(0.5, gt=0, le=1, label="density", zh="密度", help="Share of the numbers that prune, ties and dare keep (0.2 in TIES' paper).")
    sign: Literal["total", "frequency"] = option(
        "total", label="elected sign", zh="符号选举", help="Of ties: total, the sign of the sum (the paper's); frequency, that of most runs."
    )

    prints: list[str] = option(default_factory=list, max_length=MOST, label="prints", zh="校验和", help="Checksums of their weights, set at launch.")

    @field_validator("runs", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """As a flag has it: RUN,RUN."""
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("runs")
    @classmethod
    def _named(cls, value: list[str]) -> list[str]:
        for index, one in enumerate(value):
            if not 0 < len(one) <= 120:
                raise Refusal("Name a run by its id, the beginning of one, or its name.", str(index))
        return value

    @model_validator(mode="after")
    def _one_weight_each(self) -> Combination:
        if not self.weights:
            object.__setattr__(self, "weights", [1 / len(self.runs)] * len(self.runs))
        if len(self.weights) != len(self.runs):
            raise Refusal("There are {runs} runs and {weights} weights: give one for each, or none.", "weights", runs=len(self.runs), weights=len(self.weights))
        for index, weight in enumerate(self.weights):
            if not -10 <= weight <= 10:
                raise Refusal("A weight is from -10 to 10; this one is {weight:g}.", f"weights.{index}", weight=weight)
        return self

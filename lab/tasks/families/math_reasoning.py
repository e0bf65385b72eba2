"""Math word problems (GSM8K, arXiv 2110.14168): the model writes its reasoning; the final number must be right."""

from __future__ import annotations

import re

from lab.design.spec.families import Metric
from lab.design.spec.task import TaskSpec
from lab.tasks import sources
from lab.tasks.families.writing import Writing
from lab.tasks.family import Example

CALCULATION = re.compile(r"<<[^<>]*>>")  # GSM8K's calculator notes, as in <<48/2=24>>


class MathReasoning(Writing):
    """question → reasoning that ends in '#### number'."""

    name = "math_reasoning"
    title, zh = "Math reasoning", "数学推理"
    metrics = (Metric("exact_match", fraction=True),)
    prompt = "Question: {source}\nAnswer:"
    verb = "write out a solution"

    def format(self, row: sources.Row, spec: TaskSpec, number: int | None = None) -> Example:
        example = super().format(row, spec, number)
        return {**example, "target": CALCULATION.sub("", example["target"])}

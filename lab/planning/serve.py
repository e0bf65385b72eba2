"""The planning service: `python -m lab.planning.serve` answers requests, one JSON document a line, on standard input and output.

    {"id": 7, "request": {"model": "roberta-base", "method": "lora", "batch": 32, "tokens": 128}}
    {"id": 7, "plan": {...}}    or    {"id": 7, "refusal": {"sentence": ..., "field": ...}}

Torch is imported once, when it starts.
"""

from __future__ import annotations

from typing import Any

from lab.child import serve
from lab.planning.request import check


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """{"plan": document}. Raises Refusal."""
    from lab.planning.predict import plan, plan_shape

    asked = check(question["request"])
    found = plan(asked.pop("spec"), **asked) if "spec" in asked else plan_shape(**asked)
    return {"plan": found.document()}


def prepare() -> None:
    """The imports are the slow part."""
    import torch

    import lab.planning.predict  # noqa: F401

    torch.set_num_threads(1)


if __name__ == "__main__":
    serve(answer, "The memory could not be predicted ({kind}: {reason}).", prepare)

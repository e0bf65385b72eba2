"""The planning service: `python -m lab.planning.serve` answers requests, one JSON document a line, on standard input and output.

    {"id": 7, "request": {"model": "roberta-base", "method": "lora", "batch": 32, "tokens": 128}}
    {"id": 7, "plan": {...}}    or    {"id": 7, "refusal": {"sentence": ..., "field": ...}}

Torch is imported once, when it starts; {"id": 0, "ready": true} says that it is. It ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO

from lab.design.refusal import Refusal
from lab.planning.request import check


def answer(request: Any) -> dict[str, Any]:
    """{"plan": document} or {"refusal": {...}} for one request."""
    from lab.planning.predict import plan, plan_shape

    try:
        asked = check(request)
        found = plan(asked.pop("spec"), **asked) if "spec" in asked else plan_shape(**asked)
        return {"plan": found.document()}
    except Refusal as refusal:
        return {"refusal": {"sentence": refusal.sentence, "field": refusal.field}}
    except Exception as error:  # the service outlives one bad request
        return {"refusal": {"sentence": f"The memory could not be predicted ({type(error).__name__}: {str(error)[:160]}).", "field": ""}}


def serve(lines: TextIO, out: TextIO) -> None:
    """Answer until the input ends."""
    import torch

    import lab.planning.predict  # noqa: F401  (the imports are the slow part)

    torch.set_num_threads(1)
    _write(out, {"id": 0, "ready": True})
    for line in lines:
        try:
            message = json.loads(line)
            number, request = message["id"], message["request"]
        except (ValueError, KeyError, TypeError):
            _write(out, {"id": None, "refusal": {"sentence": "A line must be a JSON document with id and request.", "field": ""}})
            continue
        _write(out, {"id": number, **answer(request)})


def _write(out: TextIO, document: dict[str, Any]) -> None:
    out.write(json.dumps(document) + "\n")
    out.flush()


def main() -> int:
    """Keep standard output for answers: what libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

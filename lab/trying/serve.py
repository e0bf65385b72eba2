"""The child process: a JSON request per line on standard input, a JSON answer per line on standard output, until the input ends.

    {"id": 1, "run": "k7qm2x9b", "text": "..."}  ->  {"id": 1, "kind": "labels", "on": [...], "off": [...]}
                                                 or  {"id": 1, "refusal": {"sentence": ..., "field": ...}}
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    """Answer until the input ends. What libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    import torch

    from lab.trying.answering import answer

    torch.set_num_threads(1)  # beside training, not instead of it

    def say(document: dict[str, Any]) -> None:
        out.write(json.dumps(document) + "\n")
        out.flush()

    say({"id": 0})
    for line in sys.stdin:
        say(_answered(line, answer))


def _answered(line: str, answer: Any) -> dict[str, Any]:
    from lab.design.refusal import Refusal

    number = None
    try:
        request = json.loads(line)
        number = request["id"]
        return {"id": number, **answer(request)}
    except Refusal as problem:
        return {"id": number, "refusal": {"sentence": problem.sentence, "field": problem.field}}
    except Exception as error:  # one bad request must not end the process
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return {"id": number, "refusal": {"sentence": f"The model could not answer ({type(error).__name__}: {str(error)[:200]}).", "field": ""}}


if __name__ == "__main__":
    main()

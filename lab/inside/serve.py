"""The child process that looks inside models: a JSON request per line on standard input, a JSON answer per line on standard output.

{"id": 1, "run": "k7qm2x9b", "task": ""}           ->  {"id": 1, "weights": [...], "cka": [...], ...}
{"id": 2, "run": "k7qm2x9b", "other": "h3pw9d2a", "task": ""}  ->  {"id": 2, "rows": 831, "differ": [...], ...}
"""

from __future__ import annotations

from typing import Any

from lab.child import serve


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """See lab.inside.looking."""
    from lab.inside.looking import disagree, look

    if question.get("other"):
        return disagree(str(question["run"]), str(question["other"]), str(question.get("task") or ""))
    return look(str(question.get("run", "")), str(question.get("task") or ""))


def prepare() -> None:
    """The imports are the slow part."""
    import torch

    import lab.inside.looking  # noqa: F401

    torch.set_num_threads(1)  # beside training, not instead of it


if __name__ == "__main__":
    serve(answer, "The model could not be looked into ({kind}: {reason}).", prepare)

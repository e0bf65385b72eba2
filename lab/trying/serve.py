"""The child process: a JSON request per line on standard input, a JSON answer per line on standard output, until the input ends.

{"id": 1, "run": "k7qm2x9b", "text": "..."}  ->  {"id": 1, "kind": "labels", "on": [...], "off": [...]}
                                             or  {"id": 1, "refusal": {"sentence": ..., "field": ...}}
"""

from __future__ import annotations

from typing import Any

from lab.child import serve


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """See lab.trying.answering; {"combination": ...} in place of "run": lab.trying.combining."""
    if "combination" in question:
        from lab.trying.combining import answer as of_combinations

        return of_combinations(question)
    from lab.trying.answering import answer as of_models

    return of_models(question)


def prepare() -> None:
    """The imports are the slow part."""
    import torch

    import lab.trying.answering  # noqa: F401

    torch.set_num_threads(1)  # beside training, not instead of it


if __name__ == "__main__":
    serve(answer, "The model could not answer ({kind}: {reason}).", prepare)

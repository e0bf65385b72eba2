"""Tasks whose answer is the likelier of some words: sentiment on a decoder, commonsense questions. Shared by those families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.design.spec.objectives import IGNORED
from lab.tasks.family import EvaluationLoop, Setting
from lab.tasks.prompting import answers, cut, encode_prompts, one_pass


def encode(
    prompts: Sequence[tuple[str, Sequence[str]]], options: Sequence[Sequence[str]], right: Sequence[int], setting: Setting, train: bool
) -> list[dict[str, Any]]:
    """Rows with the right option as the answer to learn; held-out rows also with "options" (token ids) and "answer".

    A prompt is (source text, the pieces of the wording around it): see `prompting.cut`. Options are set off by one space.
    """
    words = [[f" {option}" for option in each] for each in options]
    tokens = answers([word for each in words for word in each], setting)
    room = max(map(len, tokens), default=1)
    asked = encode_prompts([cut(source, frame, setting, room) for source, frame in prompts], setting)
    rows, start = [], 0
    for prompt, each, place in zip(asked, words, right, strict=True):
        ids = tokens[start : start + len(each)]
        start += len(each)
        rows.append(_row(prompt, ids, place, setting, train))
    return rows


def _row(prompt: list[int], options: list[list[int]], place: int, setting: Setting, train: bool) -> dict[str, Any]:
    gold = options[place]
    if setting.decoder:
        row: dict[str, Any] = {"input_ids": prompt + gold, "labels": [IGNORED] * len(prompt) + gold, "prompt_length": len(prompt)}
    else:
        row = {"input_ids": prompt, "labels": gold}
    row["length"] = len(row["input_ids"])
    return row if train else {**row, "options": options, "answer": place}


def passes(rows: Any, setting: Setting) -> float:
    """Forward passes over a row to score its options: see `scoring.option_scores`."""
    options = [rows[index]["options"] for index in range(len(rows))]
    return 1.0 if one_pass(options, setting) else sum(map(len, options)) / len(options)


def judge(model: Any, rows: Any, setting: Setting, loop: EvaluationLoop) -> tuple[list[int], list[int], float, list[list[float]]]:
    """Chosen option, right option, mean negative log-likelihood of the right one (nats per token), and all scores."""
    from lab.tasks import scoring

    scores = scoring.option_scores(model, rows, setting, loop)
    right = [rows[i]["answer"] for i in range(len(rows))]
    chosen = [max(range(len(each)), key=each.__getitem__) for each in scores]
    loss = -sum(each[place] for each, place in zip(scores, right, strict=True)) / max(1, len(right))
    return chosen, right, loss, scores

"""Answers row by row, of what a run kept of its judged rows (`lab.tasks.answered`): confusion, scores by class, and the rows worth reading. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lab.tasks.answered import MOST_LABELS, Answered

SHOWN = 40  # rows of each list


def confusion(found: Answered, labels: Sequence[str]) -> dict[str, Any] | None:
    """{"labels", "counts": [[rows of the class that were called each]], "classes": [{"label", "precision", "recall", "f1", "rows"}]} of rows with one label each.

    None where rows have none, or there are more classes than can be shown. Precision and recall are None where nothing was called, or is, of the class.
    """
    if "score" not in found or len(labels) > MOST_LABELS:
        return None
    size = len(labels)
    counts = np.zeros((size, size), int)
    np.add.at(counts, (found["reference"].astype(int), found["prediction"].astype(int)), 1)
    right, called, rows = np.diag(counts), counts.sum(0), counts.sum(1)
    classes = []
    for number, label in enumerate(labels):
        precision = float(right[number] / called[number]) if called[number] else None
        recall = float(right[number] / rows[number]) if rows[number] else None
        f1 = 2 * precision * recall / (precision + recall) if precision and recall else None if precision is None or recall is None else 0.0
        classes.append({"label": label, "precision": precision, "recall": recall, "f1": f1, "rows": int(rows[number])})
    return {"labels": list(labels), "counts": counts.tolist(), "classes": classes}


def worth_reading(found: Answered) -> dict[str, list[int]]:
    """{"worst": rows whose right answer was least likely, "least_certain": rows whose own answer was}, as places among the kept rows, worst first."""
    lists = {}
    if "loss" in found:
        lists["worst"] = np.argsort(-found["loss"] / np.maximum(found.get("tokens", np.ones(1)), 1), kind="stable")[:SHOWN].tolist()
    if "score" in found:
        lists["least_certain"] = np.argsort(found["score"], kind="stable")[:SHOWN].tolist()
    return lists


def disagreements(one: Answered, other: Answered) -> dict[str, Any] | None:
    """{"rows": judged by both, "one_right", "other_right": where only one is, "places": (of `one`'s rows) those they answer differently, told apart first by whom is right}.

    None where they keep no answers that can be compared.
    """
    if not all("prediction" in each and "reference" in each and np.ndim(each["prediction"]) == 1 for each in (one, other)):
        return None
    theirs = {int(row): place for place, row in enumerate(other["row"])}
    pairs = [(place, theirs[int(row)]) for place, row in enumerate(one["row"]) if int(row) in theirs]
    mine, yours = (np.array([pair[side] for pair in pairs], int) for side in (0, 1))
    answers, others, right = one["prediction"][mine], other["prediction"][yours], one["reference"][mine]
    differ = answers != others
    first = differ & (answers == right)
    second = differ & (others == right)
    order = np.concatenate([np.flatnonzero(first), np.flatnonzero(second), np.flatnonzero(differ & ~first & ~second)])
    return {
        "rows": len(pairs), "one_right": int(first.sum()), "other_right": int(second.sum()),
        "places": [[int(mine[at]), int(yours[at])] for at in order[: 3 * SHOWN]],
    }  # fmt: skip


def shown(places: Sequence[int], found: Answered, texts: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of these places: {"row", "text", "reference", "prediction", "chance"} with labels by name; `texts` by the row's place in its split."""

    def named(value: Any) -> Any:
        return labels[int(value)] if labels and float(value).is_integer() and 0 <= int(value) < len(labels) else float(value)

    rows = []
    for place in places:
        row = int(found["row"][place])
        one: dict[str, Any] = {"row": row, "text": str(texts[row].get("text", "")) if row < len(texts) else ""}
        if "prediction" in found and np.ndim(found["prediction"][place]) == 0:
            one |= {"reference": named(found["reference"][place]), "prediction": named(found["prediction"][place])}
        if "score" in found:
            one["chance"] = float(np.exp(found["score"][place]))
        if "loss" in found:
            one["loss"] = float(found["loss"][place] / max(1.0, float(found["tokens"][place]) if "tokens" in found else 1.0))
        rows.append(one)
    return rows

"""What each judged row came to, so that two models can be compared row by row: kept while a family judges, written beside the weights that were judged.

Of a task: {"row": places in its split, and what its family tells}:
    prediction, reference, score, loss      labels by their number, the log-likelihood of the chosen one and the negative one of the right one (nats)
    prediction, reference                   numbers; sets of labels, rows × labels of 0 and 1
    loss, tokens                            nats of a row summed over its predicted tokens, and how many those are
    rouge1, …, exact_match                  scores whose mean is the metric
    bleu                                    lengths of answer and reference, then matches and totals of 1- to 4-grams
Texts are not kept: they are those of the split, by their place. A metric is a function of sums of such numbers over rows, which is what a bootstrap draws.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

FILE = "rows.npz"
MOST_ROWS, MOST_CELLS, MOST_BYTES = 20_000, 4_000_000, 32 * 1024**2  # of a task: its first rows; of a file that is read
MOST_LABELS = 60  # whose confusions are counted
Answered = dict[str, np.ndarray]
Summed = tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]  # (rows, statistics), and from their sums (…, statistics) to the metric (…)


def labels(predictions: Sequence[int], references: Sequence[int], scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Of rows that are of one label each; `scores`: log-likelihoods by label."""
    return {
        "prediction": predictions,
        "reference": references,
        "score": np.array([each[one] for each, one in zip(scores, predictions, strict=True)], np.float32),
        "loss": np.array([-each[one] for each, one in zip(scores, references, strict=True)], np.float32),
        "tokens": np.ones(len(predictions), np.float32),
    }


def pack(tasks: Mapping[str, Mapping[str, Any]], of: Mapping[str, int]) -> bytes:
    """A file of what was kept, by task; `of`: how many rows each task's split has. At most MOST_ROWS of a task."""
    arrays: dict[str, np.ndarray] = {}
    about = {}
    for number, (name, found) in enumerate(tasks.items()):
        each = {key: np.asarray(values) for key, values in found.items()}
        most = min(MOST_ROWS, *(MOST_CELLS // max(1, int(np.prod(array.shape[1:]))) for array in each.values()))
        arrays |= {f"{number}.{key}": _small(array[:most]) for key, array in each.items()}
        about[name] = of[name]
    arrays["about"] = np.frombuffer(json.dumps(about).encode("utf-8"), np.uint8)
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def unpack(data: bytes) -> dict[str, tuple[Answered, int]]:
    """{task: (what each row came to, how many rows the split has)}. ValueError or KeyError for a file that is none."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        about = json.loads(bytes(file["about"]).decode("utf-8"))
        keys = [key for key in file.files if key != "about"]
        return {
            name: ({key.partition(".")[2]: file[key] for key in keys if key.startswith(f"{number}.")}, int(rows))
            for number, (name, rows) in enumerate(about.items())
        }


def _small(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "biu":
        return array.astype(np.min_scalar_type(int(array.max(initial=0)))) if int(array.min(initial=0)) >= 0 else array.astype(np.int32)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


# -- metrics as functions of sums over rows ------------------------------------------------------------------------------------------


def right(found: Answered) -> np.ndarray | None:
    """Which rows were answered right, (rows,) of bool, where that is all that accuracy counts; else None."""
    if "score" in found:
        return found["prediction"] == found["reference"]
    return found["exact_match"] > 0 if "exact_match" in found else None


def summable(metric: str, found: Answered, names: int = 0) -> Summed | None:
    """A metric of these rows as `lab.tasks.metrics` has it, from sums over them; None for one that is none (ranks, chrF). `names`: labels of the task."""
    sets, numbers = found.get("prediction", np.zeros(0)).ndim == 2, "score" not in found
    if metric in ("loss", "perplexity") and "loss" in found:
        return np.stack([found["loss"], found["tokens"]], 1).astype(float), _perplexity if metric == "perplexity" else _share
    if metric == "accuracy" and (hit := right(found)) is not None and "exact_match" not in found:
        return np.stack([hit, np.ones(len(hit))], 1).astype(float), _share
    if metric in ("f1", "matthews") and not numbers and 2 <= names <= MOST_LABELS:
        cells = np.zeros((len(found["prediction"]), names * names))
        cells[np.arange(len(cells)), found["reference"].astype(int) * names + found["prediction"].astype(int)] = 1.0
        return cells, lambda sums: (_f1 if metric == "f1" else _matthews)(sums.reshape(*sums.shape[:-1], names, names))
    if metric in ("f1_micro", "f1_macro", "subset_accuracy") and sets:
        return _sets(metric, found["prediction"].astype(bool), found["reference"].astype(bool))
    if metric == "pearson" and numbers and not sets and "prediction" in found:
        x, y = found["prediction"].astype(float), found["reference"].astype(float)
        x, y = x - x.mean(), y - y.mean()  # of sums of squares, less is lost near 0
        return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], 1), _pearson
    if metric == "bleu" and "bleu" in found:
        return found["bleu"].astype(float), _bleu
    if (metric.startswith("rouge") or metric == "exact_match") and metric in found:
        return np.stack([found[metric], np.ones(len(found[metric]))], 1).astype(float), _share
    return None


def _share(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / np.maximum(sums[..., 1], 1e-12)


def _perplexity(sums: np.ndarray) -> np.ndarray:
    return np.exp(np.minimum(_share(sums), 700))


def _divided(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """0 where there is nothing to divide by."""
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), 0.0)


def _f1(cells: np.ndarray) -> np.ndarray:
    """Of label 1 where there are two labels, else the mean over the labels; cells: (…, right, given)."""
    hit = np.diagonal(cells, axis1=-2, axis2=-1)
    each = _divided(2 * hit, cells.sum(-1) + cells.sum(-2))
    return each[..., 1] if cells.shape[-1] == 2 else each.mean(-1)


def _matthews(cells: np.ndarray) -> np.ndarray:
    """Gorodkin's coefficient for any number of labels, 0 where one side is constant."""
    every, hit, given, wanted = cells.sum((-2, -1)), np.diagonal(cells, axis1=-2, axis2=-1).sum(-1), cells.sum(-2), cells.sum(-1)
    return _divided(hit * every - (given * wanted).sum(-1), np.sqrt((every**2 - (given**2).sum(-1)) * (every**2 - (wanted**2).sum(-1))))


def _sets(metric: str, given: np.ndarray, wanted: np.ndarray) -> Summed:
    if metric == "subset_accuracy":
        return np.stack([(given == wanted).all(1), np.ones(len(given))], 1).astype(float), _share
    names = given.shape[1]

    def f1(sums: np.ndarray) -> np.ndarray:
        hit, both = sums[..., :names], sums[..., names:]
        return _divided(2 * hit.sum(-1), both.sum(-1)) if metric == "f1_micro" else _divided(2 * hit, both).mean(-1)

    return np.concatenate([given & wanted, given.astype(int) + wanted.astype(int)], 1).astype(float), f1


def _pearson(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = (sums[..., place] for place in range(6))
    return _divided(n * xy - x * y, np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0)))


def _bleu(sums: np.ndarray) -> np.ndarray:
    from sacrebleu.metrics import BLEU

    flat = sums.reshape(-1, sums.shape[-1])
    each = [BLEU.compute_bleu([int(v) for v in row[2:6]], [int(v) for v in row[6:10]], int(row[0]), int(row[1]), smooth_method="exp").score for row in flat]
    return np.array(each).reshape(sums.shape[:-1])

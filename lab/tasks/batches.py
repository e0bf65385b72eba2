"""Batches of tensors from tokenised rows: padded to the longest row of the batch and no further."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lab.design.spec.objectives import IGNORED, OBJECTIVES
from lab.tasks.family import Setting

TYPES = {"class": torch.long, "flags": torch.float32, "number": torch.float32, "words": torch.long}  # of labels


def collate(rows: Sequence[dict[str, Any]], setting: Setting) -> dict[str, torch.Tensor]:
    """What a model's forward takes: input_ids, attention_mask (batch, longest), token_type_ids where the rows have them, labels.

    labels: (batch,) for heads, (batch, labels) of 0 and 1 where a row has several, (batch, longest) for decoders, (batch, longest target) for encoder-decoders.
    """
    ids = [row["input_ids"] for row in rows]
    batch = {"input_ids": pad(ids, setting.pad)}
    batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[1]) < torch.tensor([len(each) for each in ids])[:, None]).long()
    if "token_type_ids" in rows[0]:
        batch["token_type_ids"] = pad([row["token_type_ids"] for row in rows], 0)
    if "labels" in rows[0]:
        labels, kind = [row["labels"] for row in rows], OBJECTIVES[setting.objective].labels
        batch["labels"] = pad(labels, IGNORED) if kind == "words" else torch.tensor(labels, dtype=TYPES[kind])
    return batch


def blank_labels(objective: str, rows: int, *, outputs: int, words: int, device: str) -> torch.Tensor:
    """Labels of the shape and type that `collate` gives for answers of so many words; what they say does not matter."""
    kind = OBJECTIVES[objective].labels
    shape = {"class": (rows,), "number": (rows,), "flags": (rows, outputs), "words": (rows, words)}[kind]
    return torch.full(shape, 5 if kind == "words" else 0, dtype=TYPES[kind], device=device)


def pad(sequences: Sequence[Sequence[int]], filler: int, side: str = "right") -> torch.Tensor:
    """(batch, longest) of int64, short rows filled on `side`."""
    longest = max(map(len, sequences))
    result = np.full((len(sequences), longest), filler, dtype=np.int64)
    for row, sequence in zip(result, sequences, strict=True):
        row[slice(len(sequence)) if side == "right" else slice(longest - len(sequence), longest)] = sequence
    return torch.from_numpy(result)

"""Batches of tensors from tokenised rows: padded to the longest row of the batch and no further."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lab.tasks.family import Setting

IGNORE = -100  # labels that no loss looks at


def collate(rows: Sequence[dict[str, Any]], setting: Setting) -> dict[str, torch.Tensor]:
    """What a model's forward takes: input_ids, attention_mask (batch, longest), token_type_ids where the rows have them, labels.

    labels: (batch,) for heads, (batch, labels) of 0 and 1 where a row has several, (batch, longest) for decoders, (batch, longest target) for encoder-decoders.
    """
    ids = [row["input_ids"] for row in rows]
    batch = {"input_ids": pad(ids, setting.pad), "attention_mask": pad([[1] * len(each) for each in ids], 0)}
    if "token_type_ids" in rows[0]:
        batch["token_type_ids"] = pad([row["token_type_ids"] for row in rows], 0)
    if "labels" in rows[0]:
        labels = [row["labels"] for row in rows]
        if setting.objective in ("regression", "multi_label"):
            batch["labels"] = torch.tensor(labels, dtype=torch.float32)
        else:
            batch["labels"] = pad(labels, IGNORE) if isinstance(labels[0], list) else torch.tensor(labels)
    return batch


def pad(sequences: Sequence[Sequence[int]], filler: int, side: str = "right") -> torch.Tensor:
    """(batch, longest) of int64, short rows filled on `side`."""
    longest = max(map(len, sequences))
    result = torch.full((len(sequences), longest), filler, dtype=torch.long)
    for row, sequence in zip(result, sequences, strict=True):
        if sequence:
            part = row[: len(sequence)] if side == "right" else row[longest - len(sequence) :]
            part.copy_(torch.as_tensor(sequence))
    return result

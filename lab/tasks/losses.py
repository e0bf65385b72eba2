"""The loss of a batch as a sum over its targets, so that passes of different sizes add up to the loss of one large batch.

Averaging each pass and then the passes weighs a short answer's words more than a long one's; dividing the sums by the number
of targets in the whole step does not. A target is a row (of what has a head) or a word that is not -100.

A language model's logits are made at targets alone and piece by piece (lab/models/head.py): `batch_loss` for a step, `target_losses` where each
target counts by itself. `loss_sum` is the same of logits that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from lab.design.spec.objectives import IGNORED, OBJECTIVES
from lab.models.head import head_of


def count_targets(batch: dict[str, Any], objective: str) -> int:
    """Rows of a batch for a head; words of the answer otherwise (the first of a causal row has no prediction)."""
    labels = batch["labels"]
    if OBJECTIVES[objective].headed:
        return labels.shape[0]
    return int(((labels[:, 1:] if OBJECTIVES[objective].one_sequence else labels) != IGNORED).sum())


def count_tokens(batch: dict[str, Any], objective: str) -> int:
    """Tokens that are no padding, the decoder's own included."""
    mask = batch.get("attention_mask")
    tokens = int(mask.sum()) if mask is not None else batch["input_ids"].numel()
    return tokens + (count_targets(batch, objective) if OBJECTIVES[objective].two_sequences else 0)


def inputs_of(batch: dict[str, Any], model: torch.nn.Module, objective: str) -> dict[str, Any]:
    """What the model reads: the batch without labels, the decoder's input made from them, no cache of keys and values."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    prompts = getattr(model, "lab_prompts", None)  # of deltas that change the tokens of a prompt alone, which ends where labels begin
    if prompts is not None and not OBJECTIVES[objective].headed:
        prompts.announce(batch["labels"])
    if not OBJECTIVES[objective].headed:
        inputs["use_cache"] = False
    if OBJECTIVES[objective].two_sequences and "decoder_input_ids" not in inputs:
        inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
    return inputs


def targets(labels: torch.Tensor, objective: str, count: int | None = None) -> tuple[torch.Tensor, ...]:
    """Where a language model predicts a target: (index (n,) into the positions of the flattened batch, the words (n,)); () of a head. labels (batch, words).

    A causal model's word i is predicted at position i - 1. Of labels without values (planning) at most `count` are targets; None: all.
    """
    if OBJECTIVES[objective].headed:
        return ()
    if OBJECTIVES[objective].one_sequence:
        labels = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
    if labels.is_meta:
        most = labels.shape[0] * (labels.shape[1] - OBJECTIVES[objective].one_sequence)
        return tuple(torch.empty(most if count is None else min(count, most), dtype=torch.long, device="meta") for _ in range(2))
    flat = labels.flatten()
    index = (flat != IGNORED).nonzero()[:, 0]
    return index, flat[index].long()


def batch_loss(forward: Callable[..., Any], model: torch.nn.Module, batch: dict[str, torch.Tensor], objective: str, smoothing: float = 0.0,
               found: Sequence[torch.Tensor] = ()) -> torch.Tensor:  # fmt: skip
    """The loss of a batch, summed over its targets, in fp32. `forward`: the model, or what is wrapped around it; `found`: its `targets`, where they are known."""
    inputs = inputs_of(batch, model, objective)
    if OBJECTIVES[objective].headed:
        return loss_sum(forward(**inputs).logits, batch["labels"], objective, smoothing)
    return head_of(model).loss(forward, inputs, *(found or targets(batch["labels"], objective)), smoothing)


def target_losses(model: torch.nn.Module, batch: dict[str, torch.Tensor], objective: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Without gradients: (the row (n,) that each target of a language model's batch belongs to, its loss (n,))."""
    index, words = targets(batch["labels"], objective)
    return index // batch["labels"].shape[1], head_of(model).losses(inputs_of(batch, model, objective), index, words)


def loss_sum(logits: torch.Tensor, labels: torch.Tensor, objective: str, smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy (squared error for regression, each label's own for multi_label, their mean over the labels) summed over targets, in fp32.

    logits (batch, labels) or (batch, words, vocabulary); labels (batch,), (batch, labels) of 0 and 1, or (batch, words). A causal
    model's word i is predicted by position i-1. `smoothing`: a share s of each target is spread evenly; a label's y is then (1 - s)·y + s/2.
    """
    asked = OBJECTIVES[objective]
    if asked.labels == "number":
        return F.mse_loss(logits.float().view(-1), labels.float().view(-1), reduction="sum")
    if asked.labels == "flags":
        wanted = labels.float() * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none").mean(-1).sum()
    if asked.one_sequence:  # labels move, not logits: a slice of those would be copied (0.7 GB for 4 rows of 704 words of 128,256)
        labels = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
    flat = logits.reshape(-1, logits.shape[-1]).float()
    return F.cross_entropy(flat, labels.reshape(-1).long(), ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)

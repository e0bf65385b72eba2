"""The loss of a batch as a sum over its targets, so that passes of different sizes add up to the loss of one large batch.

Averaging each pass and then the passes weighs a short answer's words more than a long one's; dividing the sums by the number
of targets in the whole step does not. A target is a row (of what has a head) or a word that is not -100.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from lab.design.spec.objectives import IGNORED, OBJECTIVES


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

"""Which positions of a forward pass a delta changes, where it changes some alone (`tokens`): the first and last so many of the prompt.

The prompt is what a model is given before it writes: a whole row, or of a row in training what stands before its first label (of an
encoder-decoder's decoder, the token that it starts from). What comes after the prompt is never changed, as in ReFT's code, so training and
generation with a cache change the same positions. Example, f2+l1 on a row of 5 tokens, 2 of them an answer: positions 0, 1 and 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def prompt_of(labels: Tensor) -> Tensor:
    """(batch, positions), True on what stands before a row's first label; a row whose labels begin at its start is a prompt as a whole."""
    written = (labels != -100).cumsum(1) > 0
    return ~written | written[:, :1]


def chosen(masks: list[Tensor | None], tokens: tuple[int, int], like: Tensor) -> Tensor:
    """(batch, positions), True on the first and last so many of the positions of each row that all `masks` name."""
    inside = torch.ones(like.shape[:2], dtype=torch.bool, device=like.device)
    for mask in masks:
        if mask is not None and mask.shape == inside.shape:
            inside = inside & mask.bool()
    place = inside.cumsum(1)  # from 1 on
    return inside & ((place <= tokens[0]) | (place > place[:, -1:] - tokens[1]))


class Prompts:
    """What the current forward pass says of prompts; the deltas' context has it, and the model, which training announces its labels to."""

    def __init__(self, encoder_decoder: bool) -> None:
        self.encoder_decoder = encoder_decoder
        self.labels: Tensor | None = None
        self.seen = 0  # positions in the cache: the prompt is behind
        self._announced: Tensor | None = None
        self._chosen: dict[tuple[str, tuple[int, int]], Tensor] = {}

    def announce(self, labels: Tensor) -> None:
        """Labels (batch, positions) of the next forward pass, where it is not given them."""
        self._announced = labels

    def note_labels(self, module: nn.Module, args: tuple, kwargs: Mapping[str, Any]) -> None:
        """Pre-hook of the whole model."""
        labels, self._announced = kwargs.get("labels", self._announced), None
        words = isinstance(labels, Tensor) and labels.dim() == 2 and not labels.is_floating_point()
        self.labels = labels if words else None

    def begin(self, seen: int) -> None:
        """A forward pass of the backbone, or of an encoder by itself, begins."""
        self.seen = seen
        self._chosen.clear()

    def chosen(self, stack: str, tokens: tuple[int, int], real: Tensor | None, like: Tensor) -> Tensor:
        """(batch, positions) of h (batch, positions, ...) in a stack. `real`: 1 on tokens that are no padding."""
        key = (stack, tokens)
        if key not in self._chosen:
            prompt = None
            if self.seen and stack != "encoder":
                prompt = torch.zeros(like.shape[:2], dtype=torch.bool, device=like.device)
            elif self.labels is not None and not self.encoder_decoder:
                prompt = prompt_of(self.labels)
            elif self.labels is not None and stack != "encoder":
                prompt = torch.arange(like.shape[1], device=like.device).expand(like.shape[:2]) == 0
            self._chosen[key] = chosen([real, prompt], tokens, like)
        return self._chosen[key]

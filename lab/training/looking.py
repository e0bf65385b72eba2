"""Rows of the training data, looked at before the first step: what methods whose start or mask is made of them see (lab/engine/looking.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lab.engine.looking import Look
from lab.tasks import Prepared
from lab.tasks.losses import batch_loss


def looking_at(model: nn.Module, task: Prepared, device: Any, seed: int) -> Look:
    """Rows drawn by the seed, none twice, all there are where more are asked for; every process sees the same."""

    def look(rows: int, size: int) -> Iterator[Tensor]:
        order = np.random.default_rng([seed, len(task.train)]).permutation(len(task.train))[:rows]
        for begin in range(0, len(order), size):
            batch = task.collate([task.train[int(place)] for place in order[begin : begin + size]])
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            with torch.autocast(torch.device(device).type, dtype=model.dtype, enabled=model.dtype != torch.float32):
                yield batch_loss(model, model, batch, task.objective)

    return look
